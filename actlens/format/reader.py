"""One shard: read and verified here.

What is checked when (docs/format.md, "What is checked"): the header always; a whole tensor against its
digest; of a part, the blocks that lie in it, and with "all" every block that it touches, read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, UnsupportedFormat
from actlens.format import header
from actlens.format.blob import Blob, LocalBlob, Span
from actlens.format.digests import BLOCK, block_count, block_spans, block_sum, hex128
from actlens.format.place import SHARDS
from actlens.format.schema import (
    ACT,
    BLOCKS,
    COL,
    IDX,
    KNOWN_REQUIREMENTS,
    POS,
    STRING,
    VERSION,
    ShardMeta,
    shard_name,
)
from actlens.format.text import decode_text

Verify = Literal["stream", "all", "none"]
VERIFY: tuple[Verify, ...] = ("stream", "all", "none")


class Shard:
    """A committed shard, its header parsed and checked; data is read on demand."""

    def __init__(self, source: Path | Blob, *, verify: Verify = "stream") -> None:
        self._blob: Blob = LocalBlob(source) if isinstance(source, Path) else source
        self._verify = verify
        self.path = self._blob.where
        self.size, first = self._blob.head()
        self._start = header.header_length(first[:8], self.size, self.path)
        raw = bytearray(self._start)
        raw[: len(first)] = first[: self._start]
        if len(first) < self._start:
            self._blob.read([(len(first), memoryview(raw)[len(first) :])])
        self.digest, text, self.tensors = header.parse(bytes(raw), self.size, self.path)
        self.meta = _meta(text, self.path)
        if set(self.meta.digests) != set(self.tensors):
            raise CorruptRecording.shard(self.path, "its digests do not name its tensors")
        self._check_schema()

    @property
    def name(self) -> str:
        """The path that the shard must have in its recording."""
        return f"{SHARDS}/{self.meta.writer}/{shard_name(self.meta.seq)}"

    def _check_schema(self) -> None:
        """Hold the tensors to the schema that the shard carries."""
        rows, schema = self.meta.rows, self.meta.schema
        wanted: dict[str, tuple[str, tuple[int, ...]]] = {
            ACT + layer.key: (layer.dtype, (self.positions(layer.ragged), *layer.shape))
            for layer in schema.layers
        }
        for index in schema.indices:
            wanted[IDX + index] = ("I64", (rows + 1,))
            if POS + index in self.tensors:
                wanted[POS + index] = ("I64", (self.positions(index),))
        for column in schema.columns:
            if column.dtype == STRING:
                wanted[IDX + COL + column.name] = ("I64", (rows + 1,))
            else:
                wanted[COL + column.name] = (column.dtype, (rows,))
        for name, (code, shape) in wanted.items():
            tensor = self.tensors.get(name)
            if tensor is None or (tensor.code, tensor.shape) != (code, shape):
                raise CorruptRecording.shard(self.path, f"{name!r} is not as its schema says")

    def positions(self, index: str) -> int:
        """Give how many positions its rows have along an index; the rows themselves where it is ''."""
        if not index:
            return self.meta.rows
        layer = next(layer for layer in self.meta.schema.layers if layer.ragged == index)
        tensor = self.tensors.get(ACT + layer.key)
        return tensor.shape[0] if tensor is not None and tensor.shape else 0

    def read(self, name: str) -> npt.NDArray[Any]:
        """Read a whole tensor into a new array."""
        tensor = self.tensors[name]
        out = np.empty(tensor.shape, dtype=tensor.dtype)
        self.read_into(name, 0, out)
        return out

    def read_into(self, name: str, first: int, out: npt.NDArray[Any], *, scan: bool = False) -> None:
        """Read rows from `first` on into `out`, a C-contiguous array of the tensor's dtype.

        `scan` says that the read is a part of a pass over the whole tensor: edges are then checked too.
        """
        tensor = self.tensors[name]
        view = out.reshape(-1).view(np.uint8).data
        self._fill(tensor, [(tensor.begin + first * tensor.row_bytes, view)], scan=scan)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column: (rows,) values, text decoded."""
        values = self.read(COL + name)
        if IDX + COL + name not in self.tensors:
            return values
        try:
            return decode_text(values, self.read(IDX + COL + name))
        except ValueError as error:
            raise CorruptRecording.shard(self.path, f"column {name!r}: {error}") from error

    def offsets(self, index: str) -> npt.NDArray[np.int64]:
        """Read where each row's positions begin and end: (rows + 1,)."""
        offsets = self.read(IDX + index)
        if offsets[0] != 0 or offsets[-1] != self.positions(index) or (np.diff(offsets) < 0).any():
            raise CorruptRecording.shard(self.path, f"the offsets of {index!r} do not fit its data")
        return offsets

    def places(self, index: str) -> npt.NDArray[np.int64]:
        """Read where each position was in its row as it was written: (positions,)."""
        if POS + index in self.tensors:
            return self.read(POS + index)
        offsets = self.offsets(index)
        return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))

    def gather(
        self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any], *, scan: bool = False
    ) -> None:
        """Read single rows, given in ascending order, into `out`; neighbours in one read."""
        if not len(rows):
            return
        tensor = self.tensors[name]
        view = out.reshape(-1).view(np.uint8).data
        size = tensor.row_bytes
        first = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1])
        begins = (tensor.begin + rows[first] * size).tolist()
        edges = [*(first * size).tolist(), len(view)]
        spans = [(begin, view[lo:hi]) for begin, lo, hi in zip(begins, edges[:-1], edges[1:], strict=True)]
        self._fill(tensor, spans, scan=scan)

    def map(self, file: Path, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """Give rows [first, last) as a read-only view of the mapped file; verified like a read."""
        tensor = self.tensors[name]
        if tensor.begin == tensor.end:
            return np.empty((last - first, *tensor.shape[1:]), dtype=tensor.dtype)
        mapped = np.memmap(file, np.uint8, "r", self._start + tensor.begin, (tensor.end - tensor.begin,))
        begin, end = first * tensor.row_bytes, last * tensor.row_bytes
        part = mapped[begin:end]
        self._check(tensor, tensor.begin + begin, part.data, edges=self._verify == "all")
        return np.asarray(part).view(tensor.dtype).reshape(last - first, *tensor.shape[1:])

    def _fill(self, tensor: header.Tensor, spans: Sequence[Span], *, scan: bool) -> None:
        """Read spans, whose offsets count from the start of the data, and check them."""
        self._blob.read([(self._start + begin, view) for begin, view in spans if len(view)])
        if self._verify == "none":
            return
        edges = scan or self._verify == "all"
        end = self.tensors[BLOCKS].begin if BLOCKS in self.tensors else 0
        for begin, view in spans:  # of most single rows nothing can be checked: no block lies in them
            whole = len(view) == tensor.end - tensor.begin
            if edges or whole or len(view) >= BLOCK or begin + len(view) == end:
                self._check(tensor, begin, view, edges=edges)

    def _check(self, tensor: header.Tensor, begin: int, view: memoryview, *, edges: bool) -> None:
        """Compare what was read with the digests that cover it."""
        if self._verify == "none" or not len(view):
            return
        end = begin + len(view)
        if (begin, end) == (tensor.begin, tensor.end):
            if hex128(view) != self.meta.digests[tensor.name]:
                raise CorruptRecording.shard(
                    self.path, f"the data of {tensor.name!r} does not match its digest"
                )
            return
        payload = self.tensors[BLOCKS].begin
        for block, lo, hi in block_spans(begin, end):
            whole_lo, whole_hi = block * BLOCK, min(payload, (block + 1) * BLOCK)
            if (lo, hi) == (whole_lo, whole_hi):
                self._check_block(block, view[lo - begin : hi - begin], tensor)
            elif edges:
                content = memoryview(bytearray(whole_hi - whole_lo))
                self._blob.read([(self._start + whole_lo, content)])
                content[lo - whole_lo : hi - whole_lo] = view[lo - begin : hi - begin]
                self._check_block(block, content, tensor)

    def _check_block(self, block: int, content: memoryview, tensor: header.Tensor) -> None:
        if block_sum(content) != int(self._sums[block]):
            raise CorruptRecording.shard(
                self.path, f"the data of {tensor.name!r} does not match its digest (block {block} of 1 MiB)"
            )

    @cached_property
    def _sums(self) -> npt.NDArray[np.uint64]:
        tensor = self.tensors[BLOCKS]
        if tensor.code != "U64" or tensor.shape != (block_count(tensor.begin),):
            raise CorruptRecording.shard(self.path, "its block sums do not cover its data")
        sums = self.read(BLOCKS)
        if hex128(sums.view(np.uint8).data) != self.meta.digests[BLOCKS]:
            raise CorruptRecording.shard(self.path, "its block sums do not match their digest")
        return sums


def _meta(text: str, path: object) -> ShardMeta:
    try:
        version = msgspec.json.decode(text, type=_Version)
        check_version(path, version.version, version.requires)
        return msgspec.json.decode(text, type=ShardMeta)
    except (msgspec.MsgspecError, TypeError) as error:
        raise CorruptRecording.shard(path, f"its metadata breaks the format: {error}") from error


class _Version(msgspec.Struct):
    version: tuple[int, int]
    requires: tuple[str, ...] = ()


def check_version(path: object, version: tuple[int, int], requires: tuple[str, ...]) -> None:
    """Refuse a major version or a feature that this program does not know."""
    if version[0] != VERSION[0]:
        raise UnsupportedFormat.version(path, ".".join(map(str, version)), f"{VERSION[0]}.x")
    unknown = sorted(set(requires) - KNOWN_REQUIREMENTS)
    if unknown:
        raise UnsupportedFormat.requires(path, unknown)
