"""A straight line for each channel: b = s·a + t, or y = s·x + t, with its own s and t."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, constant
from actlens.compare.diagnosing.scale import shown

Array = npt.NDArray[Any]

_LEAST = 8  # values of a channel; two numbers fit any two
_SAME = 1e-4  # relative: slopes that are one number, which each is known to about as well


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Lines:
    """The line of each channel, the last axis: `slope` and `shift` (channels,), and what they predict."""

    slope: Array
    shift: Array
    predicted: Array


def lines(x: Array, y: Array) -> Lines | None:
    """Fit y (…, channels) by x of the same shape, in each channel; None of too few values."""
    channels = x.shape[-1]
    flat_x, flat_y = x.reshape(-1, channels), y.reshape(-1, channels)
    if len(flat_x) < _LEAST:
        return None
    mean_x, mean_y = flat_x.mean(axis=0), flat_y.mean(axis=0)
    centred = flat_x - mean_x
    squares = np.einsum("ij,ij->j", centred, centred)
    products = np.einsum("ij,ij->j", centred, flat_y - mean_y)
    slope = np.divide(products, squares, out=np.zeros(channels), where=squares > 0)
    shift = mean_y - slope * mean_x
    return Lines(slope, shift, (flat_x * slope + shift).reshape(y.shape))


def channels(evidence: Evidence) -> Diagnosis | None:
    """Fit a line for each channel, and say what slopes that are all alike mean."""
    several = evidence.a.shape[-1] > 1 and not constant(evidence.b)
    found = lines(evidence.a, evidence.b) if several else None
    if found is None:
        return None
    left = evidence.explained(found.predicted, evidence.b)
    used = found.slope != 0
    if left is None or not used.any():
        return None
    slope, axis = float(np.median(found.slope[used])), evidence.layer.axes[-1]
    low, high = float(found.slope[used].min()), float(found.slope[used].max())
    if high - low > _SAME * abs(slope):
        return Diagnosis(
            f"another scale and shift for each {axis}: b is s·a + t with s from {low:.3g} to {high:.3g}. "
            f"Look at what is applied by {axis}: mean and variance of a norm, its weight and bias, or the "
            "mean and standard deviation of the inputs",
            left,
        )
    low, high = float(found.shift.min()), float(found.shift.max())
    if abs(slope - 1) <= _SAME:
        return Diagnosis(
            f"bias: b is a plus a number for each {axis}, from {low:.3g} to {high:.3g}. Look for a bias "
            "that is missing, or was loaded twice",
            left,
        )
    return Diagnosis(
        f"scale: b is a × {shown(slope)} plus a number for each {axis}, as if what goes in were scaled and "
        "the bias were not. Look for inputs that were divided by a number (255) on one side only",
        left,
    )
