"""A Dask cluster on this machine for the tests, and tasks that wait, kill their worker, or hide its files."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def dask_client(workers: int = 2, threads: int = 1, **options: Any) -> Iterator[Any]:
    """A client of a cluster of processes; what they inherit is this process's environment as it is now."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            dashboard_address="127.0.0.1:0",
            **options,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(workers, timeout=60)
        yield client


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also in a program that was started in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def in_a_worker() -> bool:
    return multiprocessing.parent_process() is not None


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A task that says in a file that it has begun, and by which process, and waits for a file `go`."""

    task: Callable[[Any], Any]
    folder: Path

    def __call__(self, part: Any) -> Any:
        begun = self.folder / f"begun-{part.start}-{os.getpid()}"
        begun.touch()
        while not (self.folder / "go").exists():
            time.sleep(0.02)
        return self.task(part)


def begun(folder: Path, parts: int, seconds: float = 60) -> list[int]:
    """Wait until so many parts are begun; give the processes that work on them."""
    end = time.monotonic() + seconds
    while len(found := sorted(folder.glob("begun-*"))) < parts:
        assert time.monotonic() < end, "no task has begun"
        time.sleep(0.02)
    return [int(path.name.rpartition("-")[2]) for path in found]


@dataclasses.dataclass(frozen=True)
class Deadly:
    """A task that kills whatever worker takes the first part, each time."""

    task: Callable[[Any], Any]

    def __call__(self, part: Any) -> Any:
        if part.start == 0 and in_a_worker():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.task(part)


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A task that first hides a folder from its process, as a machine without the shared file system does.

    The worker is given a mount namespace of its own, in which an empty file system lies over the folder.
    """

    task: Callable[[Any], Any]
    folder: str

    def __call__(self, part: Any) -> Any:
        hide(self.folder)
        return self.task(part)


def hide(folder: str) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not in_a_worker():
        raise AssertionError("only for a worker")
    new_mount_namespace, private, recursive = 0x20000, 1 << 18, 1 << 14
    assert libc.unshare(new_mount_namespace) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(b"none", b"/", None, private | recursive, None) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(b"none", folder.encode(), b"tmpfs", 0, None) == 0, os.strerror(ctypes.get_errno())


def total(part: Any) -> float:
    """Sum up a part in float64."""
    return sum(float(block.sum(dtype="f8")) for _, block in part.blocks())
