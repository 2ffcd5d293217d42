"""Similarity Procrustes: turn, mirror, scale and shift one layout onto another; and how far points moved."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity:
    """x → (x − start) · rotation × scale + target: what changes no shape."""

    rotation: Array  # (k, k), orthogonal; it may mirror
    scale: float
    start: Array  # (k,)
    target: Array  # (k,)

    def __call__(self, points: Array) -> Array:
        """Move points (samples, k); float32 again."""
        moved = (points.astype(np.float64) - self.start) @ self.rotation * self.scale + self.target
        return moved.astype(np.float32)


def similarity(moving: Array, fixed: Array) -> Similarity:
    """Find what brings `moving` (samples, k) nearest to `fixed` (samples, k), row by row (Schönemann 1966).

    The scale makes both radii equal. The scale of least squares is smaller the less two layouts agree, so a
    sequence that changes would shrink from frame to frame.
    """
    a, b = moving.astype(np.float64), fixed.astype(np.float64)
    start, target = a.mean(axis=0), b.mean(axis=0)
    a, b = a - start, b - target
    left, _, right = np.linalg.svd(a.T @ b)
    size = float(np.linalg.norm(a))
    scale = float(np.linalg.norm(b)) / size if size > 0 else 1.0
    return Similarity(left @ right, scale, start, target)


def motion(before: Array, after: Array) -> float:
    """Give the median distance that rows move, as a share of the RMS radius of both layouts (samples, k)."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    radius = np.sqrt((_mean_square(a) + _mean_square(b)) / 2)
    moved = float(np.median(np.linalg.norm(b - a, axis=1)))
    return moved / float(radius) if radius > 0 else 0.0


def _mean_square(points: Array) -> float:
    return float(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
