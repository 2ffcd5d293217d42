"""Run a command line in this process, as `actlens …` would: exit code, stdout and stderr."""

from __future__ import annotations

import dataclasses

import pytest

from actlens.cli import main


@dataclasses.dataclass
class Done:
    code: int
    out: str
    err: str


class CommandLine:
    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *words):
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        said = self._capsys.readouterr()
        return Done(left.value.code, said.out, said.err)

    def refused(self, *words, code=2):
        """Run what must fail: one line on stderr, nothing on stdout; give the line."""
        done = self(*words)
        lines = done.err.splitlines()
        assert done.code == code, done.err
        assert done.out == ""
        assert len([line for line in lines if line.startswith("actlens: ")]) == 1
        assert "Traceback" not in done.err
        return lines[-1].removeprefix("actlens: ")
