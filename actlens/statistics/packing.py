"""Stats as a JSON object and named arrays, and back: what a file of them holds (docs/format.md, 9.1).

Read are only the classes that are named here, each field checked; nothing in a file is run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError
from actlens.format.bundle import Bundle
from actlens.statistics.bit_histogram import BitHistogram
from actlens.statistics.columns import Columns
from actlens.statistics.fields import FieldReader, FieldWriter
from actlens.statistics.group_keys import put_groups, read_groups
from actlens.statistics.layer_stats import LayerStats
from actlens.statistics.result import Stats
from actlens.statistics.row_sample import Sampling
from actlens.statistics.saturation import Range
from actlens.statistics.state import LayerState, Plan
from actlens.statistics.state_fields import get_state, put_state
from actlens.statistics.units import Units

Array = npt.NDArray[Any]

KIND = "stats"
FORMAT = 2  # 1 had no names of columns
_LABELS = "labels:"
_NONE = -1
_STATE_BYTES = 2 * BitHistogram().counts.nbytes  # of values and of norms

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 48)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
Names = Annotated[tuple[str, ...], msgspec.Meta(max_length=64)]  # numpy has no more axes
Floats = Literal["float32", "float64"]


class _Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Plan and what a row is, without its arrays; layers that were read in the same way share one."""

    row: str
    before: Size
    count: Size
    after: Size
    axes: Names
    sizes: Annotated[tuple[Size, ...], msgspec.Meta(max_length=64)]
    positions: Names
    dtype: Floats
    precise: Floats
    top: Natural
    bounds: tuple[Range, ...]
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=0.5)]
    every: Annotated[int, msgspec.Meta(ge=1, le=1 << 60)]
    sampling: tuple[Natural, Size]

    @classmethod
    def of(cls, layer: LayerStats) -> _Plan:
        plan, units = layer._state.plan, layer.units
        return cls(
            row=layer.row,
            before=units.before,
            count=units.count,
            after=units.after,
            axes=units.axes,
            sizes=units.sizes,
            positions=units.positions,
            dtype=_float(plan.dtype),
            precise=_float(plan.precise),
            top=plan.top,
            bounds=plan.ranges,
            tolerance=plan.tolerance,
            every=plan.every,
            sampling=(plan.sampling.every, plan.sampling.positions),
        )

    def plan(self, shift: Array | None, classes: Array | None) -> Plan:
        """Undo `of`."""
        units = Units(self.before, self.count, self.after, self.axes, self.sizes, self.positions)
        if len(self.axes) != len(self.sizes) or math.prod(self.sizes) != self.count:
            raise ValueError(f"its {self.count} units are not those of axes of {list(self.sizes)}")
        if units.per_row > 1 << 60:
            raise ValueError(f"a row of {units.per_row} values is more than there can be")
        for lower, upper in self.bounds:
            if lower is upper is None or not (-math.inf if lower is None else lower) < (
                math.inf if upper is None else upper
            ):
                raise ValueError(f"bounds of {lower} to {upper} are none")
        return Plan(
            units=units,
            dtype=np.dtype(self.dtype),
            top=self.top,
            ranges=self.bounds,
            tolerance=self.tolerance,
            precise=np.dtype(self.precise),
            every=self.every,
            sampling=Sampling(*self.sampling),
            shift=shift,
            classes=classes,
        )


