"""The command line as a whole: help, version, exit codes, --debug, and what it imports."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from cli_run import CommandLine

import actlens
from actlens.cli import app as application


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.mark.parametrize("words", [["--help"], [], ["plot"], ["plot", "--help"], ["reduce", "--help"]])
def test_help_goes_to_stdout(cli, words):
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: actlens")


def test_version(cli):
    assert cli("--version").out == f"actlens {actlens.__version__}\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["frob"], "'frob'"),
        (["--nope"], "--nope"),
        (["reduce"], "RUN"),
        (["plot", "frob"], "'frob'"),
        (["demo", "--epochs", "many"], "--epochs"),
        (["reduce", "run", "fc", "--method", "lda", "--out", "z.safetensors"], "--method"),
    ],
)
def test_bad_words_name_themselves_and_the_help(cli, words, text):
    said = cli.refused(*words)
    assert text in said
    assert "--help" in said


def test_debug_shows_the_traceback_wherever_it_stands(cli, tmp_path):
    for words in (["--debug", "info", tmp_path / "no"], ["info", tmp_path / "no", "--debug"]):
        done = cli(*words)
        assert done.code == 2
        assert "Traceback" in done.err
        assert done.err.splitlines()[-1].startswith("actlens: no recording at")


def test_a_fault_of_ours_is_one_line_too(cli, monkeypatch, tmp_path):
    def broken(path):
        raise RuntimeError("wires crossed\nmore")

    monkeypatch.setattr("actlens.recording.open", broken)
    said = cli.refused("info", tmp_path, code=1)
    assert said == "actlens itself failed: RuntimeError: wires crossed (--debug shows the traceback)"


def test_an_error_of_the_disk_names_the_file(cli, monkeypatch, tmp_path):
    def broken(path):
        raise PermissionError(13, "Permission denied", "runs/x")

    monkeypatch.setattr("actlens.recording.open", broken)
    assert cli.refused("info", tmp_path, code=1) == "runs/x: Permission denied"


def test_ctrl_c_ends_with_130(cli, monkeypatch, tmp_path):
    def stopped(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("actlens.recording.open", stopped)
    assert cli("info", tmp_path).code == 130


def test_help_imports_no_numpy_and_is_quick():
    program = (
        "import sys\nfrom actlens.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'torch', 'matplotlib', 'sklearn', 'scipy', 'umap', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 0.5


def test_a_reader_that_stops_reading_is_no_fault(two_steps):
    path, _, _ = two_steps
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m actlens.cli info {path} | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "itself failed" not in done.stderr


def test_python_dash_m_works():
    done = subprocess.run(
        [sys.executable, "-m", "actlens.cli", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"actlens {actlens.__version__}\n"


def test_every_command_has_a_short_help():
    import typer

    group = typer.main.get_command(application.app)
    for name, command in {**group.commands, **group.commands["plot"].commands}.items():
        first = (command.help or "").partition(". ")[0]
        assert 10 < len(first) < 70, name
