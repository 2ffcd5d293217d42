"""The network of port_weights.py in Flax NNX: the layouts of Linen, but gates lie side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import port_layouts as layout
import port_weights as sizes
from flax import nnx
from port_flax import ONE_EACH_SIDE, UP_PADDING, shared
from port_mistakes import PORTS, Port

import actlens

BATCH = 64


class Gelu(nnx.Module):
    def __init__(self, approximate: bool) -> None:
        self.approximate = approximate

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.gelu(x, approximate=self.approximate)


class LeakyRelu(nnx.Module):
    def __init__(self, negative_slope: float) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.leaky_relu(x, self.negative_slope)


class Network(nnx.Module):
    def __init__(self, port: Port, rngs: nnx.Rngs) -> None:
        wide = sizes.CONV1 * sizes.MULTIPLIER
        down: dict[str, Any] = {
            "kernel_size": sizes.KERNEL,
            "strides": sizes.STRIDE,
            "padding": "SAME" if port.same_padding else ONE_EACH_SIDE,
            "rngs": rngs,
        }
        self.conv1 = nnx.Conv(sizes.COLORS, sizes.CONV1, use_bias=False, **down)
        self.bn = nnx.BatchNorm(sizes.CONV1, epsilon=port.bn_eps, rngs=rngs)
        self.gelu = Gelu(port.approximate)
        self.depthwise = nnx.Conv(sizes.CONV1, wide, feature_group_count=sizes.CONV1, **down)
        self.leaky = LeakyRelu(port.negative_slope)
        self.conv2 = nnx.Conv(wide, sizes.CONV2, sizes.KERNEL, padding=ONE_EACH_SIDE, rngs=rngs)
        self.up = nnx.ConvTranspose(
            sizes.CONV2,
            sizes.UP,
            sizes.UP_KERNEL,
            strides=(sizes.STRIDE, sizes.STRIDE),
            padding=UP_PADDING,
            transpose_kernel=True,
            rngs=rngs,
        )
        self.fc = nnx.Linear(sizes.FLAT, sizes.TOKENS * sizes.EMBEDDING, rngs=rngs)
        self.ln = nnx.LayerNorm(sizes.EMBEDDING, epsilon=port.ln_eps, use_fast_variance=False, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(sizes.HEADS, sizes.EMBEDDING, decode=False, rngs=rngs)
        self.gru = nnx.RNN(_gru_cell(rngs))
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(sizes.GRU, sizes.LSTM, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.gelu(self.bn(self.conv1(x)))
        x = self.up(self.conv2(self.leaky(self.depthwise(x))))
        x = self.fc(x.reshape(len(x), -1)).reshape(-1, sizes.TOKENS, sizes.EMBEDDING)
        return self.lstm(self.gru(self.attn(self.ln(x))))


def _gru_cell(rngs: nnx.Rngs) -> nnx.GRUCell:
    """A cell that can have PyTorch's weights: flax's own has no bias inside of the reset gate."""
    cell = nnx.GRUCell(sizes.EMBEDDING, sizes.GRU, rngs=rngs)
    cell.dense_h = nnx.Linear(sizes.GRU, 3 * sizes.GRU, rngs=rngs)
    return cell


def network(port: Port) -> Network:
    """Make the model with these weights. What flax would draw is not drawn: each shape would be compiled."""
    w = sizes.weights(port)
    abstract = nnx.eval_shape(lambda: Network(port, nnx.Rngs(0)))
    definition, *states = nnx.split(abstract, nnx.Param, nnx.BatchStat, nnx.RngState)
    params = {**shared(w), "gru": {"cell": _gru(w)}, "lstm": {"cell": _lstm(w)}}
    statistics = {"bn": {"mean": w["bn.running_mean"], "var": w["bn.running_var"]}}
    stream = {"rngs": {"count": np.uint32(0), "key": jax.random.key(0)}}  # for first states, which are zeros
    for state, values in zip(states, (params, statistics, {"gru": stream, "lstm": stream}), strict=True):
        assert jax.tree.map(jnp.shape, nnx.to_pure_dict(state)) == jax.tree.map(jnp.shape, values)
        nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, values))
    return nnx.merge(definition, *states)


def _stacked(w: sizes.Weights, name: str, order: str) -> sizes.Array:
    return np.concatenate(layout.gates(w[name], order, order), axis=-1)


def _gru(w: sizes.Weights) -> dict[str, Any]:
    return {
        f"dense_{short}": {
            "kernel": _stacked(w, f"gru.weight_{short}h_l0", "rzn"),
            "bias": _stacked(w, f"gru.bias_{short}h_l0", "rzn"),
        }
        for short in "ih"
    }


def _lstm(w: sizes.Weights) -> dict[str, Any]:
    bias = _stacked(w, "lstm.bias_ih_l0", "ifgo") + _stacked(w, "lstm.bias_hh_l0", "ifgo")
    return {
        "dense_i": {"kernel": _stacked(w, "lstm.weight_ih_l0", "ifgo")},
        "dense_h": {"kernel": _stacked(w, "lstm.weight_hh_l0", "ifgo"), "bias": bias},
    }


def record(
    path: Path | str, *, mistake: str | None = None, order: sizes.Array | None = None, inputs: bool = False
) -> actlens.Recording:
    port = PORTS[mistake]
    batches = list(sizes.batches(port, BATCH, order))
    wanted = sizes.layers("sample height width channel", inputs=inputs)
    with jax.default_matmul_precision("highest"), jax.default_device(jax.devices("cpu")[0]):
        return actlens.record(network(port), batches, path, layers=wanted, columns=["id"], progress=False)
