"""Components of layers too wide for a square matrix of their features: a few passes, and an error that is
known.

A block Krylov method (Musco & Musco 2015, arXiv 1504.05477; Halko, Martinsson & Tropp 2011, arXiv 0909.4061):
each pass multiplies a block of directions by the covariance, without making it. All blocks are kept, so that
a few passes do what many of a power iteration do, and the passes end when the residuals say that it is
enough.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.components import eigen
from actlens.reduce.components.axes import LARGEST, Axes, Solution, separation
from actlens.reduce.components.gram import mean_of
from actlens.reduce.source import Rows
from actlens.streaming.fold import fold, workers_of
from actlens.streaming.part import Part

Array = npt.NDArray[Any]

_OVERSAMPLES = 10
_MOST_PASSES = 16
_VARIANCE_ERROR = 1e-6  # what the passes aim at; relative
_ANGLE_ERROR = 5e-4
_SEPARATED = 0.05  # of a component's variance, to its neighbours'


def from_krylov(
    rows: Rows, count: int, executor: Executor | None = None, *, random_state: int | None = None
) -> Axes:
    """Find `count` components by products of float64.

    Memory is (features, passes × (count + 10)) twice, and two blocks of rows.
    """
    mean = mean_of(rows, executor)
    width = min(count + _OVERSAMPLES, *rows.shape)
    space = _Space.begun(np.random.default_rng(random_state or 0), rows.shape[1], width)
    total, passes, parts = 0.0, 0, rows.parts(workers_of(executor))
    while True:
        images = fold(_Multiply(mean, space.newest), parts, _join, executor=executor)
        passes += 1
        total = images.variance / (rows.shape[0] - 1)
        if not total < LARGEST:
            raise ReduceError.too_large(rows.feature, rows.name)
        space.add(images.product / (rows.shape[0] - 1))
        found = space.ritz(count)
        if found.good or passes == _MOST_PASSES or not space.grow(*rows.shape):
            break
    solution = Solution(
        svd_solver="randomized",
        precision="float64",
        passes=passes + 1,
        variance_error=found.variance_error,
        angle_error=found.angle_error,
        why=f"{rows.shape[1]:,} features: no square matrix of them; {passes} passes of {width} directions",
    )
    ratio = found.values / total if total > 0 else np.zeros_like(found.values)
    components = eigen.with_fixed_signs(found.vectors.T)
    return Axes(mean, components, found.values, ratio, np.ones(count), solution)


@dataclasses.dataclass(eq=False)
class _Images:
    """Σ (x − mean)(x − mean)ᵀQ over some rows, (features, l), and Σ |x − mean|²."""

    product: Array
    variance: float


def _join(a: _Images, b: _Images) -> _Images:
    a.product += b.product
    return _Images(a.product, a.variance + b.variance)


@dataclasses.dataclass(frozen=True, eq=False)
class _Multiply:
    """The task of one pass: multiply directions (features, l) by what the part adds to the covariance."""

    mean: Array
    directions: Array

    def __call__(self, part: Part) -> _Images:
        images = _Images(np.zeros_like(self.directions), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            for _, block in part.blocks():
                centred = np.subtract(block, self.mean)
                images.product += centred.T @ (centred @ self.directions)
                images.variance += float(np.einsum("nd,nd->", centred, centred))
        return images


@dataclasses.dataclass(frozen=True, eq=False)
class _Ritz:
    """What a space holds of the leading components: values (k,), vectors (features, k), and how far off."""

    values: Array
    vectors: Array
    variance_error: float
    angle_error: float

    @property
    def good(self) -> bool:
        return bool(self.variance_error <= _VARIANCE_ERROR and self.angle_error <= _ANGLE_ERROR)


class _Space:
    """Orthonormal directions V (features, m), block after block, and their images CV."""

    def __init__(self, first: Array) -> None:
        self._basis = first
        self._images = np.empty((len(first), 0))
        self._width = first.shape[1]

    @classmethod
    def begun(cls, rng: np.random.Generator, features: int, width: int) -> _Space:
        """Start in random directions."""
        return cls(np.linalg.qr(rng.standard_normal((features, width)))[0])

    @property
    def newest(self) -> Array:
        """The directions that have no image yet, (features, l)."""
        return np.ascontiguousarray(self._basis[:, self._images.shape[1] :])

    def add(self, images: Array) -> None:
        """Take in what the covariance makes of the newest directions."""
        self._images = np.concatenate([self._images, images], axis=1)

    def grow(self, samples: int, features: int) -> bool:
        """Add the newest images to the space; False where they bring nothing new, or it is full."""
        new = self._images[:, -self._width :]
        room = min(samples, features) - self._basis.shape[1]
        for _ in range(2):  # the second time makes it orthogonal to the last bit
            new = new - self._basis @ (self._basis.T @ new)
        left, size, _ = np.linalg.svd(new, full_matrices=False)
        scale = np.linalg.norm(self._images, axis=0).max(initial=0.0)
        fresh = left[:, size > 1e-12 * scale][:, : max(room, 0)]
        self._width = fresh.shape[1]
        self._basis = np.concatenate([self._basis, fresh], axis=1)
        return bool(self._width)

    def ritz(self, count: int) -> _Ritz:
        """Find the leading components within the space (Rayleigh–Ritz), and their residuals |Cv − λv|.

        An eigenvalue is at most its residual away, and, where it is apart from its neighbours by a gap, at
        most residual² / gap; its vector is turned by at most residual / gap (Davis & Kahan 1970).
        """
        projected = self._basis.T @ self._images
        values, turns = np.linalg.eigh((projected + projected.T) / 2)
        values, turns = values[::-1], turns[:, ::-1][:, :count]
        following = float(values[count]) if len(values) > count else 0.0
        values = np.maximum(values[:count], 0.0)
        vectors = self._basis @ turns
        residuals = np.linalg.norm(self._images @ turns - vectors * values, axis=0)
        gaps = separation(values, max(following, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.minimum(residuals, np.where(gaps > 0, residuals**2 / gaps, np.inf))
            off = np.where(residuals > 0, moved / values, 0.0)
            angles = np.where(gaps >= _SEPARATED * values, residuals / gaps, 0.0)
        angles[residuals <= 1e-14 * values.max(initial=0.0)] = 0.0
        off[residuals <= 1e-14 * values.max(initial=0.0)] = 0.0
        return _Ritz(values, vectors, float(off.max(initial=0.0)), float(angles.max(initial=0.0)))
