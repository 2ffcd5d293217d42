"""Run a task on every part, here or on workers, and join what they give in the order of the parts."""

from __future__ import annotations

import dataclasses
import os
import socket
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce
from typing import Any, TypeVar

from actlens.errors import ActlensError, WorkerError
from actlens.streaming.handing import hand_over, in_our_words
from actlens.streaming.reader import KeptRows
from actlens.streaming.threads import cores, share_of, threads_here

P = TypeVar("P")
S = TypeVar("S")

_UNKNOWN_WORKERS = 8  # of an executor that does not say how many it has
_MOST_WORKERS = 1024


def workers_of(executor: Executor | None) -> int:
    """Say how many tasks an executor runs at once; 1 without one.

    Raises:
        WorkerError: it is none of concurrent.futures' kind, or a Dask client that cannot be waited for.
    """
    if executor is None:
        return 1
    # Dask's client has a `submit` too, of futures that are none of concurrent.futures.
    if not callable(getattr(executor, "submit", None)) or hasattr(executor, "get_executor"):
        raise WorkerError.not_an_executor(executor)
    client = getattr(executor, "_client", None)  # distributed.cfexecutor.ClientExecutor
    if client is not None and hasattr(client, "nthreads"):
        if client.status in {"closed", "closing"}:
            raise WorkerError.shut_down()
        if client.asynchronous:
            raise WorkerError.in_event_loop()
        return max(1, min(int(sum(client.nthreads().values())), _MOST_WORKERS))
    known = getattr(executor, "_max_workers", None)
    return known if isinstance(known, int) and known > 0 else _UNKNOWN_WORKERS


def fold(
    task: Callable[[P], S],
    parts: Sequence[P],
    join: Callable[[S, S], S],
    *,
    executor: Executor | None = None,
) -> S:
    """Give task(part₁) joined with task(part₂) and so on, always in this order.

    Of a concurrent.futures executor only `submit` and `Future.result` are used, so that those of Dask and
    MPI do as well. `task` must be a function of a module, or a dataclass with `__call__`, where workers are
    processes.

    Raises:
        WorkerError: a worker cannot read the recording; what is sent to it cannot be pickled, or not be
            loaded there; the executor is shut down.
    """
    return reduce(join, each(task, parts, executor=executor))


def each(task: Callable[[P], S], parts: Sequence[P], *, executor: Executor | None = None) -> Iterator[S]:
    """Give what the task makes of each part, in their order; at most two tasks a worker are under way."""
    if executor is None:
        yield from map(task, parts)
        return
    limited = _Limited(task, _worker(), _share_of_each(executor))
    waiting = deque(parts)
    running: deque[tuple[P, Future[S] | None]] = deque()
    limit = 2 * workers_of(executor)
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                part = waiting.popleft()
                running.append((part, hand_over(executor, limited, part)))
            yield _oldest(limited, running)
    finally:
        for _, future in running:
            if future is not None:
                future.cancel()


def threaded(task: Callable[[P], S], parts: Sequence[P], *, executor: Executor | None = None) -> Iterator[S]:
    """Do as `each`; and without an executor, many at once in threads here: for tasks with small results."""
    if executor is not None or len(parts) < 2:
        yield from each(task, parts, executor=executor)
        return
    with ThreadPoolExecutor(threads_here(), thread_name_prefix="actlens") as pool:
        yield from each(task, parts, executor=pool)


def _share_of_each(executor: Executor) -> int:
    """Give the threads of one task: a pool of processes shares out the cores, others say for themselves."""
    if not isinstance(executor, ProcessPoolExecutor):
        return 1
    return max(1, cores() // workers_of(executor))


def _oldest(task: Callable[[P], S], running: deque[tuple[P, Future[S] | None]]) -> S:
    """Wait for what was begun first; until it is there, whoever gives up cancels it with the others."""
    part, future = running[0]
    result = _result(task, part, future)
    running.popleft()
    return result


def _result(task: Callable[[P], S], part: P, future: Future[S] | None) -> S:
    """Wait for a result; a part whose worker died is worked on here, so that one death costs no result."""
    if future is not None:
        try:
            return future.result()
        except ActlensError:
            raise
        except Exception as error:
            if not _died(error):
                said = in_our_words(error, task, part)
                if said is None:
                    raise
                raise said from error
    warnings.warn(WorkerError.lost(), stacklevel=2)
    return task(part)


def _died(error: BaseException) -> bool:
    """Say whether the worker is gone, and not the task wrong: the names are those of Dask."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in {"KilledWorker", "CommClosedError"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Limited:
    """The task as a worker runs it: with its share of the threads, and with its own words for its errors."""

    task: Callable[[Any], Any]
    caller: str
    threads: int
    # Two calls never look alike, so that Dask (pure=True) answers none with what it has of another.
    call: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def __name__(self) -> str:
        """What Dask shows on its pages, and groups its statistics by."""
        return getattr(self.task, "__name__", type(self.task).__name__)

    def __call__(self, part: Any) -> Any:
        try:
            with share_of(self.threads):
                return self.task(part)
        except ActlensError as error:
            worker = _worker()
            if worker != self.caller:
                path = _folder_of(part)
                if path is not None and not os.path.isdir(path):
                    raise WorkerError.no_access(path, worker) from error
                error.add_note(WorkerError.said_by(worker))
            raise


def _worker() -> str:
    """Name this process: numbers of processes alone are alike in containers."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _folder_of(task: Any) -> str | None:
    """Name the folder that a part is read from; None for an address, which every worker sees alike."""
    part = getattr(task, "part", task)
    reader = getattr(part, "reader", None)
    while isinstance(reader, KeptRows):
        reader = reader.reader
    where = getattr(getattr(reader, "layer", None), "where", None)
    return None if where is None or "://" in str(where) else str(where)
