"""Rows that wait to become a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.format import dtypes
from actlens.format.schema import ACT, COL, IDX, POS, STRING, Schema
from actlens.format.text import encode_text
from actlens.writing.columns import Column
from actlens.writing.host import Arrays
from actlens.writing.ragged import Valid
from actlens.writing.schemas import position_bytes, row_bytes

Tensors = dict[str, list[npt.NDArray[Any]]]

_MERGE = 1 << 20


class ShardBuffer:
    """Collects rows until they fill a shard. Batches are kept as they are, not copied together."""

    def __init__(self, schema: Schema, shard_bytes: int) -> None:
        self._schema = schema
        self._limit = shard_bytes
        self._clear()

    def _clear(self) -> None:
        self._rows = self._bytes = 0
        names = [ACT + layer.key for layer in self._schema.layers]
        names += [COL + column.name for column in self._schema.columns]
        names += [kind + index for index in self._schema.indices for kind in (IDX, POS)]
        self._chunks: dict[str, _Chunks] = {name: _Chunks() for name in names}

    def add(
        self, arrays: Arrays, columns: Mapping[str, Column], valid: Valid
    ) -> Iterator[tuple[Tensors, int]]:
        """Add rows; give every shard that is full by now.

        `arrays` are rows, or of ragged layers the positions that count, those that `valid` names for these
        rows.
        """
        rows = len(next(iter(columns.values())))
        parts = {COL + name: column for name, column in columns.items()}
        parts |= {ACT + key: array for key, array in arrays.items()}
        ends: dict[str, npt.NDArray[np.int64]] = {}
        for index, mask in valid.masks.items():
            lengths = mask.sum(axis=1, dtype=np.int64)
            ends[index] = np.concatenate([[0], np.cumsum(lengths)])
            parts |= {IDX + index: lengths, POS + index: np.nonzero(mask)[1]}
        size = self._row_sizes(rows, ends)
        at = 0
        while at < rows:
            count = self._fitting(size, at)
            for name, array in parts.items():
                index = self._index_of(name)
                first, last = (at, at + count) if not index else ends[index][[at, at + count]].tolist()
                self._chunks[name].append(array[first:last])
            self._rows += count
            self._bytes += int(size[at + count] - size[at])
            at += count
            if at < rows or self._bytes + row_bytes(self._schema) > self._limit:
                yield self.take()

    def _fitting(self, size: npt.NDArray[np.int64], at: int) -> int:
        """Say how many rows from `at` on the shard still takes: one at least, where it is empty."""
        room = self._limit - self._bytes + int(size[at])
        fit = int(np.searchsorted(size, room, "right")) - 1 - at
        return max(fit, 0 if self._rows else 1)

    def _row_sizes(self, rows: int, ends: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        """Give the bytes of the rows before each row: (rows + 1,)."""
        size = np.arange(rows + 1) * row_bytes(self._schema)
        for layer in self._schema.layers:
            if layer.ragged:
                size = size + ends[layer.ragged] * position_bytes(layer)
        return size

    def _index_of(self, name: str) -> str:
        """Give the index that a tensor's rows are positions of, '' for rows."""
        if name.startswith(POS):
            return name.removeprefix(POS)
        return self._ragged.get(name, "")

    @cached_property
    def _ragged(self) -> dict[str, str]:
        return {ACT + layer.key: layer.ragged for layer in self._schema.layers if layer.ragged}

    def take(self) -> tuple[Tensors, int]:
        """Give what is there as the tensors of a shard, and start anew."""
        rows = self._rows
        tensors: Tensors = {}
        for layer in self._schema.layers:
            empty = np.empty((0, *layer.shape), dtypes.DTYPES[layer.dtype])
            tensors[ACT + layer.key] = self._chunks[ACT + layer.key].all() or [empty]
        for index in self._schema.indices:
            tensors |= _offsets(index, self._chunks[IDX + index].all(), self._chunks[POS + index].all())
        for column in self._schema.columns:
            name = COL + column.name
            if column.dtype == STRING:
                raw, offsets = encode_text(self._chunks[name].all())
                tensors[name], tensors[IDX + name] = [raw], [offsets]
            else:
                dtype = dtypes.DTYPES[column.dtype]
                parts = [part.astype(dtype, copy=False) for part in self._chunks[name].all()]
                tensors[name] = parts or [np.empty(0, dtype)]
        self._clear()
        return tensors, rows


def _offsets(index: str, lengths: list[npt.NDArray[Any]], places: list[npt.NDArray[Any]]) -> Tensors:
    """Give the offsets of ragged rows; and where each position was, unless it was 0, 1, 2 … in every row."""
    counts = np.concatenate([np.empty(0, np.int64), *lengths])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    where = np.concatenate([np.empty(0, np.int64), *places])
    counted = np.arange(len(where)) - np.repeat(offsets[:-1], counts)
    return {IDX + index: [offsets]} | ({} if (where == counted).all() else {POS + index: [where]})


class _Chunks:
    """Arrays to be stacked; small ones are merged, so that a million rows are not a million objects."""

    def __init__(self) -> None:
        self._large: list[npt.NDArray[Any]] = []
        self._small: list[npt.NDArray[Any]] = []
        self._small_bytes = 0

    def append(self, array: npt.NDArray[Any]) -> None:
        self._small.append(array)
        self._small_bytes += array.nbytes
        if self._small_bytes >= _MERGE:
            self._merge()

    def _merge(self) -> None:
        if self._small:
            self._large.append(self._small[0] if len(self._small) == 1 else np.concatenate(self._small))
        self._small, self._small_bytes = [], 0

    def all(self) -> list[npt.NDArray[Any]]:
        self._merge()
        return self._large
