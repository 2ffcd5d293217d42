"""The network of port_weights.py in Flax Linen: channels last, what flax would choose otherwise is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import port_layouts as layout
import port_weights as sizes
from flax import linen as nn
from port_flax import ONE_EACH_SIDE, UP_PADDING, shared
from port_mistakes import PORTS, Port

import actlens

BATCH = 40  # the last one has 16 images


class Gelu(nn.Module):
    approximate: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.gelu(x, approximate=self.approximate)


class LeakyRelu(nn.Module):
    negative_slope: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.leaky_relu(x, self.negative_slope)


class Network(nn.Module):
    port: Port

    def setup(self) -> None:
        port, wide = self.port, sizes.CONV1 * sizes.MULTIPLIER
        down: dict[str, Any] = {
            "kernel_size": sizes.KERNEL,
            "strides": sizes.STRIDE,
            "padding": "SAME" if port.same_padding else ONE_EACH_SIDE,
        }
        self.conv1 = nn.Conv(sizes.CONV1, use_bias=False, **down)
        self.bn = nn.BatchNorm(use_running_average=True, epsilon=port.bn_eps)
        self.gelu = Gelu(port.approximate)
        self.depthwise = nn.Conv(wide, feature_group_count=sizes.CONV1, **down)
        self.leaky = LeakyRelu(port.negative_slope)
        self.conv2 = nn.Conv(sizes.CONV2, sizes.KERNEL, padding=ONE_EACH_SIDE)
        self.up = nn.ConvTranspose(
            sizes.UP,
            sizes.UP_KERNEL,
            strides=(sizes.STRIDE, sizes.STRIDE),
            padding=UP_PADDING,
            transpose_kernel=True,
        )
        self.fc = nn.Dense(sizes.TOKENS * sizes.EMBEDDING)
        self.ln = nn.LayerNorm(epsilon=port.ln_eps, use_fast_variance=False)
        self.attn = nn.MultiHeadDotProductAttention(sizes.HEADS)
        self.gru = nn.RNN(nn.GRUCell(sizes.GRU))
        self.lstm = nn.RNN(nn.OptimizedLSTMCell(sizes.LSTM))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.gelu(self.bn(self.conv1(x)))
        x = self.up(self.conv2(self.leaky(self.depthwise(x))))
        x = self.fc(x.reshape(len(x), -1)).reshape(-1, sizes.TOKENS, sizes.EMBEDDING)
        return self.lstm(self.gru(self.attn(self.ln(x))))


def variables(w: sizes.Weights) -> dict[str, Any]:
    """Lay the weights out as flax has them."""
    params = {**shared(w), "gru": {"cell": _gru(w)}, "lstm": {"cell": _lstm(w)}}
    statistics = {"bn": {"mean": w["bn.running_mean"], "var": w["bn.running_var"]}}
    return jax.tree.map(jnp.asarray, {"params": params, "batch_stats": statistics})


def _gru(w: sizes.Weights) -> dict[str, Any]:
    """Flax adds the two biases of a gate, but for the new state, where one is inside of the reset."""
    inputs, states, bias, state_bias = (
        dict(zip("rzn", layout.gates(w[f"gru.{name}_l0"], "rzn", "rzn"), strict=True))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    cell = {f"i{gate}": {"kernel": inputs[gate], "bias": bias[gate] + state_bias[gate]} for gate in "rz"}
    cell |= {f"h{gate}": {"kernel": states[gate]} for gate in "rz"}
    new = {"kernel": inputs["n"], "bias": bias["n"]}
    return {**cell, "in": new, "hn": {"kernel": states["n"], "bias": state_bias["n"]}}


def _lstm(w: sizes.Weights) -> dict[str, Any]:
    inputs = layout.gates(w["lstm.weight_ih_l0"], "ifgo", "ifgo")
    states = layout.gates(w["lstm.weight_hh_l0"], "ifgo", "ifgo")
    biases = layout.gates(w["lstm.bias_ih_l0"] + w["lstm.bias_hh_l0"], "ifgo", "ifgo")
    cell: dict[str, Any] = {
        f"i{gate}": {"kernel": kernel} for gate, kernel in zip("ifgo", inputs, strict=True)
    }
    for gate, kernel, bias in zip("ifgo", states, biases, strict=True):
        cell[f"h{gate}"] = {"kernel": kernel, "bias": bias}
    return cell


def record(
    path: Path | str, *, mistake: str | None = None, order: sizes.Array | None = None, inputs: bool = False
) -> actlens.Recording:
    port = PORTS[mistake]
    batches = list(sizes.batches(port, BATCH, order))
    wanted = sizes.layers("sample height width channel", inputs=inputs)
    with jax.default_matmul_precision("highest"), jax.default_device(jax.devices("cpu")[0]):
        model = Network(port).bind(variables(sizes.weights(port)))
        return actlens.record(model, batches, path, layers=wanted, columns=["id"], progress=False)
