"""Doing things at once, because each of them is mostly waiting for an answer.

Two pools: shards are read at once in one, and their requests made in the other, so that what waits for
requests never takes the place of a request. A pool is of one process: a forked child makes its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

_SIZES = {"shards": 16, "requests": 16}  # together, no more than 32 requests are under way
_pools: dict[tuple[int, str], ThreadPoolExecutor] = {}
_lock = threading.Lock()
_within = threading.local()


def at_once(pool: str, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Give the results in the order of the items, as `map` does; within a pool's own thread, do just that."""
    items = list(items)
    if len(items) < 2 or getattr(_within, "pool", None) == pool:
        return map(function, items)

    def run(item: S) -> T:
        _within.pool = pool
        return function(item)

    return _pool(pool).map(run, items)


def _pool(name: str) -> ThreadPoolExecutor:
    key = (os.getpid(), name)
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(_SIZES[name], thread_name_prefix=f"actlens-{name}")
        return _pools[key]
