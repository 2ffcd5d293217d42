"""What threads share: one model at a time to one of them, and switches of the whole process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch import nn

from actlens.turns import turn_of as lock_of
from actlens_torch._naming import unwrapped

_Value = TypeVar("_Value")


def turn_of(model: nn.Module) -> contextlib.AbstractContextManager[bool]:
    """Give the lock of a model, the same with and without wrappers.

    Hooks and training flags are the model's own, so a second thread that captures from it has to wait.
    """
    return lock_of(unwrapped(model))


class Switch(Generic[_Value]):
    """A setting of the whole process: put over by the first who needs it, put back by the last.

    `put()` sets it and gives what it was; `back(was)` sets that again.
    """

    def __init__(self, put: Callable[[], _Value], back: Callable[[_Value], object]) -> None:
        self._put = put
        self._back = back
        self._lock = threading.Lock()
        self._was: list[_Value] = []
        self._users = 0

    @contextlib.contextmanager
    def over(self) -> Iterator[_Value]:
        """Put the switch over for a while; give what it was before anybody did."""
        with self._lock:
            if not self._users:
                self._was = [self._put()]
            self._users += 1
            was = self._was[0]
        try:
            yield was
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._back(self._was.pop())
