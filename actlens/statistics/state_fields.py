"""One LayerState as fields, and back: all that `merge` and figures need; nothing is believed unchecked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.bit_histogram import BitHistogram
from actlens.statistics.class_sums import ClassSums
from actlens.statistics.fields import FieldReader, FieldWriter
from actlens.statistics.powers import Powers
from actlens.statistics.row_norms import RowNorms
from actlens.statistics.row_sample import RowSample, Sampling
from actlens.statistics.saturation import BoundCounts
from actlens.statistics.spread import MOST_UNITS, Spread
from actlens.statistics.state import KEPT_BAD, LayerState, Plan
from actlens.statistics.top_samples import TopSamples

Array = npt.NDArray[Any]

_INFINITE = 0x7F80  # the pattern of infinity: above are NaN
_UNSIGNED = 0x7FFF
_MOST = 1 << 62  # values in a histogram, each of which may stand for many
_POWERS = [field.name for field in dataclasses.fields(Powers)]


def put_state(into: FieldWriter, state: LayerState, pieces: Sequence[int]) -> None:
    """Add a state; `pieces` are the numbers of the pieces of its sample, which states may share."""
    into.put("state.rows", state.rows)
    into.put("state.bad_rows", state.bad_rows)
    _put_powers(into, "powers", state.powers)
    into.put("unit.low", state.low)
    into.put("unit.high", state.high)
    into.put("unit.zeros", state.zeros)
    into.put("unit.nan", state.nan)
    into.put("unit.infinite", state.infinite)
    into.put("bad.size", len(state.bad))
    into.put_ids("bad.kind", state.bad)
    _put_powers(into, "norms", state.norms.powers)
    into.put("norms.extremes", [float(state.norms.low), float(state.norms.high)])
    _put_histogram(into, "norms.histogram", state.norms.histogram)
    _put_histogram(into, "histogram", state.histogram)
    _put_top(into, state.top)
    _put_bounds(into, state.bounds)
    if state.classes is not None:
        into.put("classes.columns", state.classes.count.shape[1])
        into.put("classes.count", state.classes.count)
        into.put("classes.total", state.classes.total)
    into.put("sample.every", state.sample.sampling.every)
    into.put("sample.positions", state.sample.sampling.positions)
    into.put("sample.size", len(pieces))
    into.put("sample.pieces", np.array(pieces, np.int64))
    _put_spread(into, state.spread)


def get_state(source: FieldReader, plan: Plan, names: Array | None, pieces: Sequence[Array]) -> LayerState:
    """Read a state of a plan, with the classes `names`, and with some of the pieces of samples."""
    units, n = plan.units, plan.units.count
    rows = source.number("state.rows", 1, (1 << 60) // units.per_row)
    bad_rows = source.number("state.bad_rows", 0, rows)
    values = rows * units.before * units.after
    powers = _get_powers(source, "powers", n, values)
    low, high = source.get("unit.low", n), source.get("unit.high", n)
    _check_extremes(powers.count, low, high)
    zeros = source.counts("unit.zeros", n, most=powers.count)
    nan, infinite = (source.counts(f"unit.{what}", n, most=values) for what in ("nan", "infinite"))
    if (powers.count + nan + infinite != values).any():
        raise ValueError("the counts of a unit are not those of its rows")
    bad = source.ids("bad.kind", source.number("bad.size", 0, min(KEPT_BAD, bad_rows)))
    if bad is None:
        raise ValueError("rows with NaN have no ids")
    return LayerState(
        plan=plan,
        rows=rows,
        powers=powers,
        low=low,
        high=high,
        zeros=zeros,
        nan=nan,
        infinite=infinite,
        bad_rows=bad_rows,
        bad=bad,
        norms=_get_norms(source, rows),
        histogram=_get_histogram(source, "histogram"),
        top=_get_top(source, plan),
        bounds=_get_bounds(source, plan, powers.count),
        classes=None if names is None else _get_classes(source, names, n, values),
        sample=_get_sample(source, plan, pieces),
        sums=None,
        spread=_get_spread(source, n),
    )


def _put_powers(into: FieldWriter, name: str, powers: Powers) -> None:
    for each in _POWERS:
        into.put(f"{name}.{each}", getattr(powers, each))


def _get_powers(source: FieldReader, name: str, units: int, values: int) -> Powers:
    count = source.counts(f"{name}.count", units, most=values)
    return Powers(count, *(source.get(f"{name}.{each}", units) for each in _POWERS[1:]))


def _check_extremes(count: Array, low: Array, high: Array) -> None:
    some = count > 0
    right = np.where(
        some, np.isfinite(low) & np.isfinite(high) & (low <= high), (low == np.inf) & (high == -np.inf)
    )
    if not right.all():
        raise ValueError("the smallest value of a unit is above its largest, or they are of no value")


def _put_histogram(into: FieldWriter, name: str, histogram: BitHistogram) -> None:
    (used,) = np.nonzero(histogram.counts)  # few of 65,536
    into.put(f"{name}.used", len(used))
    into.put(f"{name}.bins", used.astype(np.uint16))
    into.put(f"{name}.counts", histogram.counts[used])


def _get_histogram(source: FieldReader, name: str) -> BitHistogram:
    used = source.number(f"{name}.used")
    bins, counts = source.get(f"{name}.bins", used), source.counts(f"{name}.counts", used)
    if (bins[1:] <= bins[:-1]).any() or ((bins & _UNSIGNED) > _INFINITE).any() or (counts == 0).any():
        raise ValueError(f"{name!r} has bins that are none")
    if sum(counts.tolist()) > _MOST:  # of whole numbers, which do not wrap around
        raise ValueError(f"{name!r} counts more values than there can be")
    found = BitHistogram()
    found.counts[bins] = counts
    return found


def _get_norms(source: FieldReader, rows: int) -> RowNorms:
    norms = RowNorms()
    norms.powers = _get_powers(source, "norms", 1, rows)
    norms.low, norms.high = source.get("norms.extremes", 2).tolist()
    _check_extremes(norms.powers.count, np.array([norms.low]), np.array([norms.high]))
    norms.histogram = _get_histogram(source, "norms.histogram")
    return norms


def _put_top(into: FieldWriter, top: TopSamples) -> None:
    top.settle()
    into.put("top.size", len(top.unit))
    into.put("top.unit", top.unit)
    into.put("top.value", top.value)
    into.put("top.row", top.row)
    into.put_ids("top.kind", top.ids)


def _get_top(source: FieldReader, plan: Plan) -> TopSamples:
    top = TopSamples(plan.units.count, plan.top)
    size = source.number("top.size")
    top.unit = source.counts("top.unit", size, most=plan.units.count - 1)
    top.value, top.row = source.get("top.value", size), source.counts("top.row", size)
    top.ids = source.ids("top.kind", size)
    step = np.diff(top.unit)
    most = np.bincount(top.unit).max(initial=0)
    falls = (step > 0) | (top.value[1:] <= top.value[:-1])
    if (step < 0).any() or most > plan.top or not falls.all() or not np.isfinite(top.value).all():
        raise ValueError("the largest values of its units are not in their order")
    return top


def _put_bounds(into: FieldWriter, bounds: BoundCounts) -> None:
    into.put("bounds.kept", np.array([near is not None for near in bounds.near], bool))
    for near in bounds.near:
        if near is not None:
            into.put("bounds.near", near)
    into.put("bounds.extremes", [float(value) for value in bounds.extremes])
    into.put("bounds.at_extremes", bounds.at_extremes)


def _get_bounds(source: FieldReader, plan: Plan, count: Array) -> BoundCounts:
    n = plan.units.count
    bounds = BoundCounts(n, plan.ranges, plan.tolerance)
    kept = source.get("bounds.kept", len(plan.ranges)).tolist()
    near = [source.counts("bounds.near", 2, n, most=count) if each else None for each in kept]
    bounds.near = [None if each is None else (each[0], each[1]) for each in near]
    low, high = source.get("bounds.extremes", 2)
    _check_extremes(count.max(keepdims=True), low, high)
    bounds.extremes = [float(low), float(high)]
    bounds.at_extremes = list(source.counts("bounds.at_extremes", 2, n, most=count))
    return bounds


def _get_classes(source: FieldReader, names: Array, units: int, values: int) -> ClassSums:
    columns = source.number("classes.columns", 1, units)
    if columns not in {1, units}:
        raise ValueError(f"classes have counts of {columns} units; there are {units}")
    count = source.counts("classes.count", len(names), columns, most=values)
    total = source.get("classes.total", len(names), units)
    sums = ClassSums(names[:0], units)
    sums.names, sums.count, sums.total = names, count, total
    return sums


def _get_sample(source: FieldReader, plan: Plan, pieces: Sequence[Array]) -> RowSample:
    sampling = Sampling(source.number("sample.every"), source.number("sample.positions", 1))
    sample = RowSample(plan.units, sampling)
    numbers = source.counts("sample.pieces", source.number("sample.size"), most=len(pieces) - 1)
    sample.pieces = [pieces[number] for number in numbers.tolist()]
    if any(piece.shape[1] != plan.units.count for piece in sample.pieces):
        raise ValueError("a sample has rows of another number of units")
    return sample


def _put_spread(into: FieldWriter, spread: Spread | None) -> None:
    into.put("spread.known", spread is not None)
    if spread is not None:
        into.put("spread.count", spread.count)
        into.put("spread.every", spread.every)
        into.put("spread.mean", spread.mean)
        into.put("spread.scatter", spread.scatter)


def _get_spread(source: FieldReader, units: int) -> Spread | None:
    if not source.get("spread.known", 1)[0]:
        return None
    if units > MOST_UNITS:
        raise ValueError(f"a covariance of {units} units is more than is ever summed up")
    count, every = source.number("spread.count"), source.number("spread.every", 1)
    return Spread(count, source.get("spread.mean", units), source.get("spread.scatter", units, units), every)
