"""One view of what pictures read: a numpy array or a lazy layer, of which only the drawn rows are read."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot.colors import as_float
from actlens.reduce.source import LayerLike, is_layer

Array = npt.NDArray[Any]

_ROWS = "one row number, a list of them, a slice, or a mask (samples,)"


@dataclasses.dataclass(frozen=True, eq=False)
class Drawable:
    """Activations (samples, …) with what is known about them; `axes` is () for a numpy array."""

    feature: str
    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    ids: Array
    columns: dict[str, Array]
    _source: Any

    def read(self, rows: Array) -> Array:
        """Give the rows of these numbers as float32 or float64: (rows, …)."""
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            picked = self._source[int(rows[0]) : int(rows[0]) + len(rows)]  # one block, read as one
        else:
            picked = self._source[rows]
        return as_float(self.feature, np.asarray(picked))

    def row(self, given: SupportsIndex) -> int:
        """Check one row number, negative from the end."""
        return index_of(self.feature, "row", given, self.shape[0])

    def axis_name(self, axis: int) -> str:
        """Name an axis for a label."""
        if self.axes:
            return self.axes[axis]
        return "unit" if len(self.shape) == 2 else f"axis {axis}"


def drawable(layer: LayerLike, feature: str) -> Drawable:
    """Wrap a layer or an array. Raises PlotError for fewer than two axes, or for nothing in it."""
    if is_layer(layer):
        shape = tuple(layer.shape)
        columns = {key: np.asarray(value) for key, value in layer.columns.items()}
        found = Drawable(feature, layer.name, shape, tuple(layer.axes), np.asarray(layer.ids), columns, layer)
    else:
        try:
            array = np.asarray(layer)
        except (TypeError, ValueError, RuntimeError) as error:  # unequal rows, a tensor with a gradient
            raise PlotError.not_an_array(f"{feature}: layer", layer, error) from error
        shape = array.shape
        found = Drawable(feature, "", shape, (), np.arange(shape[0] if shape else 0), {}, array)
    if len(shape) < 2 or 0 in shape:
        raise PlotError.not_a_layer(feature, found.name, shape)
    return found


def index_of(feature: str, what: str, given: SupportsIndex, count: int) -> int:
    """Check a number below `count`, negative from the end. Raises PlotError."""
    try:
        index = operator.index(given)
    except TypeError as error:
        raise PlotError.not_whole(feature, what, given) from error
    if not -count <= index < count:
        raise PlotError.index(feature, what, index, count)
    return index % count


def rows_of(found: Drawable, rows: slice | npt.ArrayLike | None, most: int) -> Array:
    """Give the row numbers to draw; with no choice made, all, or `most` of them, evenly spaced."""
    samples = found.shape[0]
    if rows is None:
        # Of more rows than a picture has lines, every k-th is drawn, and the label says so.
        return np.unique(np.linspace(0, samples - 1, min(samples, most)).astype(np.int64))
    try:
        given = np.arange(samples)[rows] if isinstance(rows, slice) else np.asarray(rows)
    except (TypeError, ValueError, RuntimeError) as error:  # slice("a"), slice(0, 4, 0), unequal rows
        raise PlotError.parameter(found.feature, "rows", rows, _ROWS) from error
    if given.dtype.kind == "b" and given.shape != (samples,):
        raise PlotError.conflict(
            found.feature, f"rows= is a mask of shape {given.shape}; it must be ({samples},)"
        )
    if given.ndim != 1:
        raise PlotError.parameter(found.feature, "rows", rows, _ROWS)
    numbers = np.flatnonzero(given) if given.dtype.kind == "b" else given
    chosen = np.array([index_of(found.feature, "row", row, samples) for row in numbers.tolist()], np.int64)
    if not len(chosen):
        raise PlotError.no_rows(found.feature, f"rows={rows!r}")
    return chosen
