"""The rows of a layer: which shard holds which, and how they are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actlens.errors import NotFound
from actlens.format.dtypes import DTYPES
from actlens.format.memory import room_for
from actlens.format.schema import ACT, LayerSpec
from actlens.shard_set import Rows, ShardSet
from actlens.table import printable


class Source(Protocol):
    """What a lazy array reads from: rows of layers, and columns beside them."""

    @property
    def where(self) -> object:
        """The path or address of the recording, for messages."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    @property
    def shards(self) -> ShardSet:
        """The shards that the rows lie in."""

    @property
    def rows_are(self) -> str:
        """What a row is: "samples", or the positions of an index, or averages over them."""

    def read(self, layer: LayerSpec, rows: Rows | range | None, *, scan: bool = False) -> npt.NDArray[Any]:
        """Read rows of a layer, in the order given; None for all."""

    def columns(self) -> tuple[str, ...]:
        """Name the columns."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column, all rows."""


class RowSource:
    """Rows as they were stored; or, along an index of ragged layers, their positions one after the other."""

    def __init__(self, shards: ShardSet, along: str = "") -> None:
        self.shards = shards
        self.rows_are = f"positions {along}" if along else "samples"
        self._starts = np.cumsum([0, *shards.counts(along)])

    @property
    def where(self) -> object:
        """The path or address of the recording, for messages."""
        return self.shards.place.at()

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self._starts[-1])

    def columns(self) -> tuple[str, ...]:
        """Name the columns."""
        return tuple(column.name for column in self.shards.schema.columns)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column, all rows."""
        return self.shards.column(name)

    def read(self, layer: LayerSpec, rows: Rows | range | None, *, scan: bool = False) -> npt.NDArray[Any]:
        """Read rows of a layer, in the order given; None for all. A new array, or a view with mmap."""
        if rows is None:
            return self._read_span(layer, 0, self.rows, scan=False)
        if isinstance(rows, range):
            if rows.step == 1:
                return self._read_span(layer, rows.start, rows.stop, scan=scan)
            rows = np.arange(rows.start, rows.stop, rows.step)
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self._read_span(layer, int(rows[0]), int(rows[-1]) + 1, scan=scan)
        return self._gather(layer, rows, scan=scan)

    def _read_span(self, layer: LayerSpec, first: int, last: int, *, scan: bool) -> npt.NDArray[Any]:
        name = ACT + layer.key
        numbers = self._shards_between(first, last)
        if len(numbers) == 1:
            start = int(self._starts[numbers[0]])
            mapped = self.shards.mapped(numbers[0], name, first - start, last - start, scan=scan)
            if mapped is not None:
                return mapped
        self._hold_to_files(numbers)
        out = room_for(self.where, (max(0, last - first), *layer.shape), DTYPES[layer.dtype])

        def fill(number: int) -> None:
            start, end = int(self._starts[number]), int(self._starts[number + 1])
            lo, hi = max(first, start), min(last, end)
            if lo < hi:
                into = out[lo - first : hi - first]
                self.shards.shard(number).read_into(name, lo - start, into, scan=scan)

        for _ in self.shards.place.map(fill, numbers):
            pass
        return out

    def _shards_between(self, first: int, last: int) -> range:
        if first >= last:
            return range(0)
        lo = int(np.searchsorted(self._starts, first, "right")) - 1
        return range(lo, int(np.searchsorted(self._starts, last, "left")))

    def _gather(self, layer: LayerSpec, rows: Rows, *, scan: bool) -> npt.NDArray[Any]:
        """Read single rows: in the order of the disk, each once, straight to where it is asked for."""
        unique, places, back = np.unique(rows, return_index=True, return_inverse=True)
        owners = np.searchsorted(self._starts, unique, "right") - 1
        borders = np.flatnonzero(np.diff(owners, prepend=-1, append=-1)).tolist()
        self._hold_to_files(int(owners[lo]) for lo in borders[:-1])
        out = room_for(self.where, (len(rows), *layer.shape), DTYPES[layer.dtype])

        def fill(span: tuple[int, int]) -> None:
            lo, hi = span
            local = unique[lo:hi] - self._starts[owners[lo]]
            shard = self.shards.shard(int(owners[lo]))
            shard.gather(ACT + layer.key, local, out, places[lo:hi], scan=scan)

        for _ in self.shards.place.map(fill, itertools.pairwise(borders)):
            pass
        again = np.flatnonzero(places[back] != np.arange(len(rows)))
        out[again] = out[places[back[again]]]
        return out

    def _hold_to_files(self, numbers: Iterable[int]) -> None:
        """Open shards before memory is taken for what the manifest says of them."""
        for _ in self.shards.place.map(self.shards.shard, numbers):
            pass


class Columns(Mapping[str, npt.NDArray[Any]]):
    """Column → values of the rows of one recording; read when first asked for."""

    def __init__(self, source: Source, rows: Rows | None) -> None:
        self._source = source
        self._rows = rows

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self:
            raise NotFound.column(name, self)
        values = self._source.column(name)
        return values if self._rows is None else values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.columns())

    def __len__(self) -> int:
        return len(self._source.columns())

    def __contains__(self, name: object) -> bool:
        return name in self._source.columns()

    def __repr__(self) -> str:
        return f"<columns {', '.join(map(printable, self))}>"
