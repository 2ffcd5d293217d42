"""Rows that wait to become a shard, and the schema that they must keep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.activations import Activations, describe
from actlens.errors import RecordingError, RowsError
from actlens.format import dtypes
from actlens.format.schema import ACT, COL, IDX, STRING, ColumnSpec, LayerSpec, Schema
from actlens.format.text import encode_text
from actlens.writing.columns import Column, spec_of
from actlens.writing.rows import Batch

Tensors = dict[str, list[npt.NDArray[Any]]]

_MERGE = 1 << 20


def schema_of(acts: Mapping[str, Any], batch: Batch, dtype: np.dtype[Any] | None) -> Schema:
    """Describe a batch: its layers as they will be stored, and its columns."""
    layers = tuple(_layer_spec(acts, key, dtype) for key in acts)
    columns = tuple(spec_of(name, column) for name, column in batch.columns.items())
    return Schema(layers=layers, columns=columns)


def _layer_spec(acts: Mapping[str, Any], key: str, dtype: np.dtype[Any] | None) -> LayerSpec:
    shape, name = describe(acts[key])
    stored = dtypes.named(name)
    if stored is None:
        raise RowsError.bad_dtype(key, name, dtypes.names())
    if dtype is not None and dtypes.is_floating(stored):
        stored = dtype
    code = dtypes.code_of(stored)
    assert code is not None  # noqa: S101 - named() gives storable dtypes only
    axes, kind = None, ""
    if isinstance(acts, Activations):
        axes = acts.axes.get(key)
        kind = acts.report.layers[key].type if acts.report and key in acts.report.layers else ""
    if axes is None or len(axes) != len(shape):
        axes = ("sample", *(f"axis{i}" for i in range(1, len(shape))))
    return LayerSpec(key=key, dtype=code, shape=shape[1:], axes=axes, type=kind)


def join_schemas(was: Schema, now: Schema) -> None:
    """Refuse a batch that is not as the ones before; say in what.

    Raises:
        RecordingError: another set of layers or columns, or another shape or dtype of one.
    """
    for kind, old, new in (
        ("layers", [layer.key for layer in was.layers], [layer.key for layer in now.layers]),
        ("columns", [column.name for column in was.columns], [column.name for column in now.columns]),
    ):
        if set(old) != set(new):
            raise RecordingError.schema_changed(f"the set of {kind}", _text(old), _text(new))
    layers = {layer.key: layer for layer in now.layers}
    for layer in was.layers:
        other = layers[layer.key]
        if (layer.shape, layer.dtype) != (other.shape, other.dtype):
            raise RecordingError.schema_changed(
                f"a row of layer {layer.key!r}",
                f"{layer.dtype} of shape {layer.shape}",
                f"{other.dtype} of shape {other.shape}",
            )
        if layer.axes != other.axes:
            raise RecordingError.schema_changed(
                f"the axes of layer {layer.key!r}", _text(layer.axes), _text(other.axes)
            )
    columns = {column.name: column for column in now.columns}
    for column in was.columns:
        if not _fits(columns[column.name], column):
            raise RecordingError.schema_changed(
                f"column {column.name!r}", column.dtype, columns[column.name].dtype
            )


def _fits(now: ColumnSpec, was: ColumnSpec) -> bool:
    if STRING in {now.dtype, was.dtype}:
        return now.dtype == was.dtype
    return np.can_cast(dtypes.DTYPES[now.dtype], dtypes.DTYPES[was.dtype], "safe")


def _text(names: Any) -> str:
    return f"({', '.join(names)})"


class ShardBuffer:
    """Collects rows until they fill a shard. Batches are kept as they are, not copied together."""

    def __init__(self, schema: Schema, shard_bytes: int) -> None:
        self._schema = schema
        self._capacity = max(1, shard_bytes // max(1, row_bytes(schema)))
        self._clear()

    def _clear(self) -> None:
        self._rows = 0
        self._chunks: dict[str, _Chunks] = {
            **{ACT + layer.key: _Chunks() for layer in self._schema.layers},
            **{COL + column.name: _Chunks() for column in self._schema.columns},
        }

    def add(
        self, layers: Mapping[str, npt.NDArray[Any]], columns: Mapping[str, Column], rows: int
    ) -> Iterator[tuple[Tensors, int]]:
        """Add rows; give every shard that is full by now."""
        arrays = {ACT + key: array for key, array in layers.items()}
        arrays |= {COL + name: column for name, column in columns.items()}
        at = 0
        while at < rows:
            count = min(rows - at, self._capacity - self._rows)
            for name, array in arrays.items():
                self._chunks[name].append(array[at : at + count])
            self._rows += count
            at += count
            if self._rows == self._capacity:
                yield self.take()

    def take(self) -> tuple[Tensors, int]:
        """Give what is there as the tensors of a shard, and start anew."""
        rows = self._rows
        tensors: Tensors = {}
        for layer in self._schema.layers:
            empty = np.empty((0, *layer.shape), dtypes.DTYPES[layer.dtype])
            tensors[ACT + layer.key] = self._chunks[ACT + layer.key].all() or [empty]
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


def row_bytes(schema: Schema) -> int:
    """Bytes of one row on the disk; a text counts as 16."""
    layers = sum(math.prod(layer.shape) * dtypes.DTYPES[layer.dtype].itemsize for layer in schema.layers)
    return layers + sum(
        16 if column.dtype == STRING else dtypes.DTYPES[column.dtype].itemsize for column in schema.columns
    )
