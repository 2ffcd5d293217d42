"""layers(): the names of a model's layers, and with example arguments their shapes; nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import flax.errors
import jax
from flax import linen as nn
from flax import nnx

from actlens.activations import Activations, LayerInfo, Report, Selector
from actlens.errors import UncapturableValue
from actlens.listing import Everything, listing
from actlens_jax._capture import capture
from actlens_jax._linen import is_bound
from actlens_jax._models import check_model
from actlens_jax._naming import places

_WORD = re.compile(r"""['"](\w+)['"]""")


def layers(model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
    """Give path → LayerInfo. With example arguments: every key in the order of the forward, with shapes.

    The example goes through `jax.eval_shape`: shapes and dtypes are worked out, nothing is computed. A Linen
    module knows its layers only in a call: without an example there are none. Unbound, it takes
    `layers(module, variables, x)`, or `layers(module, x)`, which is what `init` would make of it.
    """
    check_model(model)
    found = places(model) if isinstance(model, nnx.Module) else []
    known = {place.path: LayerInfo(place.type, aliases=place.aliases, may_be_stack=True) for place in found}
    if not args and not kwargs:
        return known
    report, hidden = _report(model, args, kwargs)
    fired = {path for path in known if path in report.calls or path in report.never_fired}
    # a layer that was split has only the names of its parts
    shown = {
        path: known.get(path, LayerInfo("")) for path in [*known, *hidden] if path in fired or path in hidden
    }
    return listing(report, shown, why_not=hidden)


def _report(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Report, dict[str, str]]:
    """Give the report of a dry run, without the layers that no capture can hear: path → why."""
    hidden: dict[str, str] = {}
    while True:
        try:
            report = _dry(model, Everything(frozenset(hidden)), args, kwargs).report
        except UncapturableValue as error:
            if error.key in hidden:
                raise
            hidden[error.key] = "it is inside a transformation that does not pass its values on"
        else:
            assert report is not None  # noqa: S101 - a tape always gives one
            return report, hidden


def _dry(model: Any, select: Selector, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activations:
    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        return _shapes(
            lambda state, args: _forward(nnx.merge(graph, state), select, args, kwargs), state, args
        )
    forward = capture(model, select)
    if is_bound(model) or (args and _are_variables(args[0])):
        return _shapes(lambda args: forward(*args, **kwargs)[1], args)
    return _shapes(lambda args: _initialised(model, forward, args, kwargs), args)


def _forward(copy: Any, select: Selector, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activations:
    copy.eval()
    return capture(copy, select)(*args, **kwargs)[1]


def _initialised(
    model: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Activations:
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    while True:
        try:
            variables = model.init(keys, *args, **kwargs)
            acts: Activations = forward(variables, *args, rngs=keys, **kwargs)[1]
        except flax.errors.InvalidRngError as error:  # a kind of random number of the model's own
            named = set(_WORD.findall(str(error)))
            if not named - keys.keys():
                raise
            keys |= {name: jax.random.key(0) for name in named}
        else:
            return acts


def _are_variables(value: Any) -> bool:
    """Say whether a first argument is variables, and not an input that is a dict: they are dicts of dicts."""
    return isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values())


def _shapes(function: Any, *args: Any) -> Activations:
    acts: Activations = jax.eval_shape(function, *args)
    return acts
