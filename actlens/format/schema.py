"""What a recording holds, as data: the part of the format that shards and the manifest share.

These structs are the JSON of docs/format.md, field for field. Reading is typed: a wrong type, NaN or an
out-of-range number is an error of msgspec, which the callers turn into CorruptRecording.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from actlens.format.dtypes import DTYPES

VERSION = (1, 1)
RAGGED = "ragged"
KNOWN_REQUIREMENTS: frozenset[str] = frozenset({RAGGED})
STRING = "STRING"
"""The dtype of a text column: UTF-8 bytes in `col:<name>`, int64 offsets in `idx:col:<name>`."""

ACT, COL, IDX, POS, BLOCKS = "act:", "col:", "idx:", "pos:", "sum:blocks"
SHARED = "token"
"""The index of layers that share one mask; a layer with a mask of its own has the index `act:<its key>`."""

ID = "id"
STEP = "step"
SAMPLE, POSITION = "sample", "position"
"""The columns that the positions of ragged rows have of their own."""


Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class LayerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: its key, and one row of it.

    `shape` is that of one row; `axes` names every axis, the row ('sample') first. A ragged layer has a number
    of positions that differs from row to row along its second axis: `ragged` names the index that says how
    many, and `shape` is that of one position.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    type: str = ""
    ragged: str = ""


class ColumnSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One column: a value a row. `dtype` is a safetensors code or STRING."""

    name: str
    dtype: str


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """All layers and columns, in order."""

    layers: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...]

    @property
    def indices(self) -> tuple[str, ...]:
        """The indices of the ragged layers, each once."""
        return tuple(dict.fromkeys(layer.ragged for layer in self.layers if layer.ragged))


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers come from: the program, the framework, the model, the choice of samples."""

    created: str
    actlens: str
    python: str
    platform: str
    framework: str | None = None
    framework_version: str | None = None
    model: str | None = None
    weights: str | None = None
    """A digest of a part of the model's parameters, where one model made all rows."""
    layers: dict[str, str | None] | None = None
    ids: str = "given"
    """"given", "numbered" where they were counted, "unknown" before the first row."""
    sample: str = "1.0"
    seed: int = 0
    dtype: str | None = None
    ranks: int = 1
    """How many processes write the recording."""


class ShardMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard says of itself, enough to rebuild the manifest from shards alone."""

    version: tuple[int, int]
    recording: str
    rank: Count
    attempt: str
    seq: Count
    rows: Count
    last: bool
    prev: str
    """The header digest of the shard before it from the same writer; '' for the first."""
    digests: dict[str, str]
    """Tensor name → xxh3-128 of its bytes, as 32 hex digits."""
    schema: Schema
    origin: Origin
    requires: tuple[str, ...] = ()

    @property
    def writer(self) -> str:
        """The name of the writer's folder."""
        return writer_name(self.rank, self.attempt)


MAX_NAME = 900
"""Bytes of a layer's key or a column's name."""

_MAX_SIZE = 1 << 48
_MAX_NDIM = 32


def check_schema(schema: Schema) -> None:
    """Hold a schema from a file to docs/format.md, 3.5 and 3.6.

    Raises:
        ValueError: what is wrong.
    """
    _check_names("layer", [layer.key for layer in schema.layers])
    _check_names("column", [column.name for column in schema.columns])
    for layer in schema.layers:
        _check_layer(layer)
    for column in schema.columns:
        if column.dtype != STRING and column.dtype not in DTYPES:
            raise ValueError(f"column {column.name!r} has the unknown dtype {column.dtype!r}")
    ids = [column.dtype for column in schema.columns if column.name == ID]
    if ids not in (["I64"], [STRING]):
        raise ValueError("its schema has no column 'id' of integers or text")


def _check_names(what: str, names: Sequence[str]) -> None:
    for name in names:
        if not 0 < len(name.encode()) <= MAX_NAME or "\0" in name:
            raise ValueError(f"a {what} has a name that is empty, too long or holds NUL")
    if len(set(names)) != len(names):
        raise ValueError(f"its schema has a {what} twice")


def _check_layer(layer: LayerSpec) -> None:
    if layer.dtype not in DTYPES:
        raise ValueError(f"layer {layer.key!r} has the unknown dtype {layer.dtype!r}")
    sizes = [size for size in layer.shape if size]
    possible = len(layer.shape) < _MAX_NDIM and all(0 < size <= _MAX_SIZE for size in sizes)
    if not possible or math.prod(sizes) > _MAX_SIZE:
        raise ValueError(f"layer {layer.key!r} has an impossible shape")
    if len(layer.axes) != len(layer.shape) + (2 if layer.ragged else 1) or layer.axes[0] != "sample":
        raise ValueError(f"layer {layer.key!r} has axes that do not fit its shape")
    if layer.ragged not in {"", SHARED, ACT + layer.key}:
        raise ValueError(f"layer {layer.key!r} has an index that is neither shared nor its own")


def writer_name(rank: int, attempt: str) -> str:
    """Name the folder of one writer.

    >>> writer_name(3, "019aa0c0b1f2-8d5e21aa")
    '00003-019aa0c0b1f2-8d5e21aa'
    """
    return f"{rank:05d}-{attempt}"


def shard_name(seq: int) -> str:
    """Name the file of a shard.

    >>> shard_name(17)
    '00000017.safetensors'
    """
    return f"{seq:08d}.safetensors"
