"""What threads share: a model, which one of them has at a time, and switches of the whole process."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

# By id, not by the model: a class with an __eq__ of its own has no hash. Whoever holds a lock holds the model
# too, so that an id means the same model for as long as its lock lives.
_turns: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_making = threading.Lock()


def turn_of(model: object) -> contextlib.AbstractContextManager[bool]:
    """Give the lock of a model, the same for all who ask: keep it as long as the model."""
    with _making:
        lock: contextlib.AbstractContextManager[bool] | None = _turns.get(id(model))
        if lock is None:
            lock = _turns[id(model)] = threading.RLock()
        return lock


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
