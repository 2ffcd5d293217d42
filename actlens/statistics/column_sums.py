"""Sums over the rows of one block, one for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.tiles import Tile

Array = npt.NDArray[Any]


class ColumnSums:
    """What the tiles of a block add up to: all arrays are (columns,), `sums` (4, columns) about `shift`.

    Powers are of `dtype`.
    """

    def __init__(self, shift: Array, dtype: np.dtype[Any]) -> None:
        columns = len(shift)
        self._shift, self._dtype = shift.astype(dtype), dtype
        self.sums = np.zeros((4, columns))
        self.low, self.high = np.full(columns, np.inf), np.full(columns, -np.inf)
        self.zeros, self.nan, self.infinite = (np.zeros(columns, np.int64) for _ in range(3))
        self._centred, self._powered = np.empty(0, dtype), np.empty(0, dtype)

    def add(self, tile: Tile) -> None:
        """Add a tile of the block."""
        at = tile.columns
        np.minimum(self.low[at], tile.low, out=self.low[at])
        np.maximum(self.high[at], tile.high, out=self.high[at])
        if tile.lowest <= 0 <= tile.highest:
            self.zeros[at] += tile.count(tile.values == 0)
        if tile.bad is not None and tile.infinite is not None:
            infinite = tile.count(tile.infinite)
            self.infinite[at] += infinite
            self.nan[at] += tile.count(tile.bad) - infinite
        self._powers(tile)

    def _powers(self, tile: Tile) -> None:
        """Add Σ(x − shift)ᵖ: a piece at a time, of a few rows in float32 and their sums in float64."""
        at, (rows, columns) = tile.columns, tile.values.shape
        if self._centred.size < rows * columns:
            self._centred, self._powered = (np.empty(rows * columns, self._dtype) for _ in range(2))
        centred = self._centred[: rows * columns].reshape(rows, columns)
        powered = self._powered[: rows * columns].reshape(rows, columns)
        if tile.values.dtype == self._dtype:
            np.subtract(tile.values, self._shift[at], out=centred)
        else:  # much quicker than to convert on the way
            np.copyto(centred, tile.values)
            centred -= self._shift[at]
        if tile.bad is not None:
            centred[tile.bad] = 0.0
        self.sums[0, at] += np.add.reduce(centred, axis=0)
        np.multiply(centred, centred, out=powered)
        self.sums[1, at] += np.add.reduce(powered, axis=0)
        centred *= powered
        self.sums[2, at] += np.add.reduce(centred, axis=0)
        powered *= powered
        self.sums[3, at] += np.add.reduce(powered, axis=0)
