"""Whether one linear map explains both sides: y = W·z + c with the same W and c for a and for b.

Nothing is predicted from a map that was fitted elsewhere: the map is fitted to both sides at once, and what
is left is looked at. A direction in which the inputs hardly vary then costs no accuracy, although W is badly
known in it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.evidence import CONSTANT

Array = npt.NDArray[Any]

_OUTPUTS = 64  # of which a map is fitted; a mistake is one of all
_SURPLUS = 1.25  # equations for each unknown: with fewer, any map fits
_LEAST = 16  # equations more than that
_RIDGE = 1e-14  # of the trace: so that a feature that never changes does no harm


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Products of inputs z (rows, features) with themselves and with outputs y (rows, outputs), about the
    means.
    """

    rows: int
    zz: Array
    zy: Array
    mean_z: Array
    mean_y: Array

    @classmethod
    def of(cls, z: Array, y: Array) -> Moments:
        """Sum up."""
        mean_z, mean_y = z.mean(axis=0), y.mean(axis=0)
        z = z - mean_z
        return cls(len(z), z.T @ z, z.T @ (y - mean_y), mean_z, mean_y)

    def reordered(self, features: Array) -> Moments:
        """Give the moments of z[:, features]."""
        zz = self.zz[np.ix_(features, features)]
        return dataclasses.replace(self, zz=zz, zy=self.zy[features], mean_z=self.mean_z[features])

    def about(self, mean_z: Array, mean_y: Array) -> tuple[Array, Array]:
        """Give the products about other means."""
        z, y = self.mean_z - mean_z, self.mean_y - mean_y
        return self.zz + self.rows * np.outer(z, z), self.zy + self.rows * np.outer(z, y)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Map:
    """W (features, outputs) and c (outputs,)."""

    weights: Array
    shift: Array

    def __call__(self, z: Array) -> Array:
        """Give z (rows, features) through the map: (rows, outputs)."""
        return z @ self.weights + self.shift


def outputs_of(y: Array) -> Array:
    """Give (rows, outputs) of (rows, units): at most 64 units, evenly."""
    units = y.shape[1]
    kept = min(units, _OUTPUTS)
    return y[:, np.arange(kept) * units // kept]


def about_the_mean(y_a: Array, y_b: Array) -> tuple[Array, Array]:
    """Give outputs (rows, outputs) of both sides without the mean of b: a bias explains no more than that."""
    mean = y_b.mean(axis=0)
    varies = np.ptp(y_b, axis=0) > CONSTANT * np.abs(
        mean
    )  # what rounding leaves of a number is not explained
    return y_a - mean, np.where(varies, y_b - mean, 0)


def needed(unknowns: int) -> int:
    """Give the equations from which on a map that does not hold would not fit."""
    return math.ceil(_SURPLUS * (unknowns + 1)) + _LEAST


def fitted(*sides: Moments) -> Map:
    """Fit all sides at once."""
    rows = sum(side.rows for side in sides)
    mean_z: Array = np.sum([side.rows * side.mean_z for side in sides], axis=0) / rows
    mean_y: Array = np.sum([side.rows * side.mean_y for side in sides], axis=0) / rows
    zz, zy = (sum(products) for products in zip(*(side.about(mean_z, mean_y) for side in sides), strict=True))
    zz[np.diag_indices_from(zz)] += _RIDGE * float(np.trace(zz)) + np.finfo(np.float64).tiny
    weights = np.linalg.solve(zz, zy)
    return Map(weights, mean_y - mean_z @ weights)
