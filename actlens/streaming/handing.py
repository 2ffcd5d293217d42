"""Handing a task over to an executor, and what may go wrong on the way, in our words."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import TypeVar

from actlens.errors import WorkerError

P = TypeVar("P")
S = TypeVar("S")

_UNPICKLED = (pickle.PicklingError, TypeError, AttributeError)  # what pickle raises of what it cannot take
_BY_DASK = "Could not serialize object"
_NOT_LOADED_BY_DASK = "Error during deserialization of the task graph"


def hand_over(executor: Executor, task: Callable[[P], S], part: P) -> Future[S] | None:
    """Submit a task; None where the workers are dead.

    Raises:
        WorkerError: the executor is shut down; or the task cannot be pickled.
    """
    try:
        with _quiet(executor):
            return executor.submit(task, part)
    except BrokenExecutor:
        return None
    except Exception as error:
        if type(error).__name__ == "ClosedClientError" or "after shutdown" in str(error):
            raise WorkerError.shut_down() from error
        said = in_our_words(error, task, part)
        if said is None:
            raise
        raise said from error


def in_our_words(error: Exception, task: object, part: object) -> WorkerError | None:
    """Say what happened to a task that was not worked on; None of an error that is the task's own."""
    if isinstance(error, CancelledError):
        return WorkerError.cancelled()
    if isinstance(error, RuntimeError) and _NOT_LOADED_BY_DASK in str(error):
        return WorkerError.not_loaded(_root(error))
    if isinstance(error, _UNPICKLED):
        if _BY_DASK in str(error):
            return WorkerError.not_sent(part, _root(error))
        if (reason := _refusal((task, part))) is not None and str(reason) == str(error):
            return WorkerError.not_sent(part, reason)
    return None


@contextlib.contextmanager
def _quiet(executor: Executor) -> Iterator[None]:
    """Keep back Dask's advice on tasks above 10 MB, to load the data with Dask: an array must travel."""
    if not hasattr(executor, "_client"):  # filters are the whole process's: they are left alone else
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        yield


def _refusal(sent: object) -> Exception | None:
    """Give what pickle says against it."""
    try:
        pickle.dumps(sent)
    except _UNPICKLED as error:
        return error
    return None


def _root(error: BaseException) -> BaseException:
    """Give the first cause."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
