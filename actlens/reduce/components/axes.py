"""`Axes`: where principal components point; and how they were found."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.source import Rows
from actlens.streaming.fold import each, workers_of
from actlens.streaming.part import Part
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]

_ROUNDING = 1e-13  # of the largest variance; of float32 values it is 1e-14
_BLOCKS = 16  # of rows, in a part whose points are found
_STEP = 1024  # rows that are centred and multiplied while they are in the cache
LARGEST = 1e150
"""Variance; beyond it the eigensolver's own squares overflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """How the components were found, and how far off they may be.

    Attributes
    ----------
    svd_solver
        "covariance_eigh", "gram" or "randomized".
    precision
        Of the products: "float32" or "float64". Sums are of float64 always.
    passes
        How often all rows were read to find the components.
    variance_error
        Estimated; the largest error of a component's variance, relative to that variance.
    angle_error
        Estimated; the largest angle, in radians, between a component and the true one, over the components
        that are separated: whose variance is at least 5 % away from its neighbours'. The others turn into
        each other freely, and mean something only together.
    why
        Why this way was taken.
    """

    svd_solver: str
    precision: str
    passes: int
    variance_error: float
    angle_error: float
    why: str


@dataclasses.dataclass(frozen=True, eq=False)
class Axes:
    """Where the components point, all in float64. Points are divided by `scale` (k,), 1 unless whitened."""

    mean: Array  # (features,)
    components: Array  # (k, features)
    variance: Array  # (k,)
    ratio: Array  # (k,)
    scale: Array  # (k,)
    solution: Solution | None = None

    @property
    def rank(self) -> int:
        """How many components have variance, and not rounding alone."""
        # Equal rows are not exactly at 0: what their mean lacks in figures is left.
        left = (8 * float(np.finfo(np.float64).eps) * float(np.abs(self.mean).max())) ** 2
        return int((self.variance > max(left, _ROUNDING * self.variance.max(initial=0.0))).sum())

    def first(self, count: int) -> Axes:
        """Give the first components alone."""
        names = ("components", "variance", "ratio", "scale")
        return dataclasses.replace(self, **{name: getattr(self, name)[:count] for name in names})

    def whitened(self) -> Axes:
        """Give the same axes with points of unit variance."""
        # A component without variance has points that are rounding alone: they stay as they are.
        floor = 1e-12 * self.variance.max(initial=0.0)
        return dataclasses.replace(self, scale=np.sqrt(np.where(self.variance > floor, self.variance, 1.0)))


def separation(variance: Array, following: float) -> Array:
    """Give each component's distance to its nearest neighbour's variance, (k,).

    `following` is the variance behind the last one.
    """
    below = variance - np.append(variance[1:], following)
    above = np.append(np.inf, variance[:-1] - variance[1:])
    return np.asarray(np.minimum(below, above))


def project(rows: Rows, axes: Axes, executor: Executor | None = None) -> Array:
    """Give float32 points (samples, k), a block at a time. Raises ReduceError where they overflow."""
    single = axes.solution is not None and axes.solution.precision == "float32"
    dtype = np.dtype(np.float32 if single and rows.dtype == np.float32 else np.float64)
    points = np.empty((rows.shape[0], len(axes.components)), np.float32)
    task = _Project(axes.mean, axes.components.T / axes.scale, dtype)
    start = 0
    # The points of a part stand in memory twice for a moment, and travel from a worker: many small parts.
    pieces = max(4 * workers_of(executor), rows.shape[0] // (_BLOCKS * rows.block))
    for block in each(task, rows.parts(pieces), executor=executor):
        if start + len(block) > len(points):
            raise ReduceError.wrong_rows(rows.name, len(points), start + len(block))
        points[start : start + len(block)] = block
        start += len(block)
    if start != len(points):
        raise ReduceError.wrong_rows(rows.name, len(points), start)
    if not np.isfinite(points).all():
        rows.check_finite()
        raise ReduceError.too_large(rows.feature, rows.name)
    return points


@dataclasses.dataclass(frozen=True, eq=False)
class _Project:
    """The task: the points of one part, (rows, k) float32, by products of `dtype`."""

    mean: Array
    directions: Array  # (features, k), divided by the scale of each component
    dtype: np.dtype[Any]

    def __call__(self, part: Part) -> Array:
        mean, directions = self.mean.astype(self.dtype), self.directions.astype(self.dtype)
        # What rounding took from the mean is the same for every row: it is put right at the end.
        rest = ((mean.astype(np.float64) - self.mean) @ self.directions).astype(self.dtype)
        points = np.empty((len(part), directions.shape[1]), np.float32)
        centred = np.empty((min(_STEP, len(part)), len(mean)), self.dtype)
        with (
            single_threaded_blas(),
            np.errstate(over="ignore", invalid="ignore"),
        ):  # points are looked at later
            for start, block in part.blocks():
                for begin in range(0, len(block), _STEP):
                    some = block[begin : begin + _STEP]
                    z = np.subtract(some, mean, out=centred[: len(some)], casting="unsafe")
                    at = start - part.start + begin
                    points[at : at + len(some)] = z @ directions + rest
        return points
