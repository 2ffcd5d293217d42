"""One shard: read and verified here.

What is checked when (docs/format.md, "What is checked"): the header always; a whole tensor against its
digest; of a part, the blocks that lie in it, and with "all" every block that it touches, read whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, UnsupportedFormat
from actlens.format import header, strict_json
from actlens.format.blob import Blob, LocalBlob, Span, read_spans
from actlens.format.digests import BLOCK, block_spans, block_sum, hex128, hex128_of
from actlens.format.memory import empty, room_for
from actlens.format.place import SHARDS
from actlens.format.schema import (
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
from actlens.format.tensors import check_tensors, position_count
from actlens.format.text import decode_text

Verify = Literal["stream", "all", "none"]
VERIFY: tuple[Verify, ...] = ("stream", "all", "none")

# What the metadata may cost once parsed (strict_json.cost): a shard of this version stays under the half.
_COST, _COST_PER_TENSOR = 4 << 20, 8 << 10
_SPAN = 8 << 20  # bytes; rows that are picked out of what is read together lie in one such stretch


class Shard:
    """A committed shard, its header parsed and checked; data is read on demand."""

    def __init__(self, source: Path | Blob, *, verify: Verify = "stream") -> None:
        self._blob: Blob = LocalBlob(source) if isinstance(source, Path) else source
        self._verify = verify
        self.path = self._blob.where
        self.size, first = self._blob.head()
        self._start = header.header_length(first[:8], self.size, self.path)
        raw = first[: self._start] if len(first) >= self._start else self._whole_header(first)
        self.digest, text, self.tensors = header.parse(raw, self.size, self.path)
        self.meta = _meta(text, self.path, _COST + _COST_PER_TENSOR * len(self.tensors))
        if set(self.meta.digests) != set(self.tensors):
            raise CorruptRecording.shard(self.path, "its digests do not name its tensors")
        check_tensors(self.meta, self.tensors, self.path)

    def _whole_header(self, first: bytes) -> bytes:
        rest = bytearray(self._start - len(first))
        read_spans(self._blob, [(len(first), memoryview(rest))])
        return b"".join((first, rest))

    @property
    def name(self) -> str:
        """The path that the shard must have in its recording."""
        return f"{SHARDS}/{self.meta.writer}/{shard_name(self.meta.seq)}"

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(column.name for column in self.meta.schema.columns if column.dtype == STRING)

    @property
    def header_bytes(self) -> int:
        """Bytes before the data."""
        return self._start

    def positions(self, index: str) -> int:
        """Give how many positions its rows have along an index; the rows themselves where it is ''."""
        return position_count(self.meta, self.tensors, index)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Read a whole tensor into a new array."""
        tensor = self.tensors[name]
        out = room_for(self.path, tensor.shape, tensor.dtype)
        self.read_into(name, 0, out)
        return out

    def read_into(self, name: str, first: int, out: npt.NDArray[Any], *, scan: bool = False) -> None:
        """Read rows from `first` on into `out`, a C-contiguous array of the tensor's dtype.

        `scan` says that the read is a part of a pass over the whole tensor: edges are then checked too.
        """
        tensor = self.tensors[name]
        view = out.reshape(-1).view(np.uint8).data
        begin = tensor.begin + first * tensor.row_bytes
        self._fill(tensor, begin, view, edges=scan or self._verify == "all")

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column: (rows,) values, text decoded."""
        values = self.read(COL + name)
        if name not in self._texts:
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
        self,
        name: str,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: npt.NDArray[np.int64],
        *,
        scan: bool = False,
    ) -> None:
        """Read single rows, given in ascending order, into `out[places]`; neighbours are one run."""
        tensor = self.tensors[name]
        if self._verify != "none" and (scan or self._verify == "all"):
            self._gather_checked(tensor, rows, out, places)
            return
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        lengths = np.diff(starts, append=len(rows))
        loose = ~self._checkable(tensor, rows[starts], lengths)
        single = np.repeat(loose, lengths)
        self._read_rows(tensor, rows[single], out, places[single])
        for start, length in zip(starts[~loose].tolist(), lengths[~loose].tolist(), strict=True):
            spots = places[start : start + length]
            if (np.diff(spots) == 1).all():
                self.read_into(name, int(rows[start]), out[spots[0] : spots[-1] + 1])
            else:
                part = empty((length, *tensor.shape[1:]), tensor.dtype)
                self.read_into(name, int(rows[start]), part)
                out[spots] = part

    def _gather_checked(
        self,
        tensor: header.Tensor,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Read rows with all that is between them, where that is less than a block: each is checked once."""
        size = max(1, tensor.row_bytes)
        far = (np.diff(rows) - 1) * size >= BLOCK
        far |= np.diff(rows * size // _SPAN) != 0
        for some in np.split(np.arange(len(rows)), np.flatnonzero(far) + 1):
            if len(some):
                first, last = int(rows[some[0]]), int(rows[some[-1]]) + 1
                part = empty((last - first, *tensor.shape[1:]), tensor.dtype)
                self.read_into(tensor.name, first, part, scan=True)
                out[places[some]] = part[rows[some] - first]

    def _checkable(
        self, tensor: header.Tensor, first: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Say of runs of rows whether a digest covers a part of them; in most single rows no block lies."""
        if self._verify == "none":
            return np.zeros(len(first), bool)
        ends = (first + lengths) * tensor.row_bytes + tensor.begin
        short = self.tensors[BLOCKS].begin
        checkable: npt.NDArray[np.bool_] = lengths * tensor.row_bytes >= BLOCK
        checkable |= (lengths == tensor.shape[0]) | (ends == short)
        return checkable

    def _read_rows(
        self,
        tensor: header.Tensor,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Read rows one by one, unchecked: the loop does no more than it must."""
        size = tensor.row_bytes
        view = out.reshape(-1).view(np.uint8).data
        begins = (self._start + tensor.begin + rows * size).tolist()
        spans = (
            (begin, view[to : to + size]) for begin, to in zip(begins, (places * size).tolist(), strict=True)
        )
        if len(rows) and size:
            read_spans(self._blob, spans)

    def map(self, name: str, first: int, last: int, *, scan: bool = False) -> npt.NDArray[Any] | None:
        """Give rows [first, last) as a view of the mapped file, verified like a read; None if it cannot."""
        tensor = self.tensors[name]
        if tensor.begin == tensor.end:
            return np.empty((last - first, *tensor.shape[1:]), dtype=tensor.dtype)
        mapped = self._blob.map(self._start + tensor.begin, tensor.end - tensor.begin)
        if mapped is None:
            return None
        begin, end = first * tensor.row_bytes, last * tensor.row_bytes
        part = mapped[begin:end]
        if self._verify != "none":
            pieces = self._pieces(tensor.begin + begin, part.data)
            self._check(tensor, tensor.begin + begin, part.data, pieces, edges=scan or self._verify == "all")
        return np.asarray(part).view(tensor.dtype).reshape(last - first, *tensor.shape[1:])

    def _fill(self, tensor: header.Tensor, begin: int, view: memoryview, *, edges: bool) -> None:
        """Read what begins at `begin` in the data, and check it block by block as it comes."""
        if self._verify == "none":
            read_spans(self._blob, [(self._start + begin, view)] if len(view) else [])
        else:
            self._check(tensor, begin, view, self._blob.fill(self._pieces(begin, view)), edges=edges)

    def _pieces(self, begin: int, view: memoryview) -> Iterator[Span]:
        """Cut memory at the borders of blocks; offsets are those in the file."""
        for _, lo, hi in block_spans(begin, begin + len(view)):
            yield self._start + lo, view[lo - begin : hi - begin]

    def _check(
        self, tensor: header.Tensor, begin: int, view: memoryview, pieces: Iterable[Span], *, edges: bool
    ) -> None:
        """Compare pieces with the digests that cover them, each as soon as it is there."""
        if (begin, begin + len(view)) == (tensor.begin, tensor.end):
            if hex128_of(piece for _, piece in pieces) != self.meta.digests[tensor.name]:
                raise CorruptRecording.shard(
                    self.path, f"the data of {tensor.name!r} does not match its digest"
                )
            return
        payload = self.tensors[BLOCKS].begin
        for offset, piece in pieces:
            at = offset - self._start
            first = at // BLOCK * BLOCK
            before, after = at - first, min(payload, first + BLOCK) - (at + len(piece))
            if before == after == 0:
                self._check_block(at // BLOCK, tensor, piece)
            elif edges:
                rest = self._rest(first, before), self._rest(at + len(piece), after)
                self._check_block(at // BLOCK, tensor, rest[0], piece, rest[1])

    def _rest(self, begin: int, size: int) -> memoryview:
        """Read the part of a block that only its check needs."""
        view = empty((size,), np.dtype(np.uint8)).data
        read_spans(self._blob, [(self._start + begin, view)] if size else [])
        return view

    def _check_block(self, block: int, tensor: header.Tensor, *parts: memoryview) -> None:
        if block_sum(*parts) != int(self._sums[block]):
            raise CorruptRecording.shard(
                self.path, f"the data of {tensor.name!r} does not match its digest (block {block} of 1 MiB)"
            )

    @cached_property
    def _sums(self) -> npt.NDArray[np.uint64]:
        sums = self.read(BLOCKS)
        if hex128(sums.view(np.uint8).data) != self.meta.digests[BLOCKS]:
            raise CorruptRecording.shard(self.path, "its block sums do not match their digest")
        return sums


def _meta(text: str, path: object, budget: int) -> ShardMeta:
    try:
        strict_json.check(text.encode(), budget)
        version = msgspec.json.decode(text, type=_Version)
        check_version(path, version.version, version.requires)
        return msgspec.json.decode(text, type=ShardMeta)
    except (msgspec.MsgspecError, strict_json.Invalid) as error:
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
