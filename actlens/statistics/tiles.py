"""Blocks of rows in pieces that stay in the cache, looked over for NaN, and for the extremes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_VALUES = 1 << 16  # of a piece: 256 KiB of float32
NARROW = 1024  # columns; of fewer, several rows are taken for one, as short loops are slow
_WIDE = 4096  # columns of a piece
FEW_COLUMNS = 8  # to pick fewer than one column in so many is quicker than to look at all
MOST_ROWS = 255  # of a piece: what a count of one byte holds


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Tile:
    """A piece of a block: `values` (rows, columns) in float32 or float64, NaN where they are not finite.

    `bad` says where that is, None for nowhere; `low` and `high` (columns,) are of the finite values, inf and
    −inf where there is none, `lowest` and `highest` of all columns. It holds the columns `columns` of the
    folded block, and its rows from `row` on.
    """

    values: Array
    columns: slice
    row: int
    low: Array
    high: Array
    lowest: float
    highest: float
    bad: Array | None = None
    infinite: Array | None = None

    def count(self, where: Array) -> Array:
        """Count the true in each column of (rows, some columns); quickly, as the rows are few."""
        return np.asarray(np.add.reduce(where.view(np.uint8), axis=0, dtype=np.uint8))


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype that holds the values exactly and is quick: float32, or float64 where it must be."""
    if dtype.kind in "iu":
        return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    # by its size: float64 of another byte order, and long doubles, are not equal to float64
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize > 4 else np.float32)


def folds(rows: Array) -> Iterator[tuple[int, Array]]:
    """Give (rows, columns) as wide rows: how many rows were taken for one, and the array.

    >>> [(folded, wide.shape) for folded, wide in folds(np.zeros((1000, 8)))]
    [(128, (7, 1024)), (104, (1, 832))]
    """
    at, columns = 0, rows.shape[1]
    while at < len(rows):
        folded = max(1, min(len(rows) - at, -(-NARROW // columns)))
        stop = at + (len(rows) - at) // folded * folded
        yield folded, rows[at:stop].reshape(-1, folded * columns)
        at = stop


def tiles(rows: Array) -> Iterator[Tile]:
    """Cut rows that are wide enough into pieces."""
    columns = rows.shape[1]
    width = columns if columns <= _WIDE else _WIDE // 2
    height = max(1, min(_VALUES // width, MOST_ROWS))
    for first in range(0, columns, width):
        these = slice(first, min(first + width, columns))
        for row in range(0, len(rows), height):
            yield _tile(rows[row : row + height, these], these, row)


def _tile(values: Array, columns: slice, row: int) -> Tile:
    low, high = np.minimum.reduce(values, axis=0), np.maximum.reduce(values, axis=0)
    lowest, highest = float(low.min()), float(high.max())
    if math.isfinite(lowest) and math.isfinite(highest):  # NaN and inf come through
        return Tile(values, columns, row, low, high, lowest, highest)
    bad, infinite = ~np.isfinite(values), np.isinf(values)
    low = np.minimum.reduce(np.where(bad, np.inf, values), axis=0)
    high = np.maximum.reduce(np.where(bad, -np.inf, values), axis=0)
    clean = np.where(bad, values.dtype.type(np.nan), values)
    return Tile(clean, columns, row, low, high, float(low.min()), float(high.max()), bad, infinite)
