"""What each layer of Flax NNX gives, by `fidelity_reference` and the weights of the layer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fidelity_reference as ref
import numpy as np
from fidelity_check import Array, Call, Oracle
from fidelity_nnx_models import FUNCTIONS
from flax import nnx


def w(variable: Any) -> Any:
    return None if variable is None else np.asarray(variable[...])


def pair(value: Any) -> ref.Pair:
    return value if isinstance(value, tuple) else (value, value)


def padded(padding: Any) -> ref.Padding:
    if isinstance(padding, (str, tuple)):
        return padding
    return ((padding, padding),) * 2


def dense(layer: nnx.Linear) -> Oracle:
    return lambda call: ref.dense(call.input, w(layer.kernel), w(layer.bias))


def dense_general(layer: nnx.LinearGeneral) -> Oracle:
    axes = len(layer.axis)
    return lambda call: ref.dense(call.argument(0), w(layer.kernel), w(layer.bias), axes=axes)


def conv(layer: nnx.Conv) -> Oracle:
    padding, groups = padded(layer.padding), layer.feature_group_count
    options = {"stride": pair(layer.strides), "padding": padding, "groups": groups}
    return lambda call: ref.conv(call.input, w(layer.kernel), w(layer.bias), **options)


def conv_transpose(layer: nnx.ConvTranspose) -> Oracle:
    crop = ref.lax_crop(layer.kernel_size, layer.strides, layer.padding)
    kernel = w(layer.kernel)[::-1, ::-1]
    return lambda call: ref.conv_transpose(call.input, kernel, w(layer.bias), stride=layer.strides, crop=crop)


def batch_norm(layer: nnx.BatchNorm) -> Oracle:
    weights = [w(value) for value in (layer.mean, layer.var, layer.scale, layer.bias)]
    return lambda call: ref.batch_norm(call.input, *weights, eps=layer.epsilon)


def layer_norm(layer: nnx.LayerNorm) -> Oracle:
    return lambda call: ref.layer_norm(call.input, w(layer.scale), w(layer.bias), layer.epsilon)


def rnn(layer: nnx.RNN) -> Oracle:
    return CELLS[type(layer.cell)](layer.cell, layer.return_carry)


def lstm(cell: nnx.LSTMCell, carry: bool) -> Oracle:
    def stacked(names: tuple[str, ...], weight: str) -> Array:
        return np.stack([w(getattr(getattr(cell, name), weight)) for name in names], axis=-2)

    fresh, past = ("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")
    weights = (stacked(fresh, "kernel"), stacked(past, "kernel"), stacked(past, "bias"))
    return lstm_of(weights, carry)


def fast_lstm(cell: nnx.OptimizedLSTMCell, carry: bool) -> Oracle:
    weights = [w(value) for value in (cell.dense_i.kernel, cell.dense_h.kernel, cell.dense_h.bias)]
    return lstm_of([value.reshape(*value.shape[:-1], 4, -1) for value in weights], carry)


def lstm_of(weights: Any, carry: bool) -> Oracle:
    def oracle(call: Call) -> Any:
        h, c = ref.lstm(call.input, *weights)
        return {"[0][0]": c[:, -1], "[0][1]": h[:, -1], "[1]": h} if carry else h

    return oracle


def gru(cell: nnx.GRUCell, carry: bool) -> Oracle:
    weights = [w(value) for value in (cell.dense_i.kernel, cell.dense_h.kernel, cell.dense_i.bias)]
    by_gate = [value.reshape(*value.shape[:-1], 3, -1) for value in weights]
    return lambda call: ref.gru(call.input, *by_gate, np.zeros(by_gate[2].shape))


CELLS: dict[type, Any] = {nnx.LSTMCell: lstm, nnx.OptimizedLSTMCell: fast_lstm, nnx.GRUCell: gru}


def attention(layer: nnx.MultiHeadAttention) -> Oracle:
    parts = {"q": layer.query, "k": layer.key, "v": layer.value, "o": layer.out}
    weights = {name: (w(part.kernel), w(part.bias)) for name, part in parts.items()}

    def oracle(call: Call) -> Array:
        x, mask = call.argument(0), call.leaves("@input").get("[mask]")
        return ref.multi_head_attention(x, x, x, weights, None if mask is None else mask > 0)[0]

    return oracle


def mixed(path: str) -> dict[str, Oracle]:
    """What goes into the last layer of an attention."""

    def oracle(call: Call) -> Array:
        whole = Call(call.acts, path, call.number)
        mask = whole.leaves("@input").get("[mask]")
        q, k, v = (whole.inner(name).output for name in ("query", "key", "value"))
        return ref.attention(q, k, v, None if mask is None else mask > 0)[0]

    return {f"{path}.out@input[0]": oracle}


def after(call: Call, layers: list[Any], upto: int) -> Array:
    """What a Sequential has made after so many layers; functions among them are not captured."""
    at = max((index for index in range(upto) if isinstance(layers[index], nnx.Module)), default=-1)
    x = call.input if at < 0 else call.inner(f"layers.{at}").output
    for function in layers[at + 1 : upto]:
        x = FUNCTIONS[function](x)
    return x


def sequential(layer: nnx.Sequential) -> Oracle:
    return lambda call: after(call, list(layer.layers), len(layer.layers))


def after_functions(layer: nnx.Sequential, path: str) -> dict[str, Oracle]:
    layers = list(layer.layers)

    def oracle(at: int) -> Oracle:
        return lambda call: after(Call(call.acts, path, call.number), layers, at)

    start = f"{path}.layers" if path else "layers"
    places = [at for at in range(1, len(layers)) if not isinstance(layers[at - 1], nnx.Module)]
    return {f"{start}.{at}@input": oracle(at) for at in places}


BY_TYPE: dict[type, Callable[[Any], Oracle]] = {
    nnx.Linear: dense,
    nnx.LinearGeneral: dense_general,
    nnx.Conv: conv,
    nnx.ConvTranspose: conv_transpose,
    nnx.BatchNorm: batch_norm,
    nnx.LayerNorm: layer_norm,
    nnx.RNN: rnn,
    nnx.MultiHeadAttention: attention,
    nnx.Sequential: sequential,
    nnx.Embed: lambda layer: lambda call: ref.embedding(call.input, w(layer.embedding)),
    nnx.Dropout: lambda _: lambda call: call.input,  # in evaluation
}


def layers_of(model: nnx.Module) -> Iterator[tuple[str, Any]]:
    """Give what is called: no lists, and no cell inside of the scan of its RNN."""
    for path, module in nnx.iter_modules(model):
        if not isinstance(module, nnx.List) and "cell" not in path:
            yield ".".join(map(str, path)), module


def oracles(model: nnx.Module) -> dict[str, Oracle]:
    found = dict(layers_of(model))
    return {
        path: layer.definition if hasattr(layer, "definition") else BY_TYPE[type(layer)](layer)
        for path, layer in found.items()
    }


def between(model: nnx.Module) -> dict[str, Oracle]:
    """What goes into a layer where an operation that is no layer comes before it."""
    found: dict[str, Oracle] = {}
    for path, layer in layers_of(model):
        if hasattr(layer, "between"):
            found |= layer.between(path)
        elif isinstance(layer, nnx.Sequential):
            found |= after_functions(layer, path)
        elif isinstance(layer, nnx.MultiHeadAttention):
            found |= mixed(path)
    return found
