"""What each layer of PyTorch gives, by `fidelity_reference` and the weights of the layer itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fidelity_reference as ref
import numpy as np
import torch
from fidelity_check import Array, Call, Oracle
from torch import nn


def w(value: torch.Tensor | None) -> Any:
    return None if value is None else value.detach().numpy()


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def dense(layer: nn.Linear) -> Oracle:
    return lambda call: ref.dense(call.input, w(layer.weight).T, w(layer.bias))


def conv(layer: nn.Conv2d) -> Oracle:
    kernel, padding = w(layer.weight).transpose(2, 3, 1, 0), layer.padding
    sides = padding.upper() if isinstance(padding, str) else tuple((side, side) for side in padding)
    options = {"stride": layer.stride, "padding": sides, "groups": layer.groups}
    return lambda call: ref.each(lambda x: ref.conv(x, kernel, w(layer.bias), **options), call.input)


def conv_transpose(layer: nn.ConvTranspose2d) -> Oracle:
    kernel = w(layer.weight).transpose(2, 3, 0, 1)
    crop = tuple((side, side - more) for side, more in zip(layer.padding, layer.output_padding, strict=True))
    options = {"stride": layer.stride, "crop": crop}
    return lambda call: ref.each(
        lambda x: ref.conv_transpose(x, kernel, w(layer.bias), **options), call.input
    )


def batch_norm(layer: nn.BatchNorm2d) -> Oracle:
    weights = [w(value) for value in (layer.running_mean, layer.running_var, layer.weight, layer.bias)]
    return lambda call: ref.each(lambda x: ref.batch_norm(x, *weights, eps=layer.eps), call.input)


def layer_norm(layer: nn.LayerNorm) -> Oracle:
    return lambda call: ref.layer_norm(call.input, w(layer.weight), w(layer.bias), layer.eps)


def gelu(layer: nn.GELU) -> Oracle:
    return lambda call: (ref.gelu if layer.approximate == "none" else ref.gelu_tanh)(call.input)


def pool(function: Callable[..., Array]) -> Callable[[Any], Oracle]:
    def of(layer: Any) -> Oracle:
        padding = tuple((side, side) for side in pair(layer.padding))
        window, stride = pair(layer.kernel_size), pair(layer.stride)
        return lambda call: ref.each(lambda x: function(x, window, stride, padding), call.input)

    return of


def gates(layer: Any, count: int) -> list[Array]:
    """Give the weights of a recurrent layer, gate by gate."""
    kernels = [w(value).T for value in (layer.weight_ih_l0, layer.weight_hh_l0)]
    biases = [w(value) for value in (layer.bias_ih_l0, layer.bias_hh_l0)]
    return [value.reshape(*value.shape[:-1], count, -1) for value in (*kernels, *biases)]


def lstm(layer: nn.LSTM) -> Oracle:
    kernel, recurrent, bias, more = gates(layer, 4)

    def oracle(call: Call) -> dict[str, Array]:
        h, c = ref.lstm(call.input, kernel, recurrent, bias + more)
        return {"[0]": h, "[1][0]": h[None, :, -1], "[1][1]": c[None, :, -1]}

    return oracle


def gru(layer: nn.GRU) -> Oracle:
    def oracle(call: Call) -> dict[str, Array]:
        h = ref.gru(call.input, *gates(layer, 3))
        return {"[0]": h, "[1]": h[None, :, -1]}

    return oracle


def attention(layer: nn.MultiheadAttention) -> Oracle:
    heads, size = layer.num_heads, layer.head_dim
    kernels, biases = np.split(w(layer.in_proj_weight), 3), np.split(w(layer.in_proj_bias), 3)
    weights = {
        name: (kernel.T.reshape(-1, heads, size), bias.reshape(heads, size))
        for name, kernel, bias in zip("qkv", kernels, biases, strict=True)
    }
    weights["o"] = (w(layer.out_proj.weight).T.reshape(heads, size, -1), w(layer.out_proj.bias))

    def oracle(call: Call) -> dict[str, Array]:
        hidden = call.leaves("@input").get("[attn_mask]")
        mask = None if hidden is None else ~hidden
        output, seen = ref.multi_head_attention(*map(call.argument, range(3)), weights, mask)
        return {"[0]": output, "[1]": seen}

    return oracle


def last_child(layer: nn.Sequential) -> Oracle:
    name = str(len(layer) - 1)
    return lambda call: call.inner(name).output


BY_TYPE: dict[type[nn.Module], Callable[[Any], Oracle]] = {
    nn.Linear: dense,
    nn.Conv2d: conv,
    nn.ConvTranspose2d: conv_transpose,
    nn.BatchNorm2d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.MaxPool2d: pool(ref.max_pool),
    nn.AvgPool2d: pool(ref.avg_pool),
    nn.LSTM: lstm,
    nn.GRU: gru,
    nn.MultiheadAttention: attention,
    nn.GELU: gelu,
    nn.Sequential: last_child,
    nn.Embedding: lambda layer: lambda call: ref.embedding(call.input, w(layer.weight)),
    nn.ReLU: lambda _: lambda call: ref.relu(call.input),
    nn.Sigmoid: lambda _: lambda call: ref.sigmoid(call.input),
    nn.Softmax: lambda _: lambda call: ref.softmax(call.input),
    nn.Flatten: lambda _: lambda call: call.input.reshape(len(call.input), -1),
    nn.Dropout: lambda _: lambda call: call.input,  # in evaluation
}


def oracle_of(module: Any) -> Oracle:
    return module.definition if hasattr(module, "definition") else BY_TYPE[type(module)](module)


def oracles(model: nn.Module) -> dict[str, Oracle]:
    # MultiheadAttention uses the weights of its out_proj without calling it
    modules = {path: module for path, module in model.named_modules() if not path.endswith("out_proj")}
    return {path: oracle_of(module) for path, module in modules.items()}


def between(model: nn.Module) -> dict[str, Oracle]:
    """What goes into a layer where an operation that is no layer comes before it."""
    found: dict[str, Oracle] = {}
    for path, module in model.named_modules():
        if hasattr(module, "between"):
            found |= module.between(path)
    return found
