"""What a diagnosis is made from: some rows of a layer on both sides, and of what goes into it."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from actlens.compare.layer_diff import evenly
from actlens.compare.lining_up import Pair
from actlens.format.dtypes import code_of

Array = npt.NDArray[Any]

_ROWS = 2000
_BYTES = 64 << 20  # of one side of a layer, in float64
_EXPLAINED = 0.1  # of a difference: what is left of it once it is explained
_USUAL = (1e-100, 1e100)  # magnitudes whose squares float64 holds
CONSTANT = 1e-6  # of the largest value: what rounding leaves of one number
_ROUNDING = 4  # units of the last place of what is stored: a hypothesis is not held to less


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Values:
    """Some rows of a layer on both sides: `a` (rows, *sizes) and `b` in float64, axes in one order.

    `stored_a` and `stored_b` are the names of the axes as each side stored them.
    """

    name: str
    a: Array
    b: Array
    axes: tuple[str, ...]
    stored_a: tuple[str, ...]
    stored_b: tuple[str, ...]

    def at(self, rows: Array) -> Values:
        """Give some of the rows."""
        return dataclasses.replace(self, a=self.a[rows], b=self.b[rows])


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """A layer that differs, and its input, which does not; None where no input is known.

    The sizes of a and b are the same, but for what tries to bring others together (transposed.py).
    `pair` is the layer itself, for what needs all rows. `tolerance` is what may be left of |b|.
    """

    pair: Pair
    layer: Values
    x: Values | None
    tolerance: float

    @property
    def a(self) -> Array:
        """(rows, *sizes) of the layer in a."""
        return self.layer.a

    @property
    def b(self) -> Array:
        """(rows, *sizes) of the layer in b."""
        return self.layer.b

    @property
    def kinds(self) -> tuple[str, str]:
        """The classes of the layer in the two frameworks; "" where they are not known."""
        a, b = (str(getattr(side.layer.values, "type", "")) for side in (self.pair.a, self.pair.b))
        return a, b

    @property
    def input_name(self) -> str:
        """What to record to know the input."""
        return f"{self.layer.name.partition('[')[0]}@input"

    def explained(self, predicted: Array, actual: Array, *, instead: Array | None = None) -> float | None:
        """Give what is left, |actual − predicted| / |actual|, if the prediction explains the difference.

        `instead` is what would be predicted if nothing were wrong: a's values where it is left out.
        """
        left = relative(predicted, actual)
        before = relative(self.a if instead is None else instead, actual)
        return left if left <= self.tolerance and left < before and left <= _EXPLAINED * before else None

    def finite(self) -> Evidence | None:
        """Leave out rows with NaN or inf; None where none is left, or their squares cannot be summed up."""
        sides = [side for each in (self.layer, self.x) if each is not None for side in (each.a, each.b)]
        good = np.ones(len(self.a), bool)
        for side in sides:
            good &= np.isfinite(side.reshape(len(side), -1)).all(axis=1)
        rows = np.flatnonzero(good)
        if not len(rows) or not all(_usual(side[rows]) for side in sides):
            return None
        if len(rows) == len(good):
            return self
        x = None if self.x is None else self.x.at(rows)
        return dataclasses.replace(self, layer=self.layer.at(rows), x=x)


def _usual(values: Array) -> bool:
    largest = float(np.abs(values).max(initial=0))
    return not largest or _USUAL[0] < largest < _USUAL[1]


def relative(values: Array, actual: Array) -> float:
    """Give |values − actual| / |actual|, Frobenius norms; inf where actual is 0."""
    norm = float(np.linalg.norm(actual))
    apart = float(np.linalg.norm(values - actual))
    return apart / norm if norm else np.inf


def constant(values: Array) -> bool:
    """Say whether all values are one number, but for rounding."""
    largest = float(np.abs(values).max(initial=0))
    return not largest or bool(np.ptp(values / largest) <= CONSTANT)


def gathered(pair: Pair, rtol: float, x: Pair | None = None) -> Evidence:
    """Read some rows of a layer, and the same of its input."""
    widest = max(side.layer.features for each in (pair, x) if each is not None for side in (each.a, each.b))
    rows = evenly(len(pair.samples), max(1, min(_ROWS, _BYTES // (8 * widest))))
    rounding = max(_rounding(np.dtype(side.layer.values.dtype)) for side in (pair.a, pair.b))
    inputs = None if x is None else _values(x, rows)
    return Evidence(pair, _values(pair, rows), inputs, max(rtol, _ROUNDING * rounding))


def _values(pair: Pair, rows: Array) -> Values:
    a, b = (side.rows(rows).astype(np.float64) for side in (pair.a, pair.b))
    return Values(pair.a.layer.name, a, b, pair.a.axes, pair.a.stored, pair.b.stored)


def _rounding(dtype: np.dtype[Any]) -> float:
    """Give the unit of the last place of a float; whole numbers have none."""
    return float(ml_dtypes.finfo(dtype).eps) if is_float(dtype) else 0.0  # type: ignore[no-untyped-call]


def is_float(dtype: np.dtype[Any]) -> bool:
    """Say whether values are floats, also those of ml_dtypes."""
    return dtype.kind == "f" or (dtype.kind == "V" and code_of(dtype) is not None)
