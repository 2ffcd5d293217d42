"""stop=True: end the forward after the last layer that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from actlens.activations import Tape
from actlens_tf._values import is_array

if TYPE_CHECKING:
    from actlens_tf._capture import Ears

_REMEMBERED = 256  # kinds of input; beyond it, all are learned again


class Stopped(BaseException):
    """Leaves the model's call. Not an Exception, so that the model's own handlers let it pass."""


class StopPlan:
    """Learns, for each kind of input, which layers fire; later ends the forward when all have."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[frozenset[str], str]] = {}

    def run(
        self, ears: Ears, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, ...]:
        """Call the model as far as it is needed; give notes for the report."""
        try:
            kind = (signature(args), signature(kwargs))
        except Unknown as unknown:
            ears.listen(tape, args, kwargs)
            what = f"an argument is {unknown}, whose content may decide which layers fire"
            return (f"stop=True: the forward ran in full, because {what}",)
        needed, why = self._known.get(kind, (None, ""))
        if needed is None:
            return self._learn(kind, ears, tape, args, kwargs)
        waiting = set(needed)

        def fired(name: str) -> None:
            waiting.discard(name)
            if not waiting:
                raise Stopped

        ears.listen(tape, args, kwargs, None if why else fired)
        return (why,) if why else ()

    def _learn(
        self, kind: object, ears: Ears, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, ...]:
        calls: dict[str, int] = {}

        def fired(name: str) -> None:
            calls[name] = calls.get(name, 0) + 1

        ears.listen(tape, args, kwargs, fired)
        often = next((name for name, count in calls.items() if count > 1), None)
        why = f"stop=True: every forward runs in full, because {often!r} is called more than once" if often else ""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[kind] = (frozenset(calls), why)
        return (why or "stop=True: the first forward ran in full to learn which layers fire",)


class Unknown(Exception):
    """An argument whose content cannot be told from another's; its text says which type."""


def signature(value: Any) -> object:
    """Give what decides the path through a model: shapes, dtypes, and plain values.

    One number counts by its value: it is a count of steps as often as data.

    >>> signature(([True, None], "train"))
    ((('bool', True), None), 'train')

    Raises:
        Unknown: an object that may hold anything, e.g. a config.
    """
    if is_array(value) or isinstance(value, (np.ndarray, np.generic)):
        what: tuple[object, ...] = (type(value).__name__, tuple(value.shape), str(value.dtype))
        if str(value.dtype) == "object" or any(not isinstance(size, int) for size in value.shape):
            raise Unknown(f"an array of {value.dtype}")
        try:
            return (*what, np.asarray(value).item()) if not value.shape or set(value.shape) == {1} else what
        except Exception as error:
            raise Unknown("an array whose value cannot be read") from error
    if isinstance(value, Mapping):
        return tuple((key, signature(item)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(signature(item) for item in value)
    if value is None or isinstance(value, (int, float, complex, str, bytes)):
        return value if value is None or type(value) in {int, str} else (type(value).__name__, value)
    raise Unknown(f"a {type(value).__module__}.{type(value).__qualname__}")
