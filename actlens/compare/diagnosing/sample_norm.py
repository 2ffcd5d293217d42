"""Normalization within each sample with another eps: layer, group, instance and RMS norm."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.batch_norm import EPS
from actlens.compare.diagnosing.channels import lines
from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, relative
from actlens.compare.diagnosing.transposed import factors_of
from actlens.compare.layer_diff import evenly

Array = npt.NDArray[Any]

_VALUES = 1 << 19
_LEAST = 16  # rows, beside two unknowns a unit
_AS_GOOD = 1.5  # times what the best leaves
_EPS = (*EPS, float(np.finfo(np.float32).eps), 0.0)


def sample_norm(evidence: Evidence) -> Diagnosis | None:
    """Normalize the input in each way, and fit weight and bias of each unit, the same on both sides."""
    x = evidence.x
    if x is None or x.a.size != evidence.a.size:
        return None
    rows = evenly(len(x.a), max(_LEAST, _VALUES // evidence.a[0].size))
    a, b = evidence.a[rows], evidence.b[rows]
    sides = (x.a[rows].reshape(a.shape), x.b[rows].reshape(b.shape))
    for name, centred, groups, over in _ways(a.shape):
        shape = (len(a), -1, groups, a.shape[-1] // groups)
        parts = [side.reshape(shape) for side in sides]
        normed = {eps: [_normed(each, eps, over, centred).reshape(a.shape) for each in parts] for eps in _EPS}
        if min(_left(each[0], a) for each in normed.values()) > evidence.tolerance:
            continue  # it is no such norm
        found = _pair(evidence, normed, a, b)
        if found is not None:
            eps_a, eps_b, left = found
            return Diagnosis(
                f"another norm eps: {eps_a:.3g} in a and {eps_b:.3g} in b, or near that ({name}). LayerNorm "
                "has 1e-5 in PyTorch, 1e-6 in Flax and 1e-3 in Keras: give the number",
                left,
            )
    return None


def _pair(
    evidence: Evidence, normed: dict[float, list[Array]], a: Array, b: Array
) -> tuple[float, float, float] | None:
    """Find the eps of both sides: those with which one weight and one bias a unit leave least of both."""
    found = []
    for eps_a, eps_b in itertools.permutations(_EPS, 2):
        fitted = lines(np.concatenate([normed[eps_a][0], normed[eps_b][1]]), np.concatenate([a, b]))
        if fitted is None:
            return None
        left_a = relative(fitted.predicted[: len(a)], a)
        left = evidence.explained(fitted.predicted[len(a) :], b, instead=a)
        if left is not None and left_a <= evidence.tolerance:
            found.append((max(left, left_a), eps_a, eps_b, left))
    if not found:
        return None
    least = min(found)[0]
    return next(each[1:] for each in found if each[0] <= _AS_GOOD * least)  # the more usual of those as good


def _ways(shape: tuple[int, ...]) -> Iterator[tuple[str, bool, int, tuple[int, ...]]]:
    """Give what a norm may be taken over: its name, whether the mean is subtracted, the groups of
    channels, and the axes of (samples, positions, groups, channels of a group).
    """
    channels = shape[-1]
    yield "layer norm over the last axis", True, 1, (3,)
    yield "RMS norm over the last axis", False, 1, (3,)
    if len(shape) > 2:
        yield "layer norm over all axes", True, 1, (1, 3)
        for groups in (*factors_of(channels), channels):
            yield f"group norm of {groups} groups", True, groups, (1, 3)


def _normed(parts: Array, eps: float, over: tuple[int, ...], centred: bool) -> Array:
    moved = parts - parts.mean(axis=over, keepdims=True) if centred else parts
    power = (moved**2).mean(axis=over, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        normed: Array = np.nan_to_num(moved / np.sqrt(power + eps))
    return normed


def _left(normed: Array, y: Array) -> float:
    fitted = lines(normed, y)
    return np.inf if fitted is None else relative(fitted.predicted, y)
