"""The network of port_weights.py in Keras: channels last.

As a program, because a process can have only one backend of Keras: `port_keras.py inputs|layers folder …`. A
folder's name says which mistake to make.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import port_layouts as layout
import port_weights as sizes
from keras import layers as L
from port_mistakes import PORTS, Port, mistake_of

import actlens

BATCH = 100  # the last one has 56 images


class _OneEachSide:
    """Pads by numbers: Keras's "same" pads nothing on the left at stride 2 and an even size."""

    def call(self, x: Any) -> Any:
        return super().call(keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))

    def compute_output_shape(self, shape: Any) -> Any:
        sample, height, width, channels = shape
        return super().compute_output_shape((sample, height + 2, width + 2, channels))


class Conv(_OneEachSide, L.Conv2D):
    pass


class DepthwiseConv(_OneEachSide, L.DepthwiseConv2D):
    pass


def network(port: Port) -> keras.Model:
    """Make the model. Convolutions are padded by numbers, but for the mistake that leaves it to Keras."""
    down = {"kernel_size": sizes.KERNEL, "strides": sizes.STRIDE}
    if port.same_padding:
        conv, depthwise, padding = L.Conv2D, L.DepthwiseConv2D, "same"
    else:
        conv, depthwise, padding = Conv, DepthwiseConv, "valid"
    gelu = functools.partial(keras.activations.gelu, approximate=port.approximate)
    given = keras.Input((sizes.HEIGHT, sizes.WIDTH, sizes.COLORS))
    x = conv(sizes.CONV1, use_bias=False, padding=padding, name="conv1", **down)(given)
    x = L.BatchNormalization(epsilon=port.bn_eps, name="bn")(x)
    x = L.Activation(gelu, name="gelu")(x)
    x = depthwise(depth_multiplier=sizes.MULTIPLIER, padding=padding, name="depthwise", **down)(x)
    x = L.LeakyReLU(negative_slope=port.negative_slope, name="leaky")(x)
    x = Conv(sizes.CONV2, sizes.KERNEL, name="conv2")(x)
    # An even kernel at its own or twice the stride: "same" takes as much from each side, as PyTorch does.
    x = L.Conv2DTranspose(sizes.UP, sizes.UP_KERNEL, strides=sizes.STRIDE, padding="same", name="up")(x)
    x = L.Dense(sizes.TOKENS * sizes.EMBEDDING, name="fc")(L.Flatten()(x))
    x = L.LayerNormalization(epsilon=port.ln_eps, name="ln")(L.Reshape((sizes.TOKENS, sizes.EMBEDDING))(x))
    x = L.MultiHeadAttention(sizes.HEADS, sizes.EMBEDDING // sizes.HEADS, name="attn")(x, x)
    x = L.GRU(sizes.GRU, return_sequences=True, reset_after=True, name="gru")(x)
    return keras.Model(given, L.LSTM(sizes.LSTM, return_sequences=True, name="lstm")(x))


def load(model: keras.Model, w: sizes.Weights) -> None:
    """Put every weight and statistic into the model; Keras holds them to their number and shapes."""
    image = (sizes.UP, sizes.UP_HEIGHT, sizes.UP_WIDTH)
    bn = [w[f"bn.{name}"] for name in ("weight", "bias", "running_mean", "running_var")]
    heads = layout.heads(w["attn.in_proj_weight"], w["attn.in_proj_bias"])
    for name, values in {
        "conv1": [layout.conv(w["conv1.weight"])],
        "bn": bn,
        "depthwise": [layout.depthwise_keras(w["depthwise.weight"], sizes.MULTIPLIER), w["depthwise.bias"]],
        "conv2": [layout.conv(w["conv2.weight"]), w["conv2.bias"]],
        "up": [layout.transposed(w["up.weight"]), w["up.bias"]],
        "fc": [layout.dense_after_flatten(w["fc.weight"], image), w["fc.bias"]],
        "ln": [w["ln.weight"], w["ln.bias"]],
        "attn": [*heads, layout.joined_heads(w["attn.out_proj.weight"]), w["attn.out_proj.bias"]],
        "gru": _gru(w),
        "lstm": _lstm(w),
    }.items():
        model.get_layer(name).set_weights(values)


def _stacked(w: sizes.Weights, name: str, have: str, want: str) -> sizes.Array:
    return np.concatenate(layout.gates(w[name], have, want), axis=-1)


def _gru(w: sizes.Weights) -> list[sizes.Array]:
    """Keras has the update gate z before the reset gate r; the two biases are rows."""
    names = ("gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0")
    kernel, recurrent, *biases = (_stacked(w, name, "rzn", "zrn") for name in names)
    return [kernel, recurrent, np.stack(biases)]


def _lstm(w: sizes.Weights) -> list[sizes.Array]:
    """Keras calls the gate g by the name c, and has one bias."""
    names = ("lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0")
    kernel, recurrent, *biases = (_stacked(w, name, "ifgo", "ifgo") for name in names)
    return [kernel, recurrent, sum(biases)]


def record(
    path: Path | str, *, mistake: str | None = None, order: sizes.Array | None = None, inputs: bool = False
) -> actlens.Recording:
    port = PORTS[mistake]
    model = network(port)
    load(model, sizes.weights(port))
    wanted = sizes.layers("sample height width channel", inputs=inputs)
    batches = list(sizes.batches(port, BATCH, order))
    return actlens.record(model, batches, path, layers=wanted, columns=["id"], progress=False)


if __name__ == "__main__":
    _, what, *folders = sys.argv
    for folder in map(Path, folders):
        record(folder, mistake=mistake_of(folder), inputs=what == "inputs")
