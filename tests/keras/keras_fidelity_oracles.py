"""What each layer of Keras gives, by `fidelity_reference` and the weights of the layer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fidelity_reference as ref
import keras
import numpy as np
from fidelity_check import Array, Call, Oracle
from keras_fidelity_models import Block, w
from keras_models import L

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "linear": ref.f64,
    "relu": ref.relu,
    "gelu": ref.gelu,
    "sigmoid": ref.sigmoid,
    "tanh": lambda x: np.tanh(ref.f64(x)),
    "softmax": ref.softmax,
}


def activated(layer: Any, oracle: Callable[[Call], Array]) -> Oracle:
    function = FUNCTIONS[layer.activation.__name__]
    return lambda call: function(oracle(call))


def dense(layer: Any) -> Oracle:
    return activated(layer, lambda call: ref.dense(call.input, w(layer.kernel), w(layer.bias)))


def einsum_dense(layer: Any) -> Oracle:
    """Of an attention: the axes of the kernel that the bias has not are those that are summed."""
    axes = len(layer.kernel.shape) - len(layer.bias.shape)
    return activated(layer, lambda call: ref.dense(call.input, w(layer.kernel), w(layer.bias), axes=axes))


def window(layer: Any) -> dict[str, Any]:
    return {"stride": layer.strides, "padding": layer.padding.upper()}


def conv(layer: Any) -> Oracle:
    options = {**window(layer), "groups": layer.groups}
    return activated(layer, lambda call: ref.conv(call.input, w(layer.kernel), w(layer.bias), **options))


def by_channel(kernel: Array) -> Array:
    """From (h, w, in, multiplier) to (h, w, 1, in * multiplier)."""
    return kernel.reshape(*kernel.shape[:2], 1, -1)


def depthwise(layer: Any) -> Oracle:
    def oracle(call: Call) -> Array:
        kernel = by_channel(w(layer.kernel))
        return ref.conv(call.input, kernel, w(layer.bias), **window(layer), groups=call.input.shape[-1])

    return activated(layer, oracle)


def separable(layer: Any) -> Oracle:
    def oracle(call: Call) -> Array:
        kernel = by_channel(w(layer.depthwise_kernel))
        y = ref.conv(call.input, kernel, **window(layer), groups=call.input.shape[-1])
        return ref.conv(y, w(layer.pointwise_kernel), w(layer.bias))

    return activated(layer, oracle)


def conv_transpose(layer: Any) -> Oracle:
    crop = ref.lax_crop(layer.kernel_size, layer.strides, layer.padding.upper())
    kernel = w(layer.kernel).swapaxes(2, 3)
    options = {"stride": layer.strides, "crop": crop}
    return activated(layer, lambda call: ref.conv_transpose(call.input, kernel, w(layer.bias), **options))


def batch_norm(layer: Any) -> Oracle:
    weights = [w(value) for value in (layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta)]
    return lambda call: ref.batch_norm(call.input, *weights, eps=layer.epsilon)


def layer_norm(layer: Any) -> Oracle:
    return lambda call: ref.layer_norm(call.input, w(layer.gamma), w(layer.beta), layer.epsilon)


def pool(function: Callable[..., Array]) -> Callable[[Any], Oracle]:
    return lambda layer: (
        lambda call: function(call.input, layer.pool_size, layer.strides, layer.padding.upper())
    )


def mean(*axes: int) -> Callable[[Any], Oracle]:
    return lambda _: lambda call: ref.f64(call.input).mean(axis=axes)


def softmax(_: Any) -> Oracle:
    def oracle(call: Call) -> Array:
        x, mask = call.argument(0), call.leaves("@input").get("[mask]")
        return ref.softmax(x if mask is None else np.where(mask, x, -np.inf))

    return oracle


def zero_padding(layer: Any) -> Oracle:
    return lambda call: np.pad(call.input, ((0, 0), *layer.padding, (0, 0)))


def up_sampling(layer: Any) -> Oracle:
    return lambda call: call.input.repeat(layer.size[0], axis=1).repeat(layer.size[1], axis=2)


def by_gate(cell: Any, gates: int) -> list[Array]:
    """Give the kernels as (in, gates, units); what stands before the last axis of a bias stays."""
    weights = [w(value) for value in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    return [value.reshape(*value.shape[:-1], gates, cell.units) for value in weights]


def lstm(cell: Any, x: Array) -> tuple[Array, ...]:
    return ref.lstm(x, *by_gate(cell, 4))


def gru(cell: Any, x: Array) -> tuple[Array, ...]:
    """Its gates are update, reset, candidate; it has a bias for x and one for h."""
    kernel, recurrent, bias = (value[..., [1, 0, 2], :] for value in by_gate(cell, 3))
    return (ref.gru(x, kernel, recurrent, *bias),)


def rnn(layer: Any) -> Oracle:
    def oracle(call: Call) -> Any:
        y, states = call.input[:, :: -1 if layer.go_backwards else 1], []
        for cell in getattr(layer.cell, "cells", [layer.cell]):
            over_time = (lstm if isinstance(cell, L.LSTMCell) else gru)(cell, y)
            y, states = over_time[0], [*states, *(value[:, -1] for value in over_time)]
        given = [y if layer.return_sequences else y[:, -1], *states]
        return {f"[{at}]": value for at, value in enumerate(given)} if layer.return_state else given[0]

    return oracle


def bidirectional(_: Any) -> Oracle:
    def oracle(call: Call) -> Array:
        backward = call.inner("backward_layer").output[:, ::-1]
        return np.concatenate([call.inner("forward_layer").output, backward], axis=-1)

    return oracle


def attention(layer: Any, block: Block, path: str) -> Oracle:
    def oracle(call: Call) -> Any:
        parts = {name[0]: getattr(layer, f"_{name}_dense") for name in ("query", "key", "value", "output")}
        weights = {name: (w(part.kernel), w(part.bias)) for name, part in parts.items()}
        query, value = call.argument(0), call.argument(1)
        mask = block.seen(Call(call.acts, path, call.number))
        output, seen = ref.multi_head_attention(query, value, value, weights, mask)
        return {"[0]": output, "[1]": seen} if block.scores else output

    return oracle


def graph(model: Any) -> Oracle:
    """A functional or sequential model gives what the layer at its end gave."""
    last = model.outputs[0]._keras_history.operation.name
    return lambda call: call.inner(last).output


BY_TYPE: dict[type, Callable[[Any], Oracle]] = {
    L.Dense: dense,
    L.EinsumDense: einsum_dense,
    L.Conv2D: conv,
    L.DepthwiseConv2D: depthwise,
    L.SeparableConv2D: separable,
    L.Conv2DTranspose: conv_transpose,
    L.BatchNormalization: batch_norm,
    L.LayerNormalization: layer_norm,
    L.MaxPooling2D: pool(ref.max_pool),
    L.AveragePooling2D: pool(ref.avg_pool),
    L.GlobalAveragePooling2D: mean(1, 2),
    L.GlobalAveragePooling1D: mean(1),
    L.ZeroPadding2D: zero_padding,
    L.UpSampling2D: up_sampling,
    L.Softmax: softmax,
    L.ReLU: lambda _: lambda call: ref.relu(call.input),
    L.Activation: lambda layer: activated(layer, lambda call: call.input),
    L.Embedding: lambda layer: lambda call: ref.embedding(call.input, w(layer.embeddings)),
    L.Flatten: lambda _: lambda call: call.input.reshape(len(call.input), -1),
    L.Permute: lambda layer: lambda call: call.input.transpose(0, *layer.dims),
    L.Add: lambda _: lambda call: sum(ref.f64(value) for value in call.leaves("@input").values()),
    L.Dropout: lambda _: lambda call: call.input,  # in evaluation
    **dict.fromkeys((L.LSTM, L.GRU, L.RNN), rnn),
    L.Bidirectional: bidirectional,
}


def children(layer: Any) -> list[tuple[str, Any]]:
    """Give what a layer calls, by names that are not asked of actlens; no cells, which run in a loop."""
    if isinstance(layer, L.MultiHeadAttention):
        names = ["_query_dense", "_key_dense", "_value_dense", "_output_dense"]
        names += ["_softmax", "_dropout_layer"] if not fused(layer) else []
    elif isinstance(layer, L.Bidirectional):
        names = ["forward_layer", "backward_layer"]
    elif not hasattr(layer, "PARTS"):
        return [(x.name, x) for x in getattr(layer, "layers", ()) if not isinstance(x, L.InputLayer)]
    else:
        names = layer.PARTS
    found = []
    for name in names:
        part = getattr(layer, name)
        found += enumerated(name, part) if isinstance(part, list) else [(name, part)]
    return found


def enumerated(name: str, layers: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{name}.{at}", layer) for at, layer in enumerate(layers)]


def fused(layer: L.MultiHeadAttention) -> bool:
    return not layer._dropout


def layers_of(layer: Any, path: str = "", around: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Give (path, layer, the layer around it) of all that are called, the model first."""
    yield path, layer, around
    for name, child in children(layer):
        yield from layers_of(child, f"{path}.{name}" if path else name, layer)


def oracles(model: keras.Model) -> dict[str, Oracle]:
    found: dict[str, Oracle] = {}
    for path, layer, around in layers_of(model):
        if hasattr(layer, "definition"):
            found[path] = layer.definition
        elif isinstance(layer, L.MultiHeadAttention):
            found[path] = attention(layer, around, path.removesuffix(".mha"))
        else:
            found[path] = graph(layer) if isinstance(layer, keras.Model) else BY_TYPE[type(layer)](layer)
    return found


def between(model: keras.Model) -> dict[str, Oracle]:
    """What goes into a layer where an operation that is no layer comes before it."""
    found: dict[str, Oracle] = {}
    for path, layer, _ in layers_of(model):
        if hasattr(layer, "between"):
            found |= layer.between(path)
    return found


def selected(model: keras.Model) -> list[str]:
    """Everything but what cannot be heard: cells in their loop, and what a fused attention leaves out."""
    hidden = ["**.cell**"]
    for path, layer, _ in layers_of(model):
        if isinstance(layer, L.MultiHeadAttention) and fused(layer):
            hidden += [f"{path}._softmax", f"{path}._dropout_layer"]
    return ["**", "**@input", *(f"!{path}{at}" for path in hidden for at in ("", "@input"))]
