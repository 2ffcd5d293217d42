"""Pooling of another kind, or padded elsewhere: maximum or average, zeros of the border counted or not."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, relative
from actlens.compare.diagnosing.windows import Steps, steps_of, windows
from actlens.compare.layer_diff import evenly

Array = npt.NDArray[Any]

_KINDS = ("maximum", "average, the border counted", "average, the border not counted")
_SIZES = (2, 3)
_EXPLAINED = 0.1  # of the difference: what is left of it
_VALUES = 1 << 21  # of windows that are looked at


@dataclasses.dataclass(frozen=True, slots=True)
class _Pool:
    kind: str
    size: int
    before: int  # padding

    def __str__(self) -> str:
        return f"{self.kind}, over {self.size} × {self.size}, {self.before} padded before"


def pooling(evidence: Evidence) -> Diagnosis | None:
    """Find the pooling that gives each side from its input."""
    x = evidence.x
    if x is None or x.a.ndim != 4 or evidence.a.ndim != 4:
        return None
    (height, width), (out_height, out_width) = x.a.shape[1:3], evidence.a.shape[1:3]
    if x.a.shape[3] != evidence.a.shape[3] or out_height > height or out_width > width:
        return None
    rows = evenly(len(x.a), max(1, _VALUES // (max(_SIZES) ** 2 * evidence.a[0].size)))
    for steps in itertools.product(steps_of(height, out_height), steps_of(width, out_width)):
        if (steps[0].stride, steps[1].stride) == (1, 1):
            continue
        a = _found(x.a[rows], evidence.a[rows], steps, evidence.tolerance)
        b = _found(x.b[rows], evidence.b[rows], steps, evidence.tolerance) if a is not None else None
        if a is None or b is None or a[0] == b[0]:
            continue
        if b[1] < _EXPLAINED * relative(evidence.a, evidence.b):
            return Diagnosis(f"another pooling: a is {a[0]}; b is {b[0]}", b[1])
    return None


def _found(x: Array, y: Array, steps: tuple[Steps, Steps], tolerance: float) -> tuple[_Pool, float] | None:
    for size in _SIZES:
        for before in range(size):
            taps = np.arange(size) - before
            out = (y.shape[1], y.shape[2])
            seen = windows(x, steps, (taps, taps), out)
            inside = windows(np.ones((1, *x.shape[1:3], 1)), steps, (taps, taps), out) > 0
            for kind, pooled in zip(_KINDS, _pooled(seen, inside), strict=True):
                left = relative(pooled, y)
                if left <= tolerance:
                    return _Pool(kind, size, before), left
    return None


def _pooled(seen: Array, inside: Array) -> tuple[Array, Array, Array]:
    total = seen.sum(axis=(3, 4))
    count = np.maximum(inside.sum(axis=(3, 4)), 1)
    highest = np.where(inside, seen, -np.inf).max(axis=(3, 4))
    return highest, total / (seen.shape[3] * seen.shape[4]), total / count