class _About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON beside the arrays. `labels` is the number of the sets of classes, `labels:0` and so on."""

    format: int
    layers: tuple[str, ...]
    plans: tuple[_Plan, ...]
    labels: Natural
    columns: tuple[str | None, str | None] = (None, None)


def packed(stats: Stats) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give the metadata and the arrays of a bundle.

    Raises:
        StatisticsError: ids or values of `by=` that are objects.
    """
    into, tables = FieldWriter(), _Tables()
    layers = {name: number for number, name in enumerate(stats)}
    put_groups(into, stats.groups)
    for group, name, layer in _each(stats):
        state = layer._state
        into.put("state.group", group)
        into.put("state.layer", layers[name])
        into.put("state.plan", tables.plan(_Plan.of(layer)))
        into.put("state.shift", tables.shift(state.plan.shift))
        into.put("state.labels", tables.label_set(state.plan.classes))
        into.put("state.classes", tables.label_set(None if state.classes is None else state.classes.names))
        put_state(into, state, [tables.piece(piece) for piece in state.sample.pieces])
    tables.put(into)
    columns, sets = stats._columns, len(tables.label_sets)
    names = (columns.by, columns.labels)
    about = _About(format=FORMAT, layers=tuple(layers), plans=tuple(tables.plans), labels=sets, columns=names)
    labels = {f"{_LABELS}{number}": names for number, names in enumerate(tables.label_sets)}
    return msgspec.to_builtins(about), into.arrays() | labels


def unpacked(bundle: Bundle, path: object) -> Stats:
    """Undo `packed`. Raises StatisticsError where parts are missing, of the wrong type, or do not fit."""
    try:
        found = bundle.about.get("format") if isinstance(bundle.about, Mapping) else None
        if type(found) is not int or found < 1:
            raise ValueError("its metadata is not an object with a format")
        if found > FORMAT:
            raise StatisticsError.newer_stats(path, found, FORMAT)
        about = msgspec.convert(bundle.about, _About)
        labels = _label_sets(about, bundle.arrays)
        source = FieldReader(
            {name: array for name, array in bundle.arrays.items() if not name.startswith(_LABELS)}
        )
        return _Reading(about, labels, source).stats()
    except StatisticsError:
        raise
    except (ValueError, msgspec.MsgspecError) as error:
        raise StatisticsError.not_saved(path, error) from error
    except MemoryError as error:
        raise StatisticsError.not_saved(path, "memory does not hold what it claims to have") from error


def _each(stats: Stats) -> Iterator[tuple[int, str, LayerStats]]:
    """Give every layer: first of all rows, with the group −1; then of each group."""
    for number, some in enumerate([stats, *stats.groups.values()], _NONE):
        for name, layer in some.items():
            yield number, name, layer


def _float(dtype: np.dtype[Any]) -> Floats:
    return "float64" if dtype == np.float64 else "float32"


class _Tables:
    """What states share, each kept once: plans, shifts, sets of classes, pieces of samples."""

    def __init__(self) -> None:
        self.plans: dict[_Plan, int] = {}
        self.label_sets: list[Array] = []
        self._labels: dict[tuple[str, Any], int] = {}
        self._shifts: dict[int, tuple[int, Array]] = {}  # by id(): held, so that no other has it
        self._pieces: dict[int, tuple[int, Array]] = {}

    def plan(self, plan: _Plan) -> int:
        return self.plans.setdefault(plan, len(self.plans))

    def shift(self, shift: Array | None) -> int:
        if shift is None:
            return _NONE
        return self._shifts.setdefault(id(shift), (len(self._shifts), shift))[0]

    def piece(self, piece: Array) -> int:
        return self._pieces.setdefault(id(piece), (len(self._pieces), piece))[0]

    def label_set(self, names: Array | None) -> int:
        if names is None:
            return _NONE
        # the bytes of a StringDType only say where its texts are
        told = tuple(names.tolist()) if names.dtype.kind == "T" else np.ascontiguousarray(names).tobytes()
        key = names.dtype.str, told
        if key not in self._labels:
            self._labels[key] = len(self.label_sets)
            self.label_sets.append(names)
        return self._labels[key]

    def put(self, into: FieldWriter) -> None:
        """Add the shifts and the pieces."""
        for _, shift in self._shifts.values():
            into.put("shift.units", len(shift))
            into.put("shift.values", shift)
        for _, piece in self._pieces.values():
            into.put("piece.rows", piece.shape[0])
            into.put("piece.units", piece.shape[1])
            into.put("piece.wide", piece.dtype == np.float64)
            into.put(f"piece.{piece.dtype.name}", piece)


