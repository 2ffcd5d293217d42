"""What a batch looks like on the disk, and that all batches of a recording look alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from actlens.activations import Activations, describe
from actlens.errors import MaskError, RecordingError, RowsError
from actlens.format import dtypes
from actlens.format.header import MAX_HEADER, MAX_TENSORS
from actlens.format.schema import ACT, POSITION, SAMPLE, STRING, ColumnSpec, LayerSpec, Schema
from actlens.writing.columns import Column, spec_of
from actlens.writing.ragged import Valid
from actlens.writing.rows import Batch

_PER_NAME = 400  # bytes that a layer takes in a header beside its name: digest, dtype, shape, offsets, axes


def schema_of(acts: Mapping[str, Any], batch: Batch, valid: Valid, dtype: np.dtype[Any] | None) -> Schema:
    """Describe a batch: its layers as they will be stored, and its columns.

    Raises:
        RowsError: a dtype that cannot be stored; a column that ragged rows have of their own.
    """
    if valid.indices and {SAMPLE, POSITION} & set(batch.columns):
        raise MaskError.reserved_columns(sorted({SAMPLE, POSITION} & set(batch.columns)))
    layers = tuple(_layer_spec(acts, key, dtype, valid.indices.get(key, "")) for key in acts)
    columns = tuple(spec_of(name, column) for name, column in batch.columns.items())
    return Schema(layers=layers, columns=columns)


def _check_header(names: list[str]) -> None:
    """Refuse names that a header could not hold: each stands in it three times, escaped up to twice."""
    size = sum(_PER_NAME + 3 * len(json.dumps(json.dumps(name))) for name in names)
    if size > MAX_HEADER or len(names) > MAX_TENSORS // 4:
        raise RowsError.too_many_layers(len(names), size, MAX_HEADER)


def _layer_spec(acts: Mapping[str, Any], key: str, dtype: np.dtype[Any] | None, ragged: str) -> LayerSpec:
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
    if ragged and axes[1] == "axis1":
        axes = ("sample", "token", *axes[2:])
    return LayerSpec(
        key=key, dtype=code, shape=shape[2 if ragged else 1 :], axes=axes, type=kind, ragged=ragged
    )


def join_schemas(was: Schema | None, now: Schema, values: Mapping[str, Column]) -> None:
    """Refuse a batch that is not as the ones before; say in what. `values`: those of its columns.

    Raises:
        RecordingError: another set of layers or columns, or another shape or dtype of one.
    """
    if was is None:  # the first: from now on they are as many
        _check_header([layer.key for layer in now.layers] + [column.name for column in now.columns])
        return
    for kind, old, new in (
        ("layers", [layer.key for layer in was.layers], [layer.key for layer in now.layers]),
        ("columns", [column.name for column in was.columns], [column.name for column in now.columns]),
    ):
        if set(old) != set(new):
            raise RecordingError.schema_changed(f"the set of {kind}", _text(old), _text(new))
    layers = {layer.key: layer for layer in now.layers}
    for layer in was.layers:
        other = layers[layer.key]
        if layer.ragged != other.ragged:
            raise RecordingError.schema_changed(
                f"layer {layer.key!r}", _ragged_text(layer), _ragged_text(other)
            )
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
        if not _fits(columns[column.name], column, values[column.name]):
            raise RecordingError.schema_changed(
                f"column {column.name!r}", column.dtype, columns[column.name].dtype
            )


def _fits(now: ColumnSpec, was: ColumnSpec, values: Column) -> bool:
    if STRING in {now.dtype, was.dtype}:
        return now.dtype == was.dtype
    stored = dtypes.DTYPES[was.dtype]
    if not np.can_cast(dtypes.DTYPES[now.dtype], stored, "safe"):
        return False
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or stored.kind in "iu":
        return True
    exact = 1 << 53  # whole numbers up to it are floats; numpy calls all of them safe
    return not len(values) or -exact <= int(values.min()) <= int(values.max()) <= exact


def _ragged_text(layer: LayerSpec) -> str:
    if not layer.ragged:
        return "stored whole"
    return f"stored with a mask {'of its own' if layer.ragged.startswith(ACT) else 'that layers share'}"


def _text(names: Any) -> str:
    return f"({', '.join(names)})"


class Sizes:
    """How many bytes a row takes on the disk: of ragged rows, on average so far."""

    def __init__(self) -> None:
        self._bytes = self._rows = 0

    def count(self, schema: Schema, valid: Valid, rows: int, *, sign: int = 1) -> None:
        """Count rows in, or out again."""
        positions = {index: int(mask.sum()) for index, mask in valid.masks.items()}
        ragged = (positions[layer.ragged] * position_bytes(layer) for layer in schema.layers if layer.ragged)
        self._bytes += sign * (rows * row_bytes(schema) + sum(ragged))
        self._rows += sign * rows

    @property
    def per_row(self) -> int:
        """Bytes of one row; 0 before the first."""
        return -(-self._bytes // self._rows) if self._rows else 0


def position_bytes(layer: LayerSpec) -> int:
    """Bytes of one row of a layer; of one position of it, where it is ragged."""
    return math.prod(layer.shape) * dtypes.DTYPES[layer.dtype].itemsize


def row_bytes(schema: Schema) -> int:
    """Bytes of one row on the disk, without its positions; a text counts as 16, an offset as 8."""
    layers = sum(position_bytes(layer) for layer in schema.layers if not layer.ragged)
    return (
        layers
        + 8 * len(schema.indices)
        + sum(
            16 if column.dtype == STRING else dtypes.DTYPES[column.dtype].itemsize
            for column in schema.columns
        )
    )
