"""Which calls of a layer belong to a forward, and which of them the forward can give."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from keras.src.backend.common import global_state

from actlens.activations import Layer, Tape
from actlens.keys import INPUT, arguments
from actlens_tf._framework import framework
from actlens_tf._naming import Place
from actlens_tf._patches import Around, Call
from actlens_tf._values import is_array, mapped

_OTHER_LOOP = (
    "runs inside a loop, a branch or a compiled function (keras.ops.cond, while_loop, scan, map, a "
    "tf.function, jax.jit, rematerialization), where values cannot leave the graph; capture {around} instead"
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Event:
    name: str
    layer: Layer
    value: Any


class _Loop:
    """What fires inside one call of an RNN, held back until it is known which call of the cell was a probe.

    Keras calls the cell once more than there are steps, to see what it returns, on some of its backends.
    """

    def __init__(self, steps: int | None) -> None:
        self.rounds = 0
        self._steps = steps
        self._events: list[tuple[int, _Event]] = []

    def add(self, event: _Event) -> None:
        self._events.append((self.rounds, event))

    def kept(self) -> list[_Event]:
        first = 2 if self._steps is not None and self.rounds == self._steps + 1 else 0
        return [event for round_, event in self._events if round_ >= first]


class Moment:
    """One forward: takes down what fires in its thread and in its graph."""

    def __init__(self, tape: Tape, fired: Callable[[str], None] | None) -> None:
        self._tape = tape
        self._fired = fired
        self._thread = threading.get_ident()
        self._scope = _symbolic_scope()
        self._context = framework().context()
        self._loops: list[_Loop] = []
        self._given: set[str] = set()
        self.inner: dict[str, str] = {}

    @property
    def partly(self) -> dict[str, str]:
        """Which names have calls that can be given beside calls that cannot, and why those cannot."""
        return {name: f"one of its calls {why}" for name, why in self.inner.items() if name in self._given}

    def listening(self, place: Place, layer: Layer, *, inputs: bool, output: bool) -> Around:
        """Give what to put around the call of a selected layer."""

        def around(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._mine():
                return call(*args, **kwargs)
            if inputs:
                self._take(place, _Event(place.path + INPUT, layer, _given(args, kwargs)))
            result = call(*args, **kwargs)
            if output:
                self._take(place, _Event(place.path, layer, result))
            return result

        return around

    def looping(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an RNN."""
        if not self._mine():
            return call(*args, **kwargs)
        loop = _Loop(_steps(args, kwargs))
        self._loops.append(loop)
        try:
            result = call(*args, **kwargs)
        finally:
            self._loops.pop()
        for event in loop.kept():
            self._put(event)
        return result

    def stepping(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the cell of an RNN."""
        if self._mine() and self._loops:
            self._loops[-1].rounds += 1
        return call(*args, **kwargs)

    def _mine(self) -> bool:
        """Say whether a call belongs to this forward, and has values: symbols only ask for a shape."""
        return threading.get_ident() == self._thread and _symbolic_scope() is self._scope

    def _take(self, place: Place, event: _Event) -> None:
        if framework().context() != self._context:
            path = place.around.path if place.around else ""
            around = f"the layer around it, {path!r}," if path else "a layer outside of it"
            self.inner[event.name] = place.why_inside or _OTHER_LOOP.format(around=around)
        elif self._loops:
            self._put(dataclasses.replace(event, value=_owned(event.value)))
        else:
            self._put(event)

    def _put(self, event: _Event) -> None:
        if self._loops:
            self._loops[-1].add(event)
        elif event.name not in self.inner:
            take = self._tape.input if event.name.endswith(INPUT) else self._tape.output
            take(event.layer, event.value)
            self._given.add(event.name)
            if self._fired is not None:
                self._fired(event.name)


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give what goes into a layer, without what Keras adds to it: the mode, and masks that are None."""
    own = {name: value for name, value in kwargs.items() if value is not None and name != "training"}
    return arguments(args, own, is_array)


def _owned(value: Any) -> Any:
    """Take arrays for good, in the containers that keys can name."""
    return mapped(value, lambda leaf: framework().owned(leaf) if is_array(leaf) else leaf)


def _symbolic_scope() -> object:
    # keras.SymbolicScope is public, but whether one is open can only be asked here
    return global_state.get_global_attribute("symbolic_scope")


def _steps(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    sequences = args[0] if args else kwargs.get("sequences")
    shape = getattr(sequences, "shape", None)
    steps = None if shape is None or len(shape) < 2 else shape[1]
    return steps if isinstance(steps, int) else None
