"""Layers by their textbook definition: numpy, float64, channels last, no framework.

Weights are in one neutral layout: dense (in, out), convolution (height, width, in / groups, out), attention
(in, heads, head_dim) and (heads, head_dim, out), recurrent (in, gates, units) with the gates in the order
that each function says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]

erf = np.vectorize(math.erf, otypes=[np.float64])


def f64(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def dense(x: Array, kernel: Array, bias: Array | None = None, axes: int = 1) -> Array:
    """Contract the last `axes` axes of x with the first ones of the kernel."""
    y = np.tensordot(f64(x), f64(kernel), axes=axes)
    return y if bias is None else y + f64(bias)


def embedding(ids: Array, table: Array) -> Array:
    return f64(table)[np.asarray(ids)]


def relu(x: Array) -> Array:
    return np.maximum(f64(x), 0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-f64(x)))


def gelu(x: Array) -> Array:
    """Exact: x times the normal distribution function."""
    x = f64(x)
    return x * (1 + erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: Array) -> Array:
    """The usual approximation of `gelu` with a tanh."""
    x = f64(x)
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def softmax(x: Array) -> Array:
    e = np.exp(f64(x) - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    x = f64(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * f64(scale) + f64(bias)


def batch_norm(x: Array, mean: Array, var: Array, scale: Array, bias: Array, eps: float) -> Array:
    """By the running statistics, as in inference."""
    return (f64(x) - f64(mean)) / np.sqrt(f64(var) + eps) * f64(scale) + f64(bias)


def pads(size: int, window: int, stride: int, padding: Padding, axis: int) -> Pair:
    """How much is added before and after an axis; SAME puts the odd one behind."""
    if padding == "VALID":
        return 0, 0
    if padding == "SAME":
        total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
        return total // 2, total - total // 2
    return padding[axis]  # type: ignore[return-value]


def windows(x: Array, window: Pair, stride: Pair, padding: Padding, fill: float = 0.0) -> Array:
    """Give (batch, rows, columns, channels, *window): what each output position looks at."""
    height, width = (pads(x.shape[1 + at], window[at], stride[at], padding, at) for at in (0, 1))
    x = np.pad(f64(x), ((0, 0), height, width, (0, 0)), constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))  # type: ignore[call-overload]
    return seen[:, :: stride[0], :: stride[1]]


def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = "VALID",
    groups: int = 1,
) -> Array:
    """Cross-correlate; with `groups` = channels this is the depthwise convolution."""
    seen = windows(x, kernel.shape[:2], stride, padding)
    parts = zip(np.split(seen, groups, axis=3), np.split(f64(kernel), groups, axis=3), strict=True)
    y = np.concatenate([np.einsum("nrschw,hwco->nrso", part, weights) for part, weights in parts], axis=-1)
    return y if bias is None else y + f64(bias)


def conv_transpose(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: Pair = (1, 1), crop: tuple[Pair, Pair]
) -> Array:
    """Every input position adds its kernel, unflipped, at `stride` × its place; then `crop` is cut off.

    The whole is (size - 1) * stride + window long; a negative crop leaves zeros there.
    """
    x, kernel = f64(x), f64(kernel)
    (batch, rows, columns, _), (height, width, _, out) = x.shape, kernel.shape
    room = [max(-after, 0) for _, after in crop]
    whole = [(rows - 1) * stride[0] + height, (columns - 1) * stride[1] + width]
    y = np.zeros((batch, whole[0] + room[0], whole[1] + room[1], out))
    for r in range(rows):
        for c in range(columns):
            top, left = r * stride[0], c * stride[1]
            y[:, top : top + height, left : left + width] += np.einsum("nc,hwco->nhwo", x[:, r, c], kernel)
    ends = [size - after for size, (_, after) in zip(whole, crop, strict=True)]
    y = y[:, crop[0][0] : ends[0], crop[1][0] : ends[1]]
    return y if bias is None else y + f64(bias)


def lax_crop(window: Pair, stride: Pair, padding: str) -> tuple[Pair, Pair]:
    """Give the crop of "SAME" and "VALID" in a transposed convolution of lax, which flips its kernel.

    "SAME" leaves size * stride; "VALID" leaves the whole, and zeros behind it where the stride is wider.
    """
    crop = []
    for size, step in zip(window, stride, strict=True):
        first = size - 1 if step > size - 1 else (size + step - 1) // 2
        same = (size - 1 - first, first - step + 1)
        crop.append(same if padding == "SAME" else (0, min(size - step, 0)))
    return crop[0], crop[1]


def max_pool(x: Array, window: Pair, stride: Pair, padding: Padding = "VALID") -> Array:
    return windows(x, window, stride, padding, fill=-np.inf).max(axis=(-2, -1))


def avg_pool(x: Array, window: Pair, stride: Pair, padding: Padding = "VALID") -> Array:
    """Averages over the whole window; what is padded counts as zeros."""
    return windows(x, window, stride, padding).mean(axis=(-2, -1))


def causal(length: int) -> Array:
    """Which key (last axis) a query may see: itself and those before."""
    return np.tril(np.ones((length, length), bool))


def attention(q: Array, k: Array, v: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Attend, all (batch, time, heads, head_dim); give what is mixed, and weights (batch, heads, q, k)."""
    scores = np.einsum("bqhd,bkhd->bhqk", f64(q), f64(k)) / math.sqrt(q.shape[-1])
    weights = softmax(scores if mask is None else np.where(mask, scores, -np.inf))
    return np.einsum("bhqk,bkhd->bqhd", weights, f64(v)), weights


