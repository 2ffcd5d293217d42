"""Sums over chunks that give mean and covariance: a pure `partial`, an addition, a `finish`.

A sum is associative, so chunks may be summed anywhere and added in order; that is what lets a reduction run
in memory that does not grow with the rows. Everything is float64, and the rows are shifted by a first
estimate of their mean *before* they are multiplied. In float32 the products of two clusters 1000 deviations
apart hold nothing of the spread inside them, whatever the shift; and scikit-learn's float32 PCA, which
does not shift, has a wholly wrong direction in its first 20 from a mean of 30 deviations on.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


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
        """Add a chunk into the scatter that is there: two large matrices live instead of three."""
        centred = chunk - self.shift
        np.add(self.scatter, centred.T @ centred, out=self.scatter)
        total = self.total + centred.sum(axis=0)
        return Moments(self.shift, self.count + len(chunk), total, self.scatter)

    def finish(self) -> tuple[Array, Array]:
        """Give the mean (features,) and the covariance (features, features) with n − 1, both float64."""
        offset = self.total / self.count
        covariance = self.scatter - np.outer(self.total, offset)
        covariance /= max(self.count - 1, 1)
        return self.shift + offset, covariance


def empty(shift: Array) -> Moments:
    """No rows yet, about `shift`."""
    return Moments(shift, 0, np.zeros(len(shift)), np.zeros((len(shift), len(shift))))


def partial(chunk: Array, shift: Array) -> Moments:
    """Sum one chunk (rows, features) about `shift`. Pure: the same chunk gives the same sums anywhere."""
    centred = chunk - shift
    return Moments(shift, len(chunk), centred.sum(axis=0), centred.T @ centred)


def first_mean(chunk: Array) -> Array:
    """Give the mean of a chunk: the shift for `partial`."""
    return np.asarray(chunk.mean(axis=0, dtype=np.float64))
