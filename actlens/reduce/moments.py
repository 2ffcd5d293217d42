"""Sums over chunks that give mean and covariance: a pure `partial`, an addition, a `finish`.

A sum is associative, so chunks may be summed anywhere and added in order; that is what lets a reduction run
in memory that does not grow with the rows. The numbers stay right where the usual ways fail: the rows are
shifted by a first estimate of their mean *before* they are multiplied. Without it, float32 cancels:
scikit-learn's float32 PCA has a wholly wrong direction in its first 20 from a mean of 30 deviations on.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SQUARES_UNDERFLOW = 1e-30  # of float32 sums: below, squares lose their figures


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Sums of rows x, taken about a fixed `shift` (features,).

    `count` rows; `total` (features,) = Σ(x − shift) and `scatter` (features, features) =
    Σ(x − shift)(x − shift)ᵀ, both float64.
    """

    shift: Array
    count: int
    total: Array
    scatter: Array

    def __add__(self, other: Moments) -> Moments:
        """Join two parts that were taken about the same shift."""
        return Moments(
            self.shift, self.count + other.count, self.total + other.total, self.scatter + other.scatter
        )

    def add(self, chunk: Array) -> Moments:
        """Add a chunk into the scatter that is there: one large matrix lives instead of three."""
        centred = chunk - self.shift
        self.scatter.__iadd__(product(centred.T, centred))  # float32 widens block by block as it is added
        total = self.total + centred.sum(axis=0, dtype=np.float64)
        return Moments(self.shift, self.count + len(chunk), total, self.scatter)

    def finish(self) -> tuple[Array, Array]:
        """Give the mean (features,) and the covariance (features, features) with n − 1, both float64."""
        offset = self.total / self.count
        covariance = self.scatter - np.outer(self.total, offset)
        covariance /= max(self.count - 1, 1)
        return self.shift.astype(np.float64) + offset, covariance


def empty(shift: Array) -> Moments:
    """No rows yet, about `shift`."""
    return Moments(shift, 0, np.zeros(len(shift)), np.zeros((len(shift), len(shift))))


def partial(chunk: Array, shift: Array) -> Moments:
    """Sum one chunk (rows, features) about `shift`. Pure: the same chunk gives the same sums anywhere."""
    centred = chunk - shift
    total = centred.sum(axis=0, dtype=np.float64)
    return Moments(shift, len(chunk), total, product(centred.T, centred).astype(np.float64))


def product(a: Array, b: Array) -> Array:
    """Give a @ b in the arrays' own precision, or in float64 where float32 would overflow or underflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        result: Array = a @ b
    if result.dtype == np.float64:
        return result
    largest = max(float(result.max()), -float(result.min()))
    if _SQUARES_UNDERFLOW < largest < np.inf:
        return result
    return np.asarray(a.astype(np.float64) @ b.astype(np.float64))


def first_mean(chunk: Array) -> Array:
    """Give the mean of a chunk in the chunk's own precision: the shift for `partial`."""
    return np.asarray(chunk.mean(axis=0, dtype=np.float64).astype(chunk.dtype))