def _label_sets(about: _About, arrays: Mapping[str, Array]) -> list[Array]:
    """Give the sets of classes: each rising, without NaN."""
    wanted = [f"{_LABELS}{number}" for number in range(min(about.labels, len(arrays) + 1))]
    if {*wanted} != {name for name in arrays if name.startswith(_LABELS)}:
        raise ValueError(f"its sets of classes are not {about.labels}")
    for name in wanted:
        names = arrays[name]
        if names.ndim != 1 or names.dtype.kind not in "biufUT" or not len(names):
            raise ValueError(f"{name!r} is {names.dtype} of shape {names.shape}; it must be of classes")
        if not np.all(names[1:] > names[:-1]) or (names.dtype.kind == "f" and np.isnan(names).any()):
            raise ValueError(f"{name!r} does not rise")
    return [arrays[name] for name in wanted]


class _Reading:
    """Puts states together into Stats."""

    def __init__(self, about: _About, labels: list[Array], source: FieldReader) -> None:
        self._about, self._labels, self._source = about, labels, source
        if len({*about.layers}) < len(about.layers):
            raise ValueError("a layer stands twice")

    def stats(self) -> Stats:
        source, layers = self._source, self._about.layers
        values = read_groups(source)
        shifts = [source.get("shift.values", size) for size in self._sizes("shift.units")]
        pieces = self._pieces()
        found: list[dict[str, LayerStats]] = [{} for _ in range(len(values) + 1)]
        for _ in range(self._states()):
            group = found[source.number("state.group", _NONE, len(values) - 1) + 1]
            name = layers[source.number("state.layer", 0, len(layers) - 1)]
            if name in group:
                raise ValueError(f"layer {name!r} stands twice")
            group[name] = self._layer(name, shifts, pieces)
        source.finish()
        if list(found[0]) != list(layers) or not all(found):
            raise ValueError("it lacks a layer, or a group has none")
        columns = Columns(*self._about.columns)
        below = [Stats(each, columns=Columns(None, columns.labels)) for each in found[1:]]
        return Stats(found[0], dict(zip(values, below, strict=True)), columns=columns)

    def _states(self) -> int:
        """Give the number of states; in a file they are small, in memory each has its histograms."""
        states = self._source.left("state.group")
        if states * _STATE_BYTES > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            raise ValueError(f"its {states:,} states take more memory than this machine has")
        return states

    def _layer(self, name: str, shifts: list[Array], pieces: list[Array]) -> LayerStats:
        source, plans = self._source, self._about.plans
        about = plans[source.number("state.plan", 0, len(plans) - 1)]
        shift = _at(shifts, source.number("state.shift", _NONE, len(shifts) - 1))
        classes, names = (
            _at(self._labels, source.number(f"state.{each}", _NONE, len(self._labels) - 1))
            for each in ("labels", "classes")
        )
        if (classes is None) != (names is None) or (shift is not None and len(shift) != about.count):
            raise ValueError(f"the classes of layer {name!r} or its shift are not those of its plan")
        state: LayerState = get_state(source, about.plan(shift, classes), names, pieces)
        if (shift is None) != (state.spread is None):
            raise ValueError(f"the covariance of layer {name!r} is not that of its plan")
        return LayerStats(name, about.row, state)

    def _sizes(self, name: str) -> list[int]:
        sizes: list[int] = self._source.counts(name, self._source.left(name)).tolist()
        return sizes

    def _pieces(self) -> list[Array]:
        rows, units = self._sizes("piece.rows"), self._sizes("piece.units")
        wide = self._source.get("piece.wide", len(rows)).tolist()
        return [
            self._source.get("piece.float64" if each else "piece.float32", *shape)
            for *shape, each in zip(rows, units, wide, strict=True)
        ]


def _at(table: list[Array], number: int) -> Array | None:
    return None if number == _NONE else table[number]
