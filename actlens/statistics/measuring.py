"""stats(): one pass over the rows of every layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError
from actlens.selection import Layers
from actlens.statistics.columns import Columns, kind_of
from actlens.statistics.exact import ensure_held
from actlens.statistics.kept import kept
from actlens.statistics.layer_stats import LayerStats
from actlens.statistics.layers import Source, sources
from actlens.statistics.result import Stats
from actlens.statistics.row_sample import Sampling
from actlens.statistics.saturation import RANGES, TOLERANCE, Range
from actlens.statistics.spread import MOST_UNITS
from actlens.statistics.state import LayerState, Plan
from actlens.statistics.tiles import working_dtype
from actlens.statistics.units import Units
from actlens.statistics.whole_number import whole_number
from actlens.streaming.fold import fold, workers_of
from actlens.streaming.part import Part, parts_of

Array = npt.NDArray[Any]

_BLOCK_BYTES = 16 << 20
_COUNTED = 1 << 22  # values of a layer; of more, the histogram takes one in so many
_MOST_EVERY = 16
_SMALL = 1 << 22  # values; below this, powers in float64 cost little
_PLACES = 8  # where the mean is first estimated


def stats(  # noqa: PLR0913 - what may be asked for in one pass
    run: Mapping[str, Any],
    layers: Layers | None = None,
    *,
    by: Any = None,
    labels: Any = None,
    unit: str | None = None,
    top: int = 10,
    correlation: bool = False,
    bounds: Sequence[Range] = RANGES,
    tolerance: float = TOLERANCE,
    every: int | None = None,
    executor: Executor | None = None,
    cache: bool = True,
) -> Stats:
    """Compute statistics of every unit of every layer; each layer is read once, in bounded memory.

    A unit is a value of the axis "channel", "unit", "feature" or "features", over all samples and all other
    positions; a layer without such an axis has one unit for each value of a row. Of layers whose samples
    differ in length, rows are tokens. NaN and inf are counted, and are in no other figure.

    >>> s = actlens.stats(run, labels="label")
    >>> s["fc1"].mean.shape, s["conv1"].units.text(), s["fc1"].top_ids.shape
    ((40,), 'channel (over height×width)', (40, 10))
    >>> s.problems
    []

    Args:
        run: a recording; or a dict layer → array (samples, …) of numpy, LayerArray or RaggedArray.
        layers: patterns as in record(), names, or a function of the name; None for all.
        by: a column, or an array (samples,): a set of figures for each value, in the same pass, as `.groups`.
        labels: a column, or an array (samples,), of classes: class means, selectivity, η².
        unit: the axis whose values are units, or "value" for each value of a row.
        top: how many samples with the largest activation are kept of each unit.
        correlation: sum up the covariance of all rows, for exact effective ranks and correlated units; up to
            4096 units. Without it, these are estimated from about 2048 rows.
        bounds: ranges (lower, upper) that layers may be bounded by, None for an open end.
        tolerance: how near to a bound a value is saturated; relative to the bound, or to 1.
        every: one value in so many is counted in the histogram; left out, all up to 4 million values of a
            layer, and one in up to 16 of more.
        executor: of concurrent.futures, or Dask's; the figures do not depend on it.
        cache: read what was computed before of the same values, which lies with the recording, and keep what
            is computed; False does neither. Of arrays, and where `layers` is a function, nothing is kept.

    Raises:
        StatisticsError: nothing to read, no real numbers, no such column or axis.
        WorkerError: a worker cannot read the recording.

    Means and moments: Chan, Golub & LeVeque 1983; Pébay 2008. Quantiles: within 0.4 % (Masson, Rim & Lee
    2019). Effective rank: Roy & Vetterli 2007. Selectivity: Morcos et al. 2018.
    """
    top, every = (
        whole_number("top", top, 0),
        None if every is None else whole_number("every", every, 1, "None or "),
    )
    ranges = _checked(by, labels, unit, bounds, tolerance)
    workers_of(executor)  # says at once what is no executor
    asked = _Asked(by, labels, unit, top, correlation, ranges, tolerance, every)
    found = sources(run, layers)
    return kept(
        found,
        lambda: _computed(found, asked, executor),
        parameters=asked.parameters(),
        cache=cache and not callable(layers),
    )


def _computed(found: list[Source], asked: _Asked, executor: Executor | None) -> Stats:
    tasks = [(source, _prepared(source, asked)) for source in found]  # all errors come first
    kinds = sorted({kind_of(task.names) for _, task in tasks if task.names is not None})
    if len(kinds) > 1:
        raise StatisticsError.unlike_layers("by", *kinds[:2])
    columns = Columns.of(asked.by, asked.labels)
    return Stats._of({source.name: _measured(source, task, executor) for source, task in tasks}, columns)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Asked:
    by: Any
    labels: Any
    unit: str | None
    top: int
    correlation: bool
    ranges: tuple[Range, ...]
    tolerance: float
    every: int | None

    def parameters(self) -> dict[str, Any]:
        """Name all that the figures depend on."""
        return {
            "by": self.by,
            "labels": self.labels,
            "unit": self.unit,
            "top": self.top,
            "correlation": bool(self.correlation),
            "bounds": self.ranges,
            "tolerance": float(self.tolerance),
            "every": self.every,
        }


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Measure:
    """The task of a pass: a state for each group (a code of `groups`) that has rows in the part."""

    name: str
    plan: Plan
    groups: Array | None  # (rows,) codes
    names: Array | None
    codes: Array | None  # (rows,) codes of labels

    def __call__(self, part: Part) -> dict[int, LayerState]:
        """Sum the part."""
        states: dict[int, LayerState] = {}
        for start, block in part.blocks():
            ensure_held(self.name, block)
            rows = block.reshape(len(block), -1)
            numbers = np.arange(start, start + len(rows))
            codes = None if self.codes is None else self.codes[numbers]
            if self.groups is None:
                _state(states, 0, self.plan).add(rows, numbers, codes)
                continue
            group = self.groups[numbers]
            for each in np.unique(group).tolist():
                state = _state(states, each, self.plan)
                these = np.flatnonzero(group == each)
                if len(these) == len(rows):
                    state.add(rows, numbers, codes)
                else:
                    state.add(rows[these], numbers[these], None if codes is None else codes[these])
        return {code: state.settled() for code, state in states.items()}


def _state(states: dict[int, LayerState], code: int, plan: Plan) -> LayerState:
    if code not in states:
        states[code] = LayerState.empty(plan)
    return states[code]


def _join(a: dict[int, LayerState], b: dict[int, LayerState]) -> dict[int, LayerState]:
    """Put the states of the same groups together."""
    for code, state in b.items():
        a[code] = a[code].merge(state) if code in a else state
    return a


def _checked(by: Any, labels: Any, unit: Any, bounds: Any, tolerance: Any) -> tuple[Range, ...]:
    for argument, given in (("by", by), ("labels", labels)):
        if isinstance(given, np.ma.MaskedArray):
            raise StatisticsError.masked_column(argument)
    if unit is not None and not isinstance(unit, str):
        raise StatisticsError.parameter("unit", unit, "None or the name of an axis")
    if not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 0.5:
        raise StatisticsError.parameter("tolerance", tolerance, "a number from 0 to below 0.5")
    try:
        ranges = tuple((lower, upper) for lower, upper in bounds)
        for lower, upper in ranges:
            ends = -math.inf if lower is None else float(lower), math.inf if upper is None else float(upper)
            if not ends[0] < ends[1] or ends == (-math.inf, math.inf):
                raise ValueError(ends)
    except (TypeError, ValueError) as error:
        wanted = "pairs (lower, upper) with lower < upper, one of which may be None, as [(-1, 1), (None, 6)]"
        raise StatisticsError.parameter("bounds", bounds, wanted) from error
    return tuple((_end(lower), _end(upper)) for lower, upper in ranges)


def _end(given: Any) -> float | None:
    return None if given is None or math.isinf(given) else float(given)


def _prepared(source: Source, asked: _Asked) -> Measure:
    """Say what will be summed up of a layer."""
    units = Units.of(source.name, source.axes, source.shape, asked.unit)
    if asked.correlation and units.count > MOST_UNITS:
        raise StatisticsError.too_wide(source.name, units.count, MOST_UNITS)
    names, groups = (None, None) if asked.by is None else source.column("by", asked.by)
    classes, codes = (None, None) if asked.labels is None else source.column("labels", asked.labels)
    dtype = working_dtype(source.dtype)
    values = math.prod(source.shape)
    plan = Plan(
        units=units,
        dtype=dtype,
        top=asked.top,
        ranges=asked.ranges,
        tolerance=float(asked.tolerance),
        precise=np.dtype(np.float64) if values <= _SMALL else dtype,
        every=asked.every or min(_MOST_EVERY, -(-values // _COUNTED)),
        sampling=Sampling(0) if asked.correlation else Sampling.of(source.shape[0], units, dtype.itemsize),
        shift=_shift(source, units) if asked.correlation else None,
        classes=classes,
    )
    return Measure(source.name, plan, groups, names, codes)


def _rows_of_block(source: Source) -> int:
    """Give the rows of a block: of about 16 MiB, on a grid that depends on the layer alone."""
    return max(1, _BLOCK_BYTES // (source.dtype.itemsize * math.prod(source.shape[1:])))


def _shift(source: Source, units: Units) -> Array:
    """Estimate the mean from a few rows all over the layer, for products that are not about 0."""
    samples = source.shape[0]
    blocks = [
        np.asarray(block)
        for start in np.unique(np.linspace(0, samples - 1, _PLACES).astype(int)).tolist()
        for block in source.reader.blocks(start, min(start + 4, samples), 4)
    ]
    for block in blocks:
        ensure_held(source.name, block)
    some = [block.reshape(len(block), -1).astype(np.float64) for block in blocks]
    rows = units.as_rows(np.concatenate(some))
    rows[~np.isfinite(rows)] = 0.0
    with np.errstate(over="ignore"):
        mean = rows.mean(axis=0)
    return np.where(np.isfinite(mean), mean, 0.0)


def _measured(
    source: Source, task: Measure, executor: Executor | None
) -> tuple[LayerStats, dict[Any, LayerStats]]:
    """Read a layer; give its figures, and those of its groups."""
    parts = parts_of(source.reader, source.shape[0], rows=_rows_of_block(source), pieces=workers_of(executor))
    states = fold(task, parts, _join, executor=executor)
    seen = sum(state.rows for state in states.values())
    if seen != source.shape[0]:
        raise StatisticsError.wrong_rows(source.name, source.shape[0], seen)
    codes = sorted(states)
    whole = reduce(LayerState.merge, (states[code] for code in codes))
    # Ids are read at the end, and only of rows that are named.
    _name_rows(source, list({id(each): each for each in (whole, *states.values())}.values()))
    groups = {} if task.names is None else {task.names[c].item(): states[c] for c in codes}
    about = (source.name, source.row)
    return LayerStats(*about, whole), {value: LayerStats(*about, state) for value, state in groups.items()}


def _name_rows(source: Source, states: list[LayerState]) -> None:
    """Put ids in the place of numbers of rows; they are read once for all groups."""
    wanted = [numbers for state in states for numbers in (state.top.row, state.bad)]
    ids = source.ids(np.concatenate(wanted))
    found = iter(np.split(ids, np.cumsum([len(numbers) for numbers in wanted])[:-1]))
    for state in states:
        state.top.ids, state.bad = next(found), next(found)
