"""How one means is measured, in a process of its own: the first call, the later ones, the peak of memory."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Figures = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is written and read: bytes of one shard, and of a whole layer."""

    shard: int
    layer: int

    @property
    def rows(self) -> int:
        """Rows of one shard."""
        return self.shard // ROW


@dataclasses.dataclass(frozen=True)
class Means:
    """One way to do it. `base` is the means that its ratio is to; `target` the highest ratio that is wanted.

    With no base, the target is of seconds.
    """

    run: Callable[[Path, Sizes], Figures]
    base: str | None = None
    target: float | None = None
    peak: float | None = None


Room = Mapping[str, Means]

WIDTH = 2048
ROW = 4 * WIDTH
"""Bytes of a row: 2,048 numbers of float32."""


def measured(
    action: Callable[[], Any], *, prepare: Callable[[], Any] = lambda: None, repeat: int = 5, per: int = 1
) -> Figures:
    """Run an action once with its memory watched, then `repeat` times by the clock alone.

    A slow one is repeated less. `seconds` and `cpu` are medians of the later calls, divided by `per`.
    """
    times: list[float] = []
    cpu: list[float] = []
    prepare()
    with Peak() as peak:
        first = _timed(action)
    while len(times) < repeat and (not times or sum(times) < 3):
        prepare()
        start = time.process_time()
        times.append(_timed(action))
        cpu.append(time.process_time() - start)
    middle = {"seconds": statistics.median(times) / per, "cpu": statistics.median(cpu) / per}
    return middle | {"first": first / per, "peak": peak.mib}


def _timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - start
    del result
    return seconds


class Peak:
    """The most private memory of this process while the block runs, beyond what there was before, in MiB.

    Another process looks, so that a call that holds the interpreter is seen as well.
    """

    mib = 0.0

    def __enter__(self) -> Peak:
        command = [sys.executable, "-S", __file__]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._watcher.stdout
        self._watcher.stdout.readline()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said, _ = self._watcher.communicate()
        self.mib = float(said)


def _watch() -> None:
    """Look at the parent until its end of the pipe is closed."""
    import os
    import select

    with Path(f"/proc/{os.getppid()}/status").open() as status:
        start = highest = _private_mib(status)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0.0005)[0]:
            highest = max(highest, _private_mib(status))
    print(highest - start)


def _private_mib(status: Any) -> float:
    status.seek(0)
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    _watch()
