"""Two sides brought together: rows joined by id, axes by name, in an order that does not depend on either."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.axes import POSITIONS, feature_axis, in_one_order
from actlens.compare.given import Given, layers_of
from actlens.compare.keys import Keys, keys_of, shared_samples
from actlens.compare.reading import LaidOut, Layout, Scattered
from actlens.errors import CompareError
from actlens.selection import Layers
from actlens.streaming.reader import ArrayReader, KeptRows, LayerReader, Reader

Array = npt.NDArray[Any]

LEAST_ROWS = 4  # below, the debiased estimate divides by zero
_EXACT_IN_SINGLE = 2  # bytes of an integer that float32 holds


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class JoinedLayer:
    """One layer, (rows, features), its rows in the order of the join; not read.

    `dtype` is what it is computed in: float32, or float64 where the values need it. `axes` and `sizes` are
    those behind the rows that the features were made of, in one order for all frameworks.
    """

    name: str
    side: str
    features: int
    dtype: np.dtype[Any]
    reader: Reader
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    values: Any  # what was given, for `cache=`


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Joined:
    """The layers of both sides over the same rows.

    Attributes:
        a, b: the layers in the order of the forward; b is a where a side is compared with itself.
        samples: (rows,) the id of each row's sample.
        position: (rows,) the position in it; None where rows are samples.
        only_a, only_b: (ids,) samples of one side that the other has not.
        positions: the choice that was made for layers of more than two axes.
    """

    a: tuple[JoinedLayer, ...]
    b: tuple[JoinedLayer, ...]
    samples: Array
    position: Array | None
    only_a: Array
    only_b: Array
    positions: str | None

    @property
    def rows(self) -> int:
        """How many rows both sides share."""
        return len(self.samples)

    @property
    def same(self) -> bool:
        """Whether a side is compared with itself."""
        return self.a is self.b

    @property
    def layers(self) -> tuple[JoinedLayer, ...]:
        """All layers, each once."""
        return self.a if self.same else (*self.a, *self.b)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What products are made in."""
        return np.dtype(np.result_type(*(layer.dtype for layer in self.layers)))

    def column(self, name: str) -> Array | None:
        """Give a column of side a (rows,) in the order of the join; None where there is none."""
        columns = getattr(self.a[0].values, "columns", {})
        if name not in columns:
            return None
        ids, values = np.asarray(self.a[0].values.columns["id"]), np.asarray(columns[name])
        if self.position is not None and "sample" in columns:
            ids = np.asarray(columns["sample"])
        order = np.argsort(ids, kind="stable")
        return values[order[np.searchsorted(ids, self.samples, sorter=order)]]


def join(
    a: Any,
    b: Any | None,
    feature: str,
    *,
    layers: Layers | None = None,
    positions: str | None = None,
) -> Joined:
    """Join the layers of two sides, or those of one with each other.

    Raises:
        CompareError: no common ids, ids that stand twice, fewer than 4 rows in common, arrays of other rows;
            layers of more than two axes, and no `positions`.
    """
    if positions is not None and positions not in POSITIONS:
        raise CompareError.positions(feature, positions, POSITIONS)
    sides = [layers_of(a, "a", feature, layers)]
    if b is not None:
        sides.append(layers_of(b, "b", feature, layers))
    return joined(sides, feature, positions)


def joined(
    sides: Sequence[Sequence[Given]], feature: str, positions: str | None, *, least: int = LEAST_ROWS
) -> Joined:
    """Join layers that were chosen already, of at least so many rows in common."""
    seen = [[_seen(given, positions, feature) for given in side] for side in sides]
    keys = [[keys_of(given, feature) for given in side] for side in seen]
    flat = [pair for side, own in zip(seen, keys, strict=True) for pair in zip(side, own, strict=True)]
    shared = shared_samples(flat, feature)
    only_a, *rest = [_only(side, shared) for side in keys]
    only_b = rest[0] if rest else only_a[:0]
    found = [_placed(given, key, shared, positions) for given, key in flat]
    rows = _common_rows(found, feature)
    dropped = ""
    if len(only_a) or len(only_b):
        dropped = f" ({len(only_a):,} ids are only in a, {len(only_b):,} only in b)"
    if len(rows) < least:
        raise CompareError.few_rows(feature, len(rows), least, dropped)
    ready = tuple(_joined(each, rows) for each in found)
    first = ready[: len(sides[0])]
    return Joined(
        a=first,
        b=ready[len(first) :] if len(sides) > 1 else first,
        samples=shared[rows >> 32] if found[0].by_position else shared[rows],
        position=rows & 0xFFFFFFFF if found[0].by_position else None,
        only_a=only_a,
        only_b=only_b,
        positions=positions,
    )


def _seen(given: Given, positions: str | None, feature: str) -> Given:
    """Give a layer whose rows can be told apart: of samples that differ in length, what was chosen."""
    if not given.ragged:
        if len(given.shape) > 2 and positions is None:
            raise CompareError.choose_positions(feature, given.name, given.shape, given.axes)
        return given
    if positions is None:
        raise CompareError.choose_positions(feature, given.name, given.shape, given.axes)
    if positions == "flatten":
        raise CompareError.ragged_flatten(feature, given.name)
    chosen = given.values.mean() if positions == "mean" else given.values.tokens
    return dataclasses.replace(given, values=chosen)


