"""How many threads BLAS may use: as many workers as there are cores need one each, not all of them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor


def threads_of_each(executor: Executor) -> int | None:
    """Give the share of the threads that each process of a pool has; None to leave them as they are."""
    if not isinstance(executor, ProcessPoolExecutor):
        return None  # engines as Dask tell their workers themselves
    workers = getattr(executor, "_max_workers", 1) or 1
    return max(1, len(os.sched_getaffinity(0)) // workers)


@contextlib.contextmanager
def one_thread(executor: Executor | None, threads: int | None = None) -> Iterator[None]:
    """Hold BLAS to one thread while a pool of threads works here, or to `threads`.

    Without threadpoolctl nothing is changed: slower, and as right.
    """
    if isinstance(executor, ThreadPoolExecutor):
        threads = 1
    if threads is None or importlib.util.find_spec("threadpoolctl") is None:
        yield
        return
    with importlib.import_module("threadpoolctl").threadpool_limits(threads, user_api="blas"):
        yield
