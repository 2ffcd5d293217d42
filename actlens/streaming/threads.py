"""How many threads a task may use, and BLAS held to one.

A product of float32 has other last digits with another number of BLAS's threads. So BLAS gets one, and the
work is shared out by us in pieces that do not depend on how many share it: the result is the same anywhere.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import os
import threading
from collections.abc import Iterator
from typing import Any

_share: contextvars.ContextVar[int | None] = contextvars.ContextVar("actlens_threads", default=None)
_lock = threading.Lock()
_users = 0
_limits: Any = None
_CLEAR = "clear_controlling_thread"


@functools.cache
def _blas() -> Any:
    """Find numpy's BLAS, which makes our products; looking for it takes longer than a small one of them."""
    return importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def threads_here() -> int:
    """Say how many threads the present task may use: all cores, but for its share on a worker."""
    return _share.get() or cores()


@contextlib.contextmanager
def share_of(threads: int) -> Iterator[None]:
    """Give what runs inside so many threads."""
    token = _share.set(threads)
    try:
        with single_threaded_blas():
            yield
    finally:
        _share.reset(token)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread in this process, until the last one who asked for it has ended."""
    global _users, _limits  # noqa: PLW0603 - BLAS has one setting for the whole process
    with _lock:
        if _users == 0:
            with _any_thread():
                _limits = _blas().limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                with _any_thread():
                    _limits.restore_original_limits()


@contextlib.contextmanager
def _any_thread() -> Iterator[None]:
    """Let the present thread set what is the whole process's.

    threadpoolctl (3.8) lets one thread alone set OpenBLAS, and in silence does nothing for others:
    the first to ask here is seldom the last to end.
    """
    free = [lib.clear_controlling_thread for lib in _blas().lib_controllers if hasattr(lib, _CLEAR)]
    for clear in free:
        clear(force=True)
    yield
    for clear in free:
        clear(force=True)
