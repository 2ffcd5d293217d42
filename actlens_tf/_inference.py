"""inference(): the fast form for record(): inference mode, no gradients, one compiled function."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from actlens.activations import Activations
from actlens.backend import Forward
from actlens.errors import ActlensError
from actlens_tf._activations import KerasActivations
from actlens_tf._framework import framework
from actlens_tf._inputs import native
from actlens_tf._losses import kept_losses
from actlens_tf._model import check_model
from actlens_tf._naming import places
from actlens_tf._values import leaves_of, sizes

_EAGERLY = "record() ran this model eagerly, since it cannot be traced: {error}"


@contextlib.contextmanager
def inference(model: Any, forward: Forward, /) -> Iterator[Forward]:
    """Give `forward` for inference: `training=False`, no gradients, compiled once where Keras compiles.

    What the model writes into its variables (seeds, counters, states of a stateful RNN) is seen by the next
    call in this context and by nobody else; weights that a training loop changes meanwhile are seen.
    """
    yield _Session(check_model(model), forward)


class _Session:
    """One context: its compiled function, and what the model wrote into its variables so far."""

    def __init__(self, model: Any, forward: Forward) -> None:
        self._model = model
        self._forward = forward
        self._variables = _variables(model)
        self._written: dict[int, Any] = {}
        self._compiled = framework().compiled(self._step, model)
        self._why_eager = ""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[None, Activations]:
        args, kwargs = native(args), native(kwargs)
        with framework().kept_modes(self._model), kept_losses(self._model):
            acts, written = self._run(args, kwargs)
        self._written = written
        return None, _measured(acts, self._why_eager)

    def _run(self, args: Any, kwargs: Any) -> tuple[Activations, dict[int, Any]]:
        values = framework().weights(self._variables)
        if not self._why_eager and not getattr(self._model, "run_eagerly", False):
            try:
                result: tuple[Activations, dict[int, Any]]
                result = self._compiled(values, self._written, args, kwargs)
            except ActlensError:
                raise
            except Exception as error:  # Keras rewrites errors, so that types do not tell what they were
                if not framework().TRACES:
                    raise
                self._why_eager = _EAGERLY.format(error=type(error).__name__)
            else:
                return result
        return self._step(values, self._written, args, kwargs)

    def _step(
        self, values: list[Any], written: dict[int, Any], args: Any, kwargs: Any
    ) -> tuple[Activations, dict[int, Any]]:
        """Run the model with the values of its variables; give what was captured, and what it wrote."""
        given = dict(enumerate(values)) | written
        mapping = [(self._variables[at], value) for at, value in given.items()]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = {at: scope.get_current_value(variable) for at, variable in enumerate(self._variables)}
            _, acts = self._forward(*args, **{"training": False, **kwargs})
            after = {at: scope.get_current_value(variable) for at, variable in enumerate(self._variables)}
        changed = {at: value for at, value in after.items() if value is not before[at]}
        return acts, written | changed


def _variables(model: Any) -> list[Any]:
    """List all variables of a model, with those that Keras does not count: the states of stateful RNNs."""
    held = [vars(layer).get("states") for layer in (model, *(place.layer for place in places(model)))]
    more = [leaf for leaf in leaves_of(held) if isinstance(leaf, keras.Variable)]
    return list({id(variable): variable for variable in [*model.variables, *more]}.values())


def _measured(acts: Activations, note: str) -> KerasActivations:
    """Write the sizes that a graph did not know into the report."""
    report = acts.report
    if report is not None:
        layers = {
            key: dataclasses.replace(info, shape=sizes(acts[key])) for key, info in report.layers.items()
        }
        notes = (*report.notes, note) if note else report.notes
        report = dataclasses.replace(report, layers=layers, notes=notes)
    return KerasActivations(acts, acts.axes, report)
