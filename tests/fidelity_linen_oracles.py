"""What each layer of Flax Linen gives, by `fidelity_reference` and the variables of the layer itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fidelity_reference as ref
import numpy as np
from fidelity_check import Array, Call, Oracle
from fidelity_linen_models import FUNCTIONS
from flax import linen as nn

# of a layer and its weights, parameters and statistics together
Weights = Mapping[str, Any]
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


def pair(value: Any) -> ref.Pair:
    return value if isinstance(value, tuple) else (value, value)


def dense(_: Any, w: Weights) -> Oracle:
    axes = np.ndim(w["kernel"]) - np.ndim(w.get("bias", [0]))
    return lambda call: ref.dense(call.input, w["kernel"], w.get("bias"), axes=axes)


def conv(layer: nn.Conv, w: Weights) -> Oracle:
    padding = layer.padding if isinstance(layer.padding, (str, tuple)) else ((layer.padding,) * 2,) * 2
    options = {"stride": pair(layer.strides), "padding": padding, "groups": layer.feature_group_count}
    return lambda call: ref.conv(call.input, np.asarray(w["kernel"]), w.get("bias"), **options)


def conv_transpose(layer: nn.ConvTranspose, w: Weights) -> Oracle:
    crop = ref.lax_crop(layer.kernel_size, layer.strides, layer.padding)
    kernel = np.asarray(w["kernel"])[::-1, ::-1]
    return lambda call: ref.conv_transpose(call.input, kernel, w["bias"], stride=layer.strides, crop=crop)


def batch_norm(layer: nn.BatchNorm, w: Weights) -> Oracle:
    weights = [w[name] for name in ("mean", "var", "scale", "bias")]
    return lambda call: ref.batch_norm(call.input, *weights, eps=layer.epsilon)


def layer_norm(layer: nn.LayerNorm, w: Weights) -> Oracle:
    return lambda call: ref.layer_norm(call.input, w["scale"], w["bias"], layer.epsilon)


def stacked(cell: Weights, side: str, gates: tuple[str, ...], weight: str) -> Array:
    """Put the layers of a cell together, gate by gate; a bias that it does not have is 0."""
    parts = [cell[side + gate] for gate in gates]
    return np.stack(
        [np.asarray(part.get(weight, np.zeros(part["kernel"].shape[-1]))) for part in parts], axis=-2
    )


def lstm_weights(cell: Weights) -> tuple[Array, Array, Array]:
    gates = GATES["lstm"]
    return (
        stacked(cell, "i", gates, "kernel"),
        stacked(cell, "h", gates, "kernel"),
        stacked(cell, "h", gates, "bias"),
    )


def gru_weights(cell: Weights) -> list[Array]:
    return [stacked(cell, side, GATES["gru"], weight) for weight in ("kernel", "bias") for side in "ih"]


def rnn(layer: nn.RNN, w: Weights) -> Oracle:
    def oracle(call: Call) -> Any:
        if isinstance(layer.cell, nn.GRUCell):
            return ref.gru(call.input, *gru_weights(w["cell"]))
        h, c = ref.lstm(call.input, *lstm_weights(w["cell"]))
        return {"[0][0]": c[:, -1], "[0][1]": h[:, -1], "[1]": h}

    return oracle


def lstm_cell(_: nn.LSTMCell, w: Weights) -> Oracle:
    def oracle(call: Call) -> dict[str, Array]:
        into = call.leaves("@input")
        h, c = ref.lstm_step(into["[1]"], into["[0][1]"], into["[0][0]"], *lstm_weights(w))
        return {"[0][0]": c, "[0][1]": h, "[1]": h}

    return oracle


def gru_cell(_: nn.GRUCell, w: Weights) -> Oracle:
    def oracle(call: Call) -> dict[str, Array]:
        h = ref.gru_step(call.argument(1), call.argument(0), *gru_weights(w))
        return {"[0]": h, "[1]": h}

    return oracle


def attention(_: nn.Module, w: Weights) -> Oracle:
    weights = {name[0]: (w[name]["kernel"], w[name]["bias"]) for name in ("query", "key", "value", "out")}

    def oracle(call: Call) -> Array:
        x, mask = call.argument(0), call.leaves("@input").get("[mask]")
        return ref.multi_head_attention(x, x, x, weights, None if mask is None else mask > 0)[0]

    return oracle


def after(call: Call, layers: list[Any], upto: int) -> Array:
    """What a Sequential has made after so many layers; functions among them are not captured."""
    at = max((index for index in range(upto) if isinstance(layers[index], nn.Module)), default=-1)
    x = call.input if at < 0 else call.inner(f"layers_{at}").output
    for function in layers[at + 1 : upto]:
        x = FUNCTIONS[function](x)
    return x


def sequential(layer: nn.Sequential, _: Weights) -> Oracle:
    return lambda call: after(call, list(layer.layers), len(layer.layers))


BY_TYPE: dict[type[nn.Module], Callable[[Any, Weights], Oracle]] = {
    nn.Dense: dense,
    nn.DenseGeneral: dense,
    nn.Conv: conv,
    nn.ConvTranspose: conv_transpose,
    nn.BatchNorm: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.RNN: rnn,
    nn.LSTMCell: lstm_cell,
    nn.GRUCell: gru_cell,
    nn.MultiHeadDotProductAttention: attention,
    nn.Sequential: sequential,
    nn.Embed: lambda _, w: lambda call: ref.embedding(call.input, w["embedding"]),
    nn.Dropout: lambda *_: lambda call: call.input,  # in evaluation
}


def made_inside(module: nn.Module) -> dict[str, nn.Module]:
    """Give the layers that those of flax make in their call."""
    if isinstance(module, nn.MultiHeadDotProductAttention):
        return {name: nn.DenseGeneral(1) for name in ("query", "key", "value", "out")}
    kind = {nn.LSTMCell: "lstm", nn.GRUCell: "gru"}.get(type(module))
    return {side + gate: nn.Dense(1) for gate in GATES[kind] for side in "ih"} if kind else {}


def layers_of(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    yield path, module
    inside = made_inside(module)
    for field in dataclasses.fields(module):
        value = getattr(module, field.name) if field.name not in {"parent", "name"} else None
        if isinstance(value, nn.Module):
            inside[field.name] = value
        if field.name == "layers":
            inside |= {
                f"layers_{at}": layer for at, layer in enumerate(value) if isinstance(layer, nn.Module)
            }
    for name, layer in inside.items():
        yield from layers_of(layer, f"{path}.{name}" if path else name)


def weights_of(variables: Mapping[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for collection in variables.values():
        for part in path.split(".") if path else []:
            collection = collection.get(part, {})  # noqa: PLW2901 - one level deeper
        found |= collection
    return found


def oracles(model: nn.Module, variables: Mapping[str, Any]) -> dict[str, Oracle]:
    def oracle(path: str, layer: Any) -> Oracle:
        w = weights_of(variables, path)
        if hasattr(layer, "definition"):
            return lambda call: layer.definition(w, call)
        return BY_TYPE[type(layer)](layer, w)

    return {path: oracle(path, layer) for path, layer in layers_of(model)}


def between(model: nn.Module) -> dict[str, Oracle]:
    """What goes into a layer where an operation that is no layer comes before it."""
    found: dict[str, Oracle] = {}
    for path, layer in layers_of(model):
        if hasattr(layer, "between"):
            found |= layer.between(path)
        elif isinstance(layer, nn.Sequential):
            found |= after_functions(layer, path)
        elif isinstance(layer, nn.MultiHeadDotProductAttention):
            found[f"{path}.out@input"] = mixed(path)
        elif isinstance(layer, nn.RNN):
            found |= at_step(path)
    return found


def after_functions(layer: nn.Sequential, path: str) -> dict[str, Oracle]:
    layers = list(layer.layers)

    def oracle(at: int) -> Oracle:
        return lambda call: after(Call(call.acts, path, call.number), layers, at)

    start = f"{path}.layers" if path else "layers"
    places = [at for at in range(1, len(layers)) if not isinstance(layers[at - 1], nn.Module)]
    return {f"{start}_{at}@input": oracle(at) for at in places}


def mixed(path: str) -> Oracle:
    """What goes into the last layer of an attention."""

    def oracle(call: Call) -> Array:
        whole = Call(call.acts, path, call.number)
        mask = whole.leaves("@input").get("[mask]")
        q, k, v = (whole.inner(name).output for name in ("query", "key", "value"))
        return ref.attention(q, k, v, None if mask is None else mask > 0)[0]

    return oracle


def at_step(path: str) -> dict[str, Oracle]:
    """What a cell is given at each step: that step of the whole, and what it gave at the one before."""

    def step(call: Call) -> int:
        return int(call.number[1:] or 1) - 1

    def sample(call: Call) -> Array:
        return Call(call.acts, path).input[:, step(call)]

    def carried(leaf: str) -> Oracle:
        def oracle(call: Call) -> Array:
            at = step(call)
            name = f"{path}.cell:{at}" if at > 1 else f"{path}.cell"
            return call.acts[name + leaf] if at else np.zeros_like(call.acts[name + leaf])

        return oracle

    cell = f"{path}.cell@input"
    lstm = {f"{cell}[0][0]": carried("[0][0]"), f"{cell}[0][1]": carried("[0][1]")}
    return {f"{cell}[1]": sample, f"{cell}[0]": carried("[0]"), **lstm}
