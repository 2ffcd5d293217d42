"""The positions of ragged rows as rows of their own, and their average over each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.format.dtypes import DTYPES
from actlens.format.schema import ID, POSITION, SAMPLE, LayerSpec
from actlens.row_source import RowSource
from actlens.shard_set import Rows, ShardSet

_BLOCK_BYTES = 32 << 20


class TokenSource(RowSource):
    """Every position is a row: its id is "sample:position", and the columns of its sample stand beside it."""

    def __init__(self, shards: ShardSet, along: str) -> None:
        super().__init__(shards, along)
        self._along = along

    def columns(self) -> tuple[str, ...]:
        """Name the columns: id, sample, position, and those of the samples."""
        return (ID, SAMPLE, POSITION, *(name for name in super().columns() if name != ID))

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column, one value for each position."""
        if name == POSITION:
            return self.shards.places(self._along)
        lengths = self.shards.lengths(self._along)
        if name != ID:
            return np.repeat(self.shards.column(ID if name == SAMPLE else name), lengths)
        samples = np.repeat(self.shards.column(ID).astype(str), lengths)
        return np.char.add(np.char.add(samples, ":"), self.shards.places(self._along).astype(str))


class PooledSource(RowSource):
    """Rows as they were stored, each averaged over its positions; NaN for a row that has none."""

    def __init__(self, shards: ShardSet, layer: LayerSpec) -> None:
        super().__init__(shards)
        self.rows_are = f"averages {layer.ragged}"
        self._layer = layer
        self._tokens = TokenSource(shards, layer.ragged)
        self._ends = np.concatenate([[0], np.cumsum(shards.lengths(layer.ragged))])

    def read(self, layer: LayerSpec, rows: Rows | range | None, *, scan: bool = False) -> npt.NDArray[Any]:
        """Read the positions of some rows and average them, a block of memory at a time."""
        layer = self._layer  # as stored, not as it is once averaged
        wanted = np.arange(self.rows) if rows is None else np.asarray(rows, dtype=np.int64)
        out = np.empty((len(wanted), *layer.shape), mean_dtype(DTYPES[layer.dtype]))
        size = max(1, int(np.prod(layer.shape, dtype=np.int64)) * DTYPES[layer.dtype].itemsize)
        at = 0
        while at < len(wanted):
            lengths = self._ends[wanted[at:] + 1] - self._ends[wanted[at:]]
            fit = int(np.searchsorted(np.cumsum(lengths) * size, _BLOCK_BYTES, "right"))
            some = wanted[at : at + max(1, fit)]
            out[at : at + len(some)] = self._averages(layer, some, scan=scan)
            at += len(some)
        return out

    def _averages(self, layer: LayerSpec, rows: Rows, *, scan: bool) -> npt.NDArray[Any]:
        lengths = self._ends[rows + 1] - self._ends[rows]
        values = self._tokens.read(layer, positions_of(self._ends, rows), scan=scan)
        dtype = mean_dtype(values.dtype)
        out = np.full((len(rows), *layer.shape), np.nan, dtype)
        some = np.flatnonzero(lengths)
        if len(some):
            starts = np.concatenate([[0], np.cumsum(lengths[some])[:-1]])
            wide = values.astype(np.complex128 if dtype.kind == "c" else np.float64)
            shape = (-1, *(1,) * len(layer.shape))
            out[some] = np.add.reduceat(wide, starts, axis=0) / lengths[some].reshape(shape)
        return out


def positions_of(ends: Rows, rows: Rows) -> Rows:
    """Give the numbers of all positions of some rows, in their order. `ends` is (all rows + 1,), from 0.

    >>> positions_of(np.array([0, 2, 2, 5]), np.array([2, 0]))
    array([2, 3, 4, 0, 1])
    """
    lengths = ends[rows + 1] - ends[rows]
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    numbers: Rows = np.repeat(ends[rows], lengths) + np.arange(int(lengths.sum())) - before
    return numbers


def mean_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype that holds an average: float32 for halves and small integers."""
    wide = dtype == np.float64 or dtype.kind == "c"
    if wide:
        return dtype
    return np.dtype(np.float64 if dtype.kind in "iu" and dtype.itemsize > 2 else np.float32)
