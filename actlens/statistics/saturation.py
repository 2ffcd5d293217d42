"""How many values stand at a bound of the layer: tanh at ±1, sigmoid at 0 and 1, relu6 at 6, or a clip."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.tiles import FEW_COLUMNS, Tile

Array = npt.NDArray[Any]

Range = tuple[float | None, float | None]
RANGES: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (None, 6.0))
TOLERANCE = 1e-3  # relative to the bound, or to 1 where that is larger


@dataclasses.dataclass(frozen=True, slots=True)
class Saturation:
    """At which bounds a layer stands, None for none, and the share of each unit's values there."""

    lower: float | None
    upper: float | None
    at_lower: Array
    at_upper: Array


class BoundCounts:
    """Counts of values near the bounds of a few ranges, as long as no value leaves them; and at the extremes.

    A range that a value has left is None: so what is known does not depend on the order of the values.
    """

    def __init__(self, units: int, ranges: tuple[Range, ...], tolerance: float) -> None:
        self.ranges, self.tolerance = ranges, tolerance
        self.near: list[tuple[Array, Array] | None] = [
            (np.zeros(units, np.int64), np.zeros(units, np.int64)) for _ in ranges
        ]
        self.extremes = [np.inf, -np.inf]  # of the layer
        self.at_extremes = [np.zeros(units, np.int64), np.zeros(units, np.int64)]

    def add(self, tile: Tile, unit: Array) -> None:
        """Add a tile; `unit` (columns,) says to which unit a column of it belongs."""
        low, high = tile.lowest, tile.highest
        if low > high:
            return  # nothing finite
        for number, (lower, upper) in enumerate(self.ranges):
            near = self.near[number]
            if near is None:
                continue
            least, most = self._inside(lower, -1), self._inside(upper, 1)
            if low < least or high > most:
                self.near[number] = None
                continue
            if lower is not None:
                _count(near[0], tile, unit, "<=", lower + (lower - least))
            if upper is not None:
                _count(near[1], tile, unit, ">=", upper - (most - upper))
        self._extreme(0, low, tile, unit)
        self._extreme(1, high, tile, unit)

    def _inside(self, bound: float | None, sign: int) -> float:
        """Give how far values may go for this bound to be one."""
        if bound is None:
            return sign * np.inf
        return bound + sign * self.tolerance * max(1.0, abs(bound))

    def _extreme(self, side: int, value: float, tile: Tile, unit: Array) -> None:
        beyond = value < self.extremes[0] if side == 0 else value > self.extremes[1]
        if beyond:
            self.extremes[side] = value
            self.at_extremes[side] = np.zeros_like(self.at_extremes[side])
        # zeros are counted anyway, and are no bound by themselves
        if value == self.extremes[side] and value != 0:
            _count(self.at_extremes[side], tile, unit, "<=" if side == 0 else ">=", value)

    def merge(self, other: BoundCounts) -> BoundCounts:
        """Put two together."""
        both = BoundCounts(len(self.at_extremes[0]), self.ranges, self.tolerance)
        both.near = [
            None if a is None or b is None else (a[0] + b[0], a[1] + b[1])
            for a, b in zip(self.near, other.near, strict=True)
        ]
        for side, choose in enumerate((min, max)):
            both.extremes[side] = choose(self.extremes[side], other.extremes[side])
            for each in (self, other):
                if each.extremes[side] == both.extremes[side]:
                    both.at_extremes[side] = both.at_extremes[side] + each.at_extremes[side]
        return both

    def found(self, count: Array) -> Saturation:
        """Say at which bounds the layer stands: of the first range that it fills, else its own extremes.

        Its own smallest or largest value is a bound where more than one value in a thousand equals it.
        """
        n = np.maximum(count, 1)
        low, high = self.extremes
        for (lower, upper), near in zip(self.ranges, self.near, strict=True):
            at_top = upper is not None and high >= 2 * upper - self._inside(upper, 1)
            at_bottom = lower is not None and lower != 0 and low <= 2 * lower - self._inside(lower, -1)
            if near is not None and (at_top or at_bottom):
                return Saturation(lower, upper, near[0] / n, near[1] / n)
        total = max(int(count.sum()), 1)
        clipped = [
            side != 0 and at.sum() > total / 1000
            for side, at in zip((low, high), self.at_extremes, strict=True)
        ]
        clipped = [each and low < high for each in clipped]
        shares = [
            at / n if each else np.zeros(len(n)) for each, at in zip(clipped, self.at_extremes, strict=True)
        ]
        return Saturation(low if clipped[0] else None, high if clipped[1] else None, *shares)


def _count(into: Array, tile: Tile, unit: Array, side: str, bound: float) -> None:
    """Count values at or beyond a bound; where few columns reach it, in those alone."""
    columns = np.flatnonzero(tile.low <= bound if side == "<=" else tile.high >= bound)
    if not len(columns):
        return
    whole = len(columns) > tile.values.shape[1] // FEW_COLUMNS
    some = tile.values if whole else tile.values[:, columns]
    beyond = some <= bound if side == "<=" else some >= bound
    np.add.at(into, unit if whole else unit[columns], tile.count(beyond).astype(np.int64))
