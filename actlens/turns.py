"""One model at a time to one thread: what an adapter puts on a model for a call is the model's own."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

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
