"""What strace(1) saw: system calls of all threads, in the order of their beginnings and ends."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

from faults.nursery import Job, Nursery

_LINE = re.compile(r"(?:\[pid +)?(\d+)\]? +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>,? ?(.*)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_FD = re.compile(r"(?:\d+|AT_FDCWD)<(.*?)>(?=[,)]|$)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclasses.dataclass(frozen=True)
class Call:
    """One call: `start` and `end` are places in the log, `path` is that of its descriptor."""

    name: str
    args: str
    result: int
    start: int
    end: int
    note: str

    @property
    def path(self) -> str:
        """The file that the first argument stands for, '' where it is none."""
        found = _FD.match(self.args)
        return found[1] if found else ""

    @property
    def texts(self) -> list[str]:
        """The arguments that are text: paths, what is written."""
        return _TEXT.findall(self.args)

    @property
    def injected(self) -> bool:
        """Whether strace made it fail."""
        return "INJECTED" in self.note

    def is_before(self, other: Call) -> bool:
        """Say whether this had ended when the other began."""
        return self.end < other.start


def parse(log: Path) -> list[Call]:
    """Read a log; calls that another thread interrupted in it are put together again."""
    calls, begun = [], {}
    for number, line in enumerate(log.read_text(errors="replace").splitlines()):
        found = _LINE.fullmatch(line)
        if not found:
            continue
        thread, text = found[1], found[2]
        start = number
        if resumed := _RESUMED.fullmatch(text):
            start, first = begun.pop(thread, (number, f"{resumed[1]}("))
            text = first + resumed[2]
        if text.endswith(_UNFINISHED):
            begun[thread] = (start, text.removesuffix(_UNFINISHED))
        elif (call := _CALL.fullmatch(text)) and call[3] != "?":
            calls.append(Call(call[1], call[2], int(call[3], 0), start, number, call[4]))
    return calls


def reason_not_to(nursery: Nursery, folder: Path) -> str:
    """Say why strace cannot be used here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not on this machine"
    log = folder / "probe"
    job = Job(
        "faults.strace:probe", {"folder": str(folder)}, strace=("-y", "-o", str(log), "-e", "trace=mkdir")
    )
    try:
        (outcome,) = nursery.run(job)
        seen = log.exists() and any(call.name == "mkdir" for call in parse(log))
    finally:
        log.unlink(missing_ok=True)
    return "" if seen and not outcome.error else "this machine does not let processes be traced"


def probe(_say: object, *, folder: str) -> None:
    """Make one call that strace must see; in a child."""
    made = Path(folder, "probed")
    made.mkdir()
    made.rmdir()