def multi_head_attention(
    query: Array, key: Array, value: Array, weights: dict[str, tuple[Array, Array]], mask: Array | None = None
) -> tuple[Array, Array]:
    """Project by weights["q"], ["k"], ["v"], each (kernel, bias), attend, project by ["o"]."""
    q, k, v = (dense(x, *weights[name]) for name, x in zip("qkv", (query, key, value), strict=True))
    mixed, seen = attention(q, k, v, mask)
    return dense(mixed, *weights["o"], axes=2), seen


def lstm_step(
    x: Array, h: Array, c: Array, kernel: Array, recurrent: Array, bias: Array
) -> tuple[Array, Array]:
    """One step of an LSTM: gates in the order input, forget, candidate, output. Gives the next h and c."""
    gates = dense(x, kernel) + dense(h, recurrent) + f64(bias)
    i, f, g, o = (gates[:, at] for at in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(x: Array, kernel: Array, recurrent: Array, bias: Array) -> tuple[Array, Array]:
    """Run over (batch, time, in) from zeros; give every h and every c, both (batch, time, units)."""
    h = c = np.zeros((x.shape[0], recurrent.shape[0]))
    steps = []
    for at in range(x.shape[1]):
        h, c = lstm_step(x[:, at], h, c, kernel, recurrent, bias)
        steps.append((h, c))
    hs, cs = zip(*steps, strict=True)
    return np.stack(hs, axis=1), np.stack(cs, axis=1)


def gru_step(
    x: Array, h: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array
) -> Array:
    """One step of a GRU: gates in the order reset, update, candidate. Gives the next h.

    The reset gate multiplies what comes from h, its bias included ("reset after"); update = 1 keeps h.
    """
    fresh, past = dense(x, kernel) + f64(bias), dense(h, recurrent) + f64(recurrent_bias)
    reset, update = sigmoid(fresh[:, 0] + past[:, 0]), sigmoid(fresh[:, 1] + past[:, 1])
    return (1 - update) * np.tanh(fresh[:, 2] + reset * past[:, 2]) + update * h


def gru(x: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array) -> Array:
    """Run over (batch, time, in) from zeros; give every h (batch, time, units)."""
    h = np.zeros((x.shape[0], recurrent.shape[0]))
    steps = []
    for at in range(x.shape[1]):
        h = gru_step(x[:, at], h, kernel, recurrent, bias, recurrent_bias)
        steps.append(h)
    return np.stack(steps, axis=1)


def each(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply a channels-last function to (batch, channels, height, width)."""
    return np.moveaxis(function(np.moveaxis(f64(x), 1, -1)), -1, 1)
