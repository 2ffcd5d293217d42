"""One function for each type of layer: from PyTorch's layout to that of Flax and Keras, channels last.

They return what a dense or convolutional layer keeps: input features before output features.
"""

from __future__ import annotations

import numpy as np
from port_weights import EMBEDDING, HEADS, Array


def dense(weight: Array) -> Array:
    """(out, in) → (in, out)."""
    return weight.T


def conv(weight: Array) -> Array:
    """(out, in, height, width) → (height, width, in, out); in Flax also a depthwise one, where in is 1."""
    return weight.transpose(2, 3, 1, 0)


def depthwise_keras(weight: Array, multiplier: int) -> Array:
    """(channels * multiplier, 1, height, width) → (height, width, channels, multiplier)."""
    height, width = weight.shape[2:]
    return weight[:, 0].transpose(1, 2, 0).reshape(height, width, -1, multiplier)


def transposed(weight: Array) -> Array:
    """(in, out, height, width) → (height, width, out, in).

    Keras flips the kernel itself, as PyTorch does; Flax does with `transpose_kernel=True`.
    """
    return weight.transpose(2, 3, 1, 0)


def dense_after_flatten(weight: Array, image: tuple[int, int, int]) -> Array:
    """(out, channels * height * width) → (height * width * channels, out); `image` is those three."""
    return weight.reshape(-1, *image).transpose(2, 3, 1, 0).reshape(-1, len(weight))


def heads(weight: Array, bias: Array) -> list[Array]:
    """Of query, key, value, packed: kernels (in, heads, width), each followed by its bias (heads, width)."""
    taken = []
    for kernel, shift in zip(np.split(weight, 3), np.split(bias, 3), strict=True):
        taken += [kernel.T.reshape(EMBEDDING, HEADS, -1), shift.reshape(HEADS, -1)]
    return taken


def joined_heads(weight: Array) -> Array:
    """(out, in) → (heads, width, out)."""
    return weight.T.reshape(HEADS, -1, len(weight))


def gates(weight: Array, have: str, want: str) -> list[Array]:
    """Take apart what is stacked along the first axis, and give it in another order; kernels as `dense`."""
    parts = dict(zip(have, np.split(weight, len(have)), strict=True))
    return [parts[gate].T for gate in want]
