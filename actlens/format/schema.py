"""What a recording holds, as data: the part of the format that shards and the manifest share.

These structs are the JSON of docs/format.md, field for field. Reading is typed: a wrong type, NaN or an
out-of-range number is an error of msgspec, which the callers turn into CorruptRecording.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

VERSION = (1, 1)
RAGGED = "ragged"
KNOWN_REQUIREMENTS: frozenset[str] = frozenset({RAGGED})
STRING = "STRING"
"""The dtype of a text column: UTF-8 bytes in `col:<name>`, int64 offsets in `idx:col:<name>`."""

ACT, COL, IDX, POS, BLOCKS = "act:", "col:", "idx:", "pos:", "sum:blocks"
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
