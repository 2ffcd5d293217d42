"""stop=True: end the forward after the last layer that is needed. The plan is the same in every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_REMEMBERED = 256  # kinds of input; beyond it, all are learned again

Fired = Callable[[str], None]
Listen = Callable[["Fired | None"], tuple[str, ...]]
"""Calls the model once, and names each `path` and `path@input` that fires; gives notes for the report."""
OfArray = Callable[[Any], object]
"""Gives what counts of an array of the framework, None for what is none; or raises Unknown."""


class Stopped(BaseException):
    """Leaves the model's forward. Not an Exception, so that the model's own handlers let it pass."""


class Unknown(Exception):
    """An argument whose content cannot be told from another's; its text says which type."""


class StopPlan:
    """Learns, for each kind of input, which layers fire; later ends the forward when all have.

    A layer whose number of calls depends on the values of the input is outside of what this can see: it
    is heard until every layer has fired once.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[frozenset[str], str]] = {}

    def run(
        self, listen: Listen, given: object, *, of_array: OfArray, why_in_full: str = ""
    ) -> tuple[str, ...]:
        """Call the model as far as it is needed; give notes for the report.

        `given` is all that decides the path through the model: arguments, and its mode.
        """
        if why_in_full:
            return (*listen(None), f"stop=True: the forward ran in full, because {why_in_full}")
        try:
            kind = signature(given, of_array)
        except Unknown as unknown:
            what = f"an argument is {unknown}, whose content may decide which layers fire"
            return (*listen(None), f"stop=True: the forward ran in full, because {what}")
        needed, why = self._known.get(kind, (None, ""))
        if needed is None:
            return self._learn(kind, listen)
        waiting = set(needed)

        def fired(name: str) -> None:
            waiting.discard(name)
            if not waiting:
                raise Stopped

        notes = listen(None if why else fired)
        return (*notes, why) if why else notes

    def _learn(self, kind: object, listen: Listen) -> tuple[str, ...]:
        calls: dict[str, int] = {}

        def fired(name: str) -> None:
            calls[name] = calls.get(name, 0) + 1

        notes = listen(fired)
        often = next((name for name, count in calls.items() if count > 1), None)
        why = (
            f"stop=True: every forward runs in full, because {often!r} is called more than once"
            if often
            else ""
        )
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[kind] = (frozenset(calls), why)
        return (*notes, why or "stop=True: the first forward ran in full to learn which layers fire")


def signature(value: Any, of_array: OfArray) -> object:
    """Give what decides the path through a model: shapes, dtypes, devices, and plain values.

    One number on the host counts by its value: it is a count of steps as often as data.

    >>> import numpy as np
    >>> signature((np.zeros((2, 3), "f4"), True), lambda leaf: None)
    (('numpy', (2, 3), '<f4'), ('bool', True))
    >>> signature(np.int64(3), lambda leaf: None)
    ('numpy', (), '<i8', 3)

    Raises:
        Unknown: an object that may hold anything, e.g. a config.
    """
    if (array := of_array(value)) is not None:
        return array
    if isinstance(value, (np.ndarray, np.generic)):
        what: tuple[object, ...] = ("numpy", value.shape, value.dtype.str)
        if value.dtype.hasobject or value.dtype.names:
            raise Unknown(f"a numpy array of {value.dtype}")
        return (*what, value.item()) if value.size == 1 else what
    if isinstance(value, Mapping):
        return tuple((key, signature(item, of_array)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(signature(item, of_array) for item in value)
    if value is None or isinstance(value, (int, float, complex, str, bytes)):
        return value if value is None or type(value) in {int, str} else (type(value).__name__, value)
    raise Unknown(f"a {type(value).__module__}.{type(value).__qualname__}")