def _only(keys: Sequence[Keys], shared: Array) -> Array:
    """Give the ids of a side that are not shared."""
    own = functools.reduce(np.union1d, [key.samples for key in keys]) if len(keys) > 1 else keys[0].samples
    return np.setdiff1d(own, shared)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Placed:
    """A layer with the stored rows that are joined, their keys, and how its axes become features."""

    given: Given
    rows: Array
    keys: Array
    layout: Layout | None
    axes: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def each(self) -> int:
        """The rows that a stored row becomes."""
        return self.layout.positions if self.layout else 1

    @property
    def by_position(self) -> bool:
        """Whether rows are positions."""
        return self.given.is_tokens or (self.layout is not None and self.layout.kind == "samples")

    @property
    def grid(self) -> object:
        """What rows must have in common to be joined, for messages."""
        if self.given.is_tokens:
            return "tokens"
        if not self.by_position:
            return "one row a sample"
        return dict(zip(self.axes[:-1], self.sizes[:-1], strict=True))


def _placed(given: Given, keys: Keys, shared: Array, positions: str | None) -> _Placed:
    rows, known = keys.known_by(shared)
    axes = in_one_order(given.axes)
    if len(given.shape) == 2 or positions is None:
        return _Placed(given, rows, known, None, axes, given.shape[1:])
    if positions == "samples" and given.is_tokens:
        positions = "flatten"  # its rows are positions already; what is behind them are features
    if positions != "flatten" and axes[-1] != feature_axis(given.axes):
        axes = (*(axis for axis in axes if axis != feature_axis(given.axes)), feature_axis(given.axes))
    order = tuple(given.axes.index(axis) for axis in axes)
    sizes = tuple(given.shape[number] for number in order)
    each = math.prod(sizes[:-1]) if positions == "samples" else 1
    if positions == "samples" and not given.is_tokens:
        known = ((known[:, None] << 32) + np.arange(each)).reshape(-1)
    return _Placed(given, rows, known, Layout(order, positions, each), axes, sizes)


def _common_rows(found: Sequence[_Placed], feature: str) -> Array:
    """Give the keys that all layers have, rising."""
    grids = {f"{each.given.side}'s {each.given.name}": each.grid for each in found}
    kinds = {each.by_position for each in found}
    fixed = {str(grid) for grid in grids.values() if grid != "tokens"}
    if len(kinds) > 1 or len(fixed) > 1 or (fixed and "tokens" in grids.values() and _several_axes(found)):
        raise CompareError.other_positions(feature, grids)
    return functools.reduce(
        lambda a, b: a if np.array_equal(a, b) else np.intersect1d(a, b, assume_unique=True),
        [each.keys for each in found],
    )


def _several_axes(found: Sequence[_Placed]) -> bool:
    """Say whether positions of some layer have more than one axis, so that they are no tokens."""
    return any(each.by_position and not each.given.is_tokens and len(each.axes) > 2 for each in found)


def _joined(placed: _Placed, rows: Array) -> JoinedLayer:
    given, kept = placed.given, np.searchsorted(placed.keys, rows)
    all_kept = len(kept) == len(placed.keys)
    if placed.each == 1:
        reader = _reader(given, placed.rows if all_kept else placed.rows[kept])
        reader = LaidOut(reader, placed.layout) if placed.layout else reader
    else:
        assert placed.layout is not None  # noqa: S101 - several rows of one come from a layout
        reader = LaidOut(_reader(given, placed.rows), placed.layout)
        reader = reader if all_kept else KeptRows(reader, kept)
    pooled = placed.layout is not None and placed.layout.kind != "flatten"
    features = placed.sizes[-1] if pooled else math.prod(placed.sizes)
    return JoinedLayer(
        given.name,
        given.side,
        features,
        _working(given.dtype),
        reader,
        placed.axes,
        placed.sizes,
        given.values,
    )


def _reader(given: Given, rows: Array) -> Reader:
    """Read stored rows in an order."""
    count = given.shape[0]
    if len(rows) == count and np.array_equal(rows, np.arange(count)):
        return LayerReader(given.values) if given.has_ids else ArrayReader(given.values)
    if not given.has_ids:
        return ArrayReader(given.values[rows])
    reader = LayerReader(given.values.take(rows))
    if bool((np.diff(rows) > 0).all()):
        return reader
    return Scattered(reader, math.prod(given.shape[1:]) * given.dtype.itemsize)


def _working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype that holds the values: half precision is widened before any arithmetic."""
    narrow = dtype.kind in "biu" and dtype.itemsize <= _EXACT_IN_SINGLE
    small = (dtype.kind == "f" and dtype.itemsize <= 4) or dtype.kind == "V"
    return np.dtype(np.float32 if narrow or small else np.float64)
