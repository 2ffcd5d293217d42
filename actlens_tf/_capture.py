"""capture(): functions around the calls of layers, for the time of one call of the model."""

from __future__ import annotations

from typing import Any

import keras

from actlens.activations import Activations, Layer, Selector, Tape
from actlens.backend import Forward
from actlens.errors import LayerNeverFired
from actlens.keys import INPUT
from actlens.stopping import Fired, Stopped, StopPlan
from actlens.turns import turn_of
from actlens_tf._activations import KerasActivations, traced
from actlens_tf._axes import axes_of
from actlens_tf._framework import framework
from actlens_tf._model import check_built, check_model
from actlens_tf._moment import Moment
from actlens_tf._naming import Place, is_rnn, places
from actlens_tf._patches import Around, around_calls
from actlens_tf._stop import of_array
from actlens_tf._values import Keeper, Kept, is_array, leaves_of, without_aliases

_SYMBOLIC = "the forward was given a KerasTensor, a symbol without values; call it with arrays"


def capture(model: Any, select: Selector, /, *, stop: bool = False) -> Forward:
    """Give a forward that calls the model once, unchanged, and captures what `select` asks for.

    It works eagerly and in a tf.function, a jax.jit or a gradient tape of the caller's. With `stop`, the
    first call for each kind of input runs in full and learns what fires; later ones end there. In a graph
    all run in full, since the graph leaves out by itself what nobody asks for.

    Raises:
        UnsupportedModel: the layers cannot be heard (a SavedModel, Keras 2), or have no weights yet.
    """
    check_built(check_model(model))
    ears = Ears(model, select)
    plan = StopPlan() if stop else None

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        args, kwargs = without_aliases(args), without_aliases(kwargs)
        tape = Tape(select, is_array=is_array, keep=Keeper(select).keep)

        def listen(fired: Fired | None) -> tuple[str, ...]:
            ears.listen(tape, args, kwargs, fired)
            return ()

        output = None
        notes: tuple[str, ...] = ()
        if plan is not None and not framework().tracing():
            notes = plan.run(listen, (args, kwargs), of_array=of_array)
        else:
            output = ears.listen(tape, args, kwargs)
        return None if stop else output, _opened(tape.activations(*notes))

    return framework().opaque(forward)


class Ears:
    """The layers of a model that a selector listens to, and one call of the model that hears them.

    `strict`: refuse a call in which some of a layer's values cannot be given; False where only shapes matter.
    """

    def __init__(self, model: Any, select: Selector, *, strict: bool = True) -> None:
        self.model = model
        self._select = select
        self._strict = strict
        self._turn = turn_of(model)
        self.partly: dict[str, str] = {}
        """Of the last call: the layers some of whose calls cannot be given, and why."""

    def listen(
        self,
        tape: Tape,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fired: Fired | None = None,
    ) -> Any:
        """Call the model once; give its output.

        `fired(name)` is called after each `path` or `path@input`; with Stopped it ends the call. A second
        thread waits for the end of it.
        """
        with self._turn:
            moment = Moment(tape, fired)
            found = places(self.model)
            try:
                with around_calls(self._functions(moment, found)):
                    output = self.model(*args, **kwargs)
            except Stopped:
                output = None
        symbolic = any(isinstance(leaf, keras.KerasTensor) for leaf in leaves_of((args, kwargs)))
        for place in found:
            for name in (place.path, place.path + INPUT):
                if self._select.layer(name):
                    known = _SYMBOLIC if symbolic else place.why_inside or place.why_not
                    tape.expect(name, moment.inner.get(name, known))
        self.partly = moment.partly
        if self.partly and self._strict:
            raise LayerNeverFired.of(type(self.model).__name__, self.partly)
        return output

    def _functions(self, moment: Moment, found: list[Place]) -> list[tuple[Any, Around]]:
        heard = [
            (
                place,
                moment.listening(
                    place,
                    Layer(place.path, place.type, axes_of(place.layer)),
                    inputs=self._select.layer(place.path + INPUT),
                    output=self._select.layer(place.path),
                ),
            )
            for place in found
            if self._select.layer(place.path) or self._select.layer(place.path + INPUT)
        ]
        around: list[tuple[Any, Around]] = [(place.layer, function) for place, function in heard]
        loops = {id(place.loop.layer): place.loop.layer for place, _ in heard if place.loop is not None}
        for layer in loops.values():
            if is_rnn(layer):
                around += [(layer, moment.looping)]
                around[:0] = [(layer.cell, moment.stepping)]
        return around


def _opened(acts: Activations) -> KerasActivations:
    """Give the arrays themselves, with what was learned about them."""
    arrays = {key: kept.array if isinstance(kept, Kept) else kept for key, kept in acts.items()}
    in_graph = keras.backend.backend() == "tensorflow" and framework().tracing()
    make = traced if in_graph else KerasActivations
    return make(arrays, acts.axes, acts.report)
