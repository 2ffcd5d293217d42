"""The order of a commit: data < fsync of the file < its name < fsync of the folder < acknowledgement."""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actlens.format.commit import TEMPORARY
from actlens.format.place import MANIFEST
from actlens.format.reader import Shard
from faults import strace
from faults.calls import Watched
from faults.nursery import Job, Nursery
from faults.program import Run, Say, write
from faults.strace import Call
from faults.tally import Tally, Verdict

_WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
_SYNCS = {"fsync", "fdatasync"}
_NAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
_TRACED = ",".join(sorted(_WRITES | _SYNCS | _NAMES | {"mkdir", "mkdirat", "ftruncate"}))


def commits(nursery: Nursery, runs: int, *, weak: tuple[str, ...] = ()) -> list[Tally]:
    """Trace whole runs, and runs that go on where one was killed before an fsync; judge every commit."""
    fresh, again = Tally("order of a commit"), Tally("order when going on")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        home = Path(folder).resolve()
        if reason := strace.reason_not_to(nursery, home):
            fresh.not_run = again.not_run = f"not run: {reason}"
            return [fresh, again]
        for number in range(runs):
            run = Run(path=str(home / f"run{number}"), rows=80, shard_rows=(19, 7, 40)[number % 3])
            _judged(fresh, nursery, run, weak)
            run = Run(path=str(home / f"again{number}"), rows=30, flush_every=1)
            arguments = {"k": number, "fields": dataclasses.asdict(run)}
            nursery.run(Job("faults.order:until_an_fsync", arguments))
            _judged(again, nursery, run, weak)
    return [fresh, again]


def until_an_fsync(say: Say, *, k: int, fields: dict[str, Any]) -> None:
    """Write, and die before the k-th fsync; in a child."""
    with Watched(("fsync",)) as watched:
        watched.at(k, lambda: os.kill(os.getpid(), signal.SIGKILL))
        write(say, **fields)


def _judged(tally: Tally, nursery: Nursery, run: Run, weak: tuple[str, ...]) -> None:
    log = Path(run.path).with_suffix(".log")
    before = {path for path in (Path(run.path), *Path(run.path).rglob("*")) if TEMPORARY not in path.name}
    (outcome,) = nursery.run(
        run.job(strace=("-y", "-s", "64", "-o", str(log), "-e", f"trace={_TRACED}"), weak=weak)
    )
    if outcome.error:
        tally.add(Verdict("other", outcome.error), run.path)
        return
    trace = Trace(strace.parse(log), Path(run.path), before)
    for what, problem in trace.problems():
        tally.add(Verdict("other", problem) if problem else Verdict("harmless"), what)


class Trace:
    """The calls of one run, by what they are to a commit."""

    def __init__(self, calls: list[Call], recording: Path, before: set[Path]) -> None:
        done = [call for call in calls if call.result >= 0]
        self._recording = recording
        self._before = {path for path in before if path.suffix == ".safetensors"}
        self._above = {path.parent for path in before if path.suffix != ".safetensors"}
        self._writes = [call for call in done if call.name in _WRITES | {"ftruncate"}]
        self._syncs = [call for call in done if call.name in _SYNCS]
        self._named = [call for call in done if call.name in _NAMES]
        self._folders = [call for call in done if call.name in {"mkdir", "mkdirat"}]
        self._acks = [call for call in self._writes if call.texts and call.texts[0].startswith("ack ")]
        assert self._acks, "nothing was acknowledged"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Give (commit, what is wrong or nothing) for each commit, folder and acknowledgement."""
        finals = [call for call in self._named if self._is_final(call.texts[1])]
        shards = {call.texts[1] for call in finals} - {str(self._recording / MANIFEST)}
        there = {str(path) for path in self._recording.glob("shards/*/*.safetensors")}
        missed = there - shards - {str(path) for path in self._before}
        yield "all shards", f"these came by no name that was seen: {missed}" if missed else ""
        for call in finals:
            yield f"{call.name} to {call.texts[1]}", self._commit(call)
        for call in self._folders:
            yield f"mkdir {call.texts[0]}", self._name_is_durable(call, Path(call.texts[0]))
        yield "going on", self._taken_over()
        for ack in self._acks:
            yield ack.texts[0], self._acknowledged(ack, finals)

    def _is_final(self, path: str) -> bool:
        return path.startswith(f"{self._recording}/") and (
            path.endswith(".safetensors") or path == str(self._recording / MANIFEST)
        )

    def _commit(self, name: Call) -> str:
        source, target = name.texts[:2]
        names = {source}
        for call in reversed([call for call in self._named if call.is_before(name)]):
            if call.texts[1] in names:  # a file that was renamed twice
                names.add(call.texts[0])
        if any(call.path == target for call in self._writes):
            return "written under its final name"
        writes = [call for call in self._writes if call.path in names]
        if gap := _gap(writes, name, target):
            return gap
        last = max(writes, key=lambda call: call.end)
        syncs = [call for call in self._syncs if call.path in names]
        if not any(last.is_before(call) and call.is_before(name) for call in syncs):
            return "no fsync of the file between its last byte and its name"
        return self._name_is_durable(name, Path(target))

    def _name_is_durable(self, name: Call, path: Path) -> str:
        """Hold the fsync of a folder between a name in it and the next acknowledgement."""
        later = [ack for ack in self._acks if name.is_before(ack)]
        if later and not self._synced(path.parent, name, later[0]):
            return f"no fsync of {path.parent} between the name and the acknowledgement"
        return ""

    def _synced(self, folder: Path, after: Call | None, before: Call) -> bool:
        return any(
            call.path == str(folder) and (after is None or after.is_before(call)) and call.is_before(before)
            for call in self._syncs
        )

    def _taken_over(self) -> str:
        """What an earlier program had named but perhaps not synced is acknowledged with the first rows."""
        folders = {path.parent for path in self._before} | self._above
        missing = [f for f in sorted(folders) if not self._synced(f, None, self._acks[0])]
        return f"acknowledged, and no fsync of {', '.join(map(str, missing))}" if missing else ""

    def _acknowledged(self, ack: Call, finals: list[Call]) -> str:
        """Hold an acknowledged number of rows to the shards that were durable by then."""
        durable = [
            c.texts[1] for c in finals if c.is_before(ack) and self._synced(Path(c.texts[1]).parent, c, ack)
        ]
        shards = {path for path in durable if path.endswith(".safetensors")} | set(map(str, self._before))
        rows = sum(Shard(Path(path)).meta.rows for path in shards)
        wanted = int(ack.texts[0].removesuffix("\\n").split()[1])
        if rows < wanted:
            return f"{wanted} rows acknowledged when {rows} were durable"
        if ack is self._acks[-1] and str(self._recording / MANIFEST) not in durable:
            return "closed, and the manifest is not durable"
        return ""


def _gap(writes: list[Call], name: Call, target: str) -> str:
    """Hold what was written before the name to the size of the file."""
    at = 0
    pieces = sorted((_offset(call), call.result) for call in writes if call.is_before(name))
    for offset, count in pieces:
        if offset > at:
            break
        at = max(at, offset + count)
    size = Path(target).stat().st_size if target.endswith(".safetensors") else at
    if not pieces or at < size:
        return f"{at} bytes of {size} written before the name"
    return "written after the name" if any(not call.is_before(name) for call in writes) else ""


def _offset(call: Call) -> int:
    """Read the offset of a pwritev, its last argument, or the last but one where there are flags."""
    parts = call.args.rsplit(", ", 2)
    return int(parts[-2] if call.name == "pwritev2" else parts[-1])
