"""layers(): the names of a model's layers, and with example arguments their shapes; nothing is computed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from actlens.activations import Activations, Axes, LayerInfo
from actlens.keys import INPUT
from actlens_jax._capture import capture
from actlens_jax._linen import is_bound
from actlens_jax._models import check_model
from actlens_jax._naming import Place, places


def layers(model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
    """Give path → LayerInfo. With example arguments: every key in the order of the forward, with shapes.

    The example goes through `jax.eval_shape`: shapes and dtypes are worked out, nothing is computed. A Linen
    module knows its layers only in a call: without an example there are none. Unbound, it takes
    `layers(module, variables, x)`, or `layers(module, x)`, which is what `init` would make of it.
    """
    check_model(model)
    known = {place.path: place for place in places(model)} if isinstance(model, nnx.Module) else {}
    if not args and not kwargs:
        return {
            path: LayerInfo(place.type, aliases=place.aliases, may_be_stack=True)
            for path, place in known.items()
        }
    report = _dry(model, args, kwargs).report
    assert report is not None  # noqa: S101 - a tape always gives one
    infos = {key: _noted(info, known.get(re.split(r"[:\[]", key)[0])) for key, info in report.layers.items()}
    for path, why in report.never_fired.items():
        note = f"never called: {why}" if why else "never called"
        infos[path] = _noted(LayerInfo("", note=note), known.get(path))
    for path in report.calls:
        if not any(key == path or key.startswith((f"{path}[", f"{path}:")) for key in infos):
            infos[path] = _noted(LayerInfo("", note="returned no array"), known.get(path))
    return infos


def _noted(info: LayerInfo, place: Place | None) -> LayerInfo:
    if place is None:
        return info
    return dataclasses.replace(info, type=place.type, aliases=place.aliases)


def _dry(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activations:
    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        return _shapes(lambda state, args: _forward(nnx.merge(graph, state), args, kwargs), state, args)
    forward = capture(model, _Everything())
    if is_bound(model) or (args and isinstance(args[0], Mapping)):
        return _shapes(lambda args: forward(*args, **kwargs)[1], args)
    return _shapes(lambda args: _initialised(model, forward, args, kwargs), args)


def _forward(copy: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activations:
    copy.eval()
    return capture(copy, _Everything())(*args, **kwargs)[1]


def _initialised(
    model: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Activations:
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    variables = model.init(keys, *args, **kwargs)
    acts: Activations = forward(variables, *args, rngs={"dropout": keys["dropout"]}, **kwargs)[1]
    return acts


def _shapes(function: Any, *args: Any) -> Activations:
    acts: Activations = jax.eval_shape(function, *args)
    return acts


class _Everything:
    """The selector of layers(): the output of every layer."""

    def layer(self, name: str) -> bool:
        return not name.endswith(INPUT)

    def wants(self, key: str) -> bool:
        return bool(key)

    def transform(self, key: str, array: Any) -> Any:
        del key
        return array

    def axes(self, key: str, axes: Axes | None) -> Axes | None:
        del key
        return axes
