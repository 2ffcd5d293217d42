"""What a convolution sees: around each position of its output, the values of its input."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """How an axis of the output lies on that of the input: output o is at `stride`·o of the input, which has
    `spread` − 1 zeros behind each value (of a transposed convolution; 1 otherwise).
    """

    stride: int
    spread: int = 1


def steps_of(inputs: int, outputs: int) -> list[Steps]:
    """Give the steps that take so many inputs to so many outputs: one, or two where it is between two.

    >>> steps_of(16, 8), steps_of(7, 5), steps_of(4, 8)
    ([Steps(stride=2, spread=1)],
     [Steps(stride=1, spread=1), Steps(stride=2, spread=1)],
     [Steps(stride=1, spread=2)])
    """
    if outputs > inputs:
        low, high = outputs // inputs, -(-outputs // inputs)
        return [Steps(1, spread) for spread in dict.fromkeys((low, high))]
    low, high = inputs // outputs, -(-inputs // outputs)
    return [Steps(stride) for stride in dict.fromkeys((low, high))]


def windows(x: Array, steps: tuple[Steps, Steps], taps: tuple[Array, Array], out: tuple[int, int]) -> Array:
    """Give (samples, *out, taps of the height, taps of the width, channels) of x (samples, height, width,
    channels).

    `taps` are the places, from the position of an output on, at which the input is read; outside it is 0.
    """
    for axis in (1, 2):
        x = _read(x, axis * 2 - 1, steps[axis - 1], taps[axis - 1], out[axis - 1])
    # (samples, height out, height taps, width out, width taps, channels)
    return x.transpose(0, 1, 3, 2, 4, 5)


def _read(x: Array, axis: int, steps: Steps, taps: Array, out: int) -> Array:
    """Replace an axis by two: (out, taps)."""
    places = steps.stride * np.arange(out)[:, None] + taps[None, :]
    sources, between = np.divmod(places, steps.spread)
    inside: Array = (between == 0) & (sources >= 0) & (sources < x.shape[axis])
    read = np.take(x, np.where(inside, sources, 0), axis=axis)
    shape = [1] * read.ndim
    shape[axis : axis + 2] = inside.shape
    zeroed: Array = read * inside.reshape(shape)
    return zeroed
