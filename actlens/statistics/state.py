"""All that is summed up of one layer: a state for a part of its rows, and how two are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce.components.moments import Sums
from actlens.statistics.bit_histogram import BitHistogram
from actlens.statistics.class_sums import ClassSums
from actlens.statistics.column_sums import ColumnSums
from actlens.statistics.powers import Powers
from actlens.statistics.row_norms import RowNorms
from actlens.statistics.row_sample import RowSample, Sampling
from actlens.statistics.saturation import BoundCounts, Range
from actlens.statistics.spread import Spread
from actlens.statistics.tiles import NARROW, folds, tiles
from actlens.statistics.top_samples import TopSamples
from actlens.statistics.units import Units

Array = npt.NDArray[Any]

_SHIFT_ROWS = 32  # of a block, to estimate its mean from
_PRODUCT_ROWS = 2048  # that are multiplied at once
KEPT_BAD = 12  # rows with NaN or inf that are named


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What is looked for in a layer.

    Of `every` values one goes to the histogram. `shift` is near the mean; with it the covariance of all rows
    is summed up, None for a sample of rows. Values are of `dtype`, and powers of them of `precise`.
    """

    units: Units
    dtype: np.dtype[Any]
    top: int
    ranges: tuple[Range, ...]
    tolerance: float
    precise: np.dtype[Any]
    every: int
    sampling: Sampling
    shift: Array | None
    classes: Array | None = None


