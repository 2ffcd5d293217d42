"""A disk that fills up: real file systems in memory, of many sizes, that are enlarged afterwards."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults.calls import after_a_failure
from faults.checks import gone_on
from faults.nursery import Nursery
from faults.program import Run
from faults.rows import row_bytes
from faults.tally import Tally, Verdict, worst

PAGE = 4096
_ROWS, _WIDTH = 300, 500


def sizes(nursery: Nursery, count: int, *, weak: tuple[str, ...] = ()) -> Tally:
    """Write three shards on disks from nothing to 1.2 times what they need; enlarge each disk and go on."""
    tally = Tally("disk full")
    whole = _ROWS * row_bytes(_WIDTH) + 5 * PAGE  # headers and manifest
    try:
        for number in range(count):
            size = max(PAGE, int(1.2 * whole * number / max(1, count - 1)))  # 0 would mean without limit
            tally.add(_one(nursery, size, whole, weak), f"disk of {size} bytes")
    except PermissionError as error:
        tally.not_run = f"not run: {error}"
    return tally


def _one(nursery: Nursery, size: int, whole: int, weak: tuple[str, ...]) -> Verdict:
    with small_disk(size) as disk:
        run = Run(
            path=str(disk / "run"),
            rows=_ROWS,
            batch=_ROWS // 3,
            flush_every=1,
            shard_rows=_ROWS,
            width=_WIDTH,
        )
        (outcome,) = nursery.run(run.job(weak=weak))
        verdicts = after_a_failure(run, outcome.said, unlinks=True)
        if outcome.error:
            verdicts.append(Verdict("detected" if outcome.typed else "other", outcome.error))
        _mount(disk, "remount", 4 * whole)
        (second,) = nursery.run(run.job())
        return worst([*verdicts, gone_on(run, second.error)])


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """Give a file system of so many bytes.

    Raises:
        PermissionError: this process may not mount.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        _mount(Path(folder), "rw", size)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _mount(folder: Path, option: str, size: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"{option},size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PermissionError("there is no mount(8) here") from error
    if done.returncode:
        raise PermissionError("no tmpfs can be mounted here")
