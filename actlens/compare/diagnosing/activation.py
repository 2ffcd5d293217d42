"""Another activation function: tanh for exact GELU, another negative slope, one that is missing or
recorded before.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.activations import FUNCTIONS, Function, gelu, gelu_tanh
from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, relative
from actlens.compare.layer_diff import evenly

Array = npt.NDArray[Any]

_VALUES = 16_000  # of a layer that functions are tried on; each is one of the same function
_LEAST = 8
_STEPS = 60  # of a bisection in float64


def activation(evidence: Evidence) -> Diagnosis | None:
    """Find the function that gives each side from its input; without one, that which takes one side to the
    other.
    """
    picked = evenly(evidence.a.size, _VALUES)
    a, b = evidence.a.reshape(-1)[picked], evidence.b.reshape(-1)[picked]
    if len(picked) < _LEAST:
        return None
    x = evidence.x
    if x is not None and x.a.shape == evidence.a.shape:
        found = _of_input(evidence, (x.a.reshape(-1)[picked], x.b.reshape(-1)[picked]), (a, b))
        if found is not None:
            return found
    return _negative_slope(evidence, a, b) or _missing(evidence, a, b) or _gelu(evidence, a, b)


def _of_input(evidence: Evidence, x: tuple[Array, Array], y: tuple[Array, Array]) -> Diagnosis | None:
    names = [_named(side, value, evidence.tolerance) for side, value in zip(x, y, strict=True)]
    if names[0] is None or names[1] is None or names[0] == names[1]:
        return None
    left = evidence.explained(FUNCTIONS[names[1]](x[1]), y[1], instead=y[0])
    if left is None or evidence.x is None:
        return None
    return Diagnosis(f"activation: of {evidence.x.name}, a is {names[0]} and b is {names[1]}", left)


def _named(x: Array, y: Array, tolerance: float) -> str | None:
    """Name the function of x that y is: the nearest of those that are near enough."""
    left = {name: relative(function(x), y) for name, function in FUNCTIONS.items()}
    best = min(left, key=lambda name: left[name])
    return best if left[best] <= tolerance else None


def _negative_slope(evidence: Evidence, a: Array, b: Array) -> Diagnosis | None:
    """Hold negative values of b to those of a: one ratio, where positive ones agree."""
    below = (a < 0) & (b < 0)
    if np.count_nonzero(below) < _LEAST or np.count_nonzero(a > 0) < _LEAST:
        return None
    ratio = float(a[below] @ b[below] / (a[below] @ a[below]))
    left = evidence.explained(np.where(a < 0, ratio * a, a), b, instead=a)
    if left is None:
        return None
    slopes = _slopes(ratio)
    return Diagnosis(
        "another negative slope: positive values agree, negative ones of b are those of a × "
        f"{ratio:.4g}{slopes}. Leaky ReLU has 0.01 in PyTorch and Flax and 0.3 in keras.layers",
        left,
    )


def _slopes(ratio: float) -> str:
    """Say which two usual slopes have this ratio."""
    known = (0.01, 0.1, 0.2, 0.3)
    for a, b in itertools.permutations(known, 2):
        if abs(b / a / ratio - 1) < 1e-4:
            return f", as {b:g} against {a:g}"
    return ""


def _missing(evidence: Evidence, a: Array, b: Array) -> Diagnosis | None:
    """See whether one side is a function of the other: recorded before it, or it is not applied."""
    for first, (before, after) in (("a", (a, b)), ("b", (b, a))):
        second = "b" if first == "a" else "a"
        name = _named(before, after, evidence.tolerance)
        if name is None or np.count_nonzero(FUNCTIONS[name](before) != before) < _LEAST:
            continue
        left = evidence.explained(FUNCTIONS[name](before), after, instead=before)
        if left is not None:
            return Diagnosis(
                f"activation: {second} is {name} of {first}. It is missing in {first}, or {first} was "
                f"recorded before it and {second} behind it",
                left,
            )
    return None


def _gelu(evidence: Evidence, a: Array, b: Array) -> Diagnosis | None:
    """Undo one GELU where that is possible, for positive values, and apply the other."""
    forms: tuple[tuple[str, Function], ...] = (
        ("the exact GELU", gelu),
        ("its tanh approximation", gelu_tanh),
    )
    above = a > 0
    if np.count_nonzero(above) < _LEAST or a.min() < -0.171 or not (a < 0).any():  # GELU is never below −0.17
        return None
    for (name_a, of_a), (name_b, of_b) in itertools.permutations(forms, 2):
        left = evidence.explained(of_b(_inverse(of_a, a[above])), b[above], instead=a[above])
        if left is not None:
            return Diagnosis(f"activation: a is {name_a}, b is {name_b} (GELU, tanh against exact)", left)
    return None


def _inverse(function: Function, y: Array) -> Array:
    """Find x > 0 with function(x) = y, which rises there."""
    low, high = np.zeros_like(y), y + 1
    for _ in range(_STEPS):
        middle = (low + high) / 2
        below = function(middle) < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)