@dataclasses.dataclass(eq=False)
class LayerState:
    """Of `rows` rows of a layer; arrays are (units,)."""

    plan: Plan
    rows: int
    powers: Powers
    low: Array
    high: Array
    zeros: Array
    nan: Array
    infinite: Array
    bad_rows: int
    bad: Array  # of the first of them, the numbers; ids once they are known
    norms: RowNorms
    histogram: BitHistogram
    top: TopSamples
    bounds: BoundCounts
    classes: ClassSums | None
    sample: RowSample
    sums: Sums | None  # while a task adds rows
    spread: Spread | None = None

    @classmethod
    def empty(cls, plan: Plan) -> LayerState:
        """No row yet."""
        n = plan.units.count
        zeros, nan, infinite = (np.zeros(n, np.int64) for _ in range(3))
        return cls(
            plan=plan,
            rows=0,
            powers=Powers.empty(n),
            low=np.full(n, np.inf),
            high=np.full(n, -np.inf),
            zeros=zeros,
            nan=nan,
            infinite=infinite,
            bad_rows=0,
            bad=np.zeros(0, np.int64),
            norms=RowNorms(),
            histogram=BitHistogram(),
            top=TopSamples(n, plan.top),
            bounds=BoundCounts(n, plan.ranges, plan.tolerance),
            classes=None if plan.classes is None else ClassSums(plan.classes, n),
            sample=RowSample(plan.units, plan.sampling),
            sums=None if plan.shift is None else Sums(plan.shift, plan.dtype, _PRODUCT_ROWS),
        )

    def add(self, rows: Array, numbers: Array, codes: Array | None) -> None:
        """Add rows (rows, values) with these numbers, and the codes of their labels."""
        self.rows += len(rows)
        rows = rows.astype(self.plan.dtype, copy=False)  # halves once: that is slow
        shift = self._shift(rows)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # entered once: it is slow
            for folded, wide in folds(rows):
                self._columns(wide, folded, shift, numbers)
        self._whole_rows(rows, numbers)
        if self.classes is not None and codes is not None:
            self.classes.add(rows, codes, self.plan.units)

    @property
    def _direct(self) -> bool:
        """Whether the columns of a tile are units: their largest values are then known."""
        return not self.plan.units.pooled and self.plan.units.count >= NARROW

    def _shift(self, rows: Array) -> Array:
        """Estimate the mean of each unit from a few rows of the block; whatever it is, the sums are right."""
        some = rows[:: max(1, len(rows) // _SHIFT_ROWS)].astype(np.float64)
        finite, units = np.isfinite(some), self.plan.units
        if not finite.all():
            some[~finite] = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            counts = units.summed(finite.sum(axis=0))
            # what is subtracted is what is added again
            mean = (units.summed(some.sum(axis=0)) / np.maximum(counts, 1)).astype(self.plan.precise)
        return np.where(np.isfinite(mean), mean, 0.0).astype(np.float64)

    def _columns(self, wide: Array, folded: int, shift: Array, numbers: Array) -> None:
        units, plan = self.plan.units, self.plan
        sums = ColumnSums(units.repeated(shift, folded), plan.precise)
        unit = units.repeated(np.arange(units.count), folded)
        if self._direct:
            self.top.prepare(wide)
        for tile in tiles(wide):
            sums.add(tile)
            self.bounds.add(tile, unit[tile.columns])
            if self._direct:
                at = numbers[tile.row : tile.row + len(tile.values)]
                self.top.offer(tile.values, at, tile.high, tile.columns.start)
        nan, infinite = units.summed(sums.nan, folded), units.summed(sums.infinite, folded)
        count = len(wide) * folded * units.before * units.after - nan - infinite
        low, high = units.lowest(sums.low, folded), -units.lowest(-sums.high, folded)
        powers = Powers.about(shift, count, units.summed(sums.sums, folded)).held_to(low, high)
        self.powers = self.powers.merge(powers)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.zeros += units.summed(sums.zeros, folded)
        self.nan += nan
        self.infinite += infinite

    def _whole_rows(self, rows: Array, numbers: Array) -> None:
        plan, units = self.plan, self.plan.units
        finite = self.norms.add(rows)
        clean = bool(finite.all())
        if not clean:
            self.bad_rows += int((~finite).sum())
            self.bad = np.append(self.bad, numbers[~finite])[:KEPT_BAD]
        for some in _one_in(plan.every, rows, numbers):
            self.histogram.add(some if clean else some[np.isfinite(some)], plan.every)
        if not self._direct:
            peaks = rows if clean else np.where(np.isfinite(rows), rows, -np.inf)
            self.top.offer_all(units.peaks(peaks), numbers)
        if plan.sampling.every:
            self.sample.add(rows, numbers)
        if self.sums is not None:
            self.sums.add(units.as_rows(rows), 0, sampled=False)

    def settled(self) -> LayerState:
        """Finish what a task left open, so that little is sent."""
        self.top.settle()
        if self.sums is not None:
            self.spread = Spread.of(self.sums)
            self.sums = None
        return self

    def merge(self, other: LayerState, *, follows: bool = False) -> LayerState:
        """Put two together; with `follows`, rows of the other are numbered from the end of this one."""
        classes, spread = None, None
        if self.classes is not None and other.classes is not None:
            classes = self.classes.merge(other.classes)
        if self.spread is not None and other.spread is not None:
            spread = self.spread.merge(other.spread)
        return LayerState(
            plan=dataclasses.replace(self.plan, every=max(self.plan.every, other.plan.every)),
            rows=self.rows + other.rows,
            powers=self.powers.merge(other.powers),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            zeros=self.zeros + other.zeros,
            nan=self.nan + other.nan,
            infinite=self.infinite + other.infinite,
            bad_rows=self.bad_rows + other.bad_rows,
            bad=self._first_bad(other, follows=follows),
            norms=self.norms.merge(other.norms),
            histogram=self.histogram.merge(other.histogram),
            top=self.top.merge(other.top, self.rows if follows else 0),
            bounds=self.bounds.merge(other.bounds),
            classes=classes,
            sample=self.sample.merge(other.sample),
            sums=None,
            spread=spread,
        )

    def _first_bad(self, other: LayerState, *, follows: bool) -> Array:
        both = np.append(self.bad, other.bad)
        return (both if follows else np.sort(both))[:KEPT_BAD]


def _one_in(every: int, rows: Array, numbers: Array) -> Iterator[Array]:
    """Give one column in `every`, beginning at another one in each row: each row's number says at which."""
    together = int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1
    for first in range(min(every, rows.shape[1])):
        at = slice((first - int(numbers[0])) % every, None, every) if together else numbers % every == first
        yield rows[at, first::every]
