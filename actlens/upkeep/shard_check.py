"""One shard, read from end to end a block of 1 MiB at a time, and all that is wrong with it."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.errors import ActlensError, CorruptRecording, ReadFailed, UnsupportedFormat, what_was_seen
from actlens.format import header
from actlens.format.blob import Blob, Span, read_spans
from actlens.format.digests import BLOCK, block_count, block_spans, block_sum, hex128
from actlens.format.header import Tensor
from actlens.format.place import Sink
from actlens.format.reader import Shard
from actlens.format.schema import BLOCKS, Schema
from actlens.upkeep.contents import content_faults
from actlens.upkeep.report import Kind, Problem

_DAMAGE = {errno.EIO, errno.EBADMSG, errno.EILSEQ, errno.EISDIR}  # the bytes are gone, or never were a file


class AsMeant:
    """A file as its header says it is, so that one that was cut short can still be looked into."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self.where = blob.where
        self.size, self._first = blob.head()
        self.meant = self._meant()

    def _meant(self) -> int:
        """Give the size that the header asks for; the size of the file, where the header says nothing."""
        try:
            start = header.header_length(self._first[:8], self.size, self.where)
            raw = bytearray(start)
            raw[: len(self._first)] = self._first[:start]
            if len(self._first) < start:
                read_spans(self._blob, [(len(self._first), memoryview(raw)[len(self._first) :])])
            entries = json.loads(raw[8:])
            end = max(entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__")
        except (
            CorruptRecording,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            RecursionError,
        ):
            return self.size
        return start + end if type(end) is int and 0 <= end <= header.MAX_SIZE else self.size

    def head(self) -> tuple[int, bytes]:
        """Give the size that was meant, and the first bytes."""
        return self.meant, self._first

    def fill(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Fill span after span."""
        return self._blob.fill(spans)

    def map(self, begin: int, size: int) -> None:
        """Say that it is not mapped."""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a header says, where it can be read: enough to hold the shards to each other."""

    recording: str
    name: str
    digest: str
    rank: int
    writer: str
    seq: int
    rows: int
    prev: str
    last: bool
    ids: str
    schema: Schema
    positions: dict[str, int]

    @classmethod
    def of(cls, shard: Shard) -> Facts:
        """Take them from a shard."""
        meta = shard.meta
        return cls(
            meta.recording,
            shard.name,
            shard.digest,
            meta.rank,
            meta.writer,
            meta.seq,
            meta.rows,
            meta.prev,
            meta.last,
            meta.origin.ids,
            meta.schema,
            {index: shard.positions(index) for index in meta.schema.indices},
        )


class ShardCheck:
    """The check of one file. `problems` grows; `facts` is None where the header cannot be read."""

    def __init__(self, blob: Blob, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.facts: Facts | None = None
        self.size = self.read_bytes = 0
        self._blob = blob
        self._shard: Shard | None = None
        try:
            file = AsMeant(blob)
            self.size = file.size
            self._shard = Shard(file, verify="none")
            self.facts = Facts.of(self._shard)
            self._start = file.meant - max((t.end for t in self._shard.tensors.values()), default=0)
        except (CorruptRecording, ReadFailed, UnsupportedFormat) as error:
            self.problems.append(Problem(path, what_was_seen(error), kind=kind_of(error)))
            return
        if file.size < file.meant:
            what = f"it was cut short: {file.size} of {file.meant} bytes are there"
            self.problems.append(Problem(path, what, span=(file.size, file.meant)))
        elif file.size > file.meant:
            what = f"{file.size - file.meant} bytes follow after its end"
            self.problems.append(Problem(path, what, span=(file.meant, file.size)))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong so far."""
        return not self.problems

    def add(self, what: str, kind: Kind) -> None:
        """Take down what is wrong with the file beside the others."""
        self.problems.append(Problem(self.path, what, kind=kind))

    def data(self, sink: Sink | None = None) -> None:
        """Read everything and compare it with the digests; write what was read to `sink`, as it was."""
        if self._shard is None or self.problems:
            return
        payload = sorted(
            (tensor for name, tensor in self._shard.tensors.items() if name != BLOCKS),
            key=lambda tensor: (tensor.begin, tensor.end),
        )
        sums = self._sums(self._shard, payload[-1].end if payload else 0)
        if sums is None and BLOCKS not in self._shard.tensors:
            return
        if sink is not None:
            self._carry(sink, 0, self._start)
            self._carry(sink, self._start + self._shard.tensors[BLOCKS].begin, self.size)
        bad_blocks, bad_tensors = self._compare(self._shard, payload, sums, sink)
        found = list(self._located(payload, bad_blocks, bad_tensors))
        self.problems += sorted(found, key=lambda problem: problem.span or (0, 0))
        for name, what in content_faults(self._shard, skip=bad_tensors):
            self.problems.append(Problem(self.path, what, name, span=self._span(self._shard.tensors[name])))
        self.read_bytes = self.size
        self._shard = None  # its header is large beside the facts

    def _sums(self, shard: Shard, payload: int) -> npt.NDArray[np.uint64] | None:
        tensor = shard.tensors.get(BLOCKS)
        if tensor is None:
            self.problems.append(Problem(self.path, "it has no block sums", BLOCKS))
            return None
        span = self._span(tensor)
        fits = tensor.code == "U64" and tensor.shape == (block_count(tensor.begin),)
        if not fits or tensor.begin != payload:
            self.problems.append(
                Problem(self.path, "its block sums do not cover its data", BLOCKS, span=span)
            )
            return None
        try:
            sums = shard.read(BLOCKS)
        except (CorruptRecording, ReadFailed) as error:
            self.problems.append(
                Problem(self.path, what_was_seen(error), BLOCKS, span=span, kind=kind_of(error))
            )
            return None
        if hex128(sums.view(np.uint8).data) != shard.meta.digests[BLOCKS]:
            what = "its block sums do not match their digest"
            self.problems.append(Problem(self.path, what, BLOCKS, span=span))
            return None
        return sums

    def _compare(
        self,
        shard: Shard,
        payload: Sequence[Tensor],
        sums: npt.NDArray[np.uint64] | None,
        sink: Sink | None,
    ) -> tuple[dict[int, tuple[str, Kind]], set[str]]:
        """Give the blocks that are bad, and why; and the tensors that do not match their digests."""
        bad_blocks: dict[int, tuple[str, Kind]] = {}
        bad_tensors: set[str] = set()
        end = payload[-1].end if payload else 0
        running = xxhash.xxh3_128()
        memory = memoryview(bytearray(min(BLOCK, end)))
        at = 0  # the tensor that is being read
        for block, lo, hi in block_spans(0, end):
            view = memory[: hi - lo]
            try:
                read_spans(self._blob, [(self._start + lo, view)])
            except (CorruptRecording, ReadFailed) as error:
                bad_blocks[block] = what_was_seen(error), kind_of(error)
            else:
                if sums is not None and block_sum(view) != int(sums[block]):
                    bad_blocks[block] = "", "damaged"
                if sink is not None:
                    sink.write_at([view], self._start + lo)
            unread = block in bad_blocks and bad_blocks[block][0] != ""
            while at < len(payload) and payload[at].begin <= hi:
                tensor = payload[at]
                running.update(view[max(tensor.begin, lo) - lo : min(tensor.end, hi) - lo])
                if unread and tensor.end > lo:
                    bad_tensors.add(tensor.name)
                if tensor.end > hi:
                    break
                if running.hexdigest() != shard.meta.digests[tensor.name]:
                    bad_tensors.add(tensor.name)
                running.reset()
                at += 1
        return bad_blocks, bad_tensors | self._empty(shard, payload[at:])

    def _empty(self, shard: Shard, tensors: Sequence[Tensor]) -> set[str]:
        """Compare tensors of no bytes, where there are no blocks at all."""
        return {tensor.name for tensor in tensors if shard.meta.digests[tensor.name] != hex128(b"")}

    def _located(
        self, payload: Sequence[Tensor], bad_blocks: dict[int, tuple[str, Kind]], bad_tensors: set[str]
    ) -> Iterator[Problem]:
        """Say where the damage lies: in the blocks that are bad, the tensors that are."""
        located: set[str] = set()
        for block, (why, kind) in bad_blocks.items():
            lo, hi = block * BLOCK, min((block + 1) * BLOCK, payload[-1].end)
            here = [t for t in payload if t.name in bad_tensors and t.begin < hi and t.end > lo]
            located |= {tensor.name for tensor in here}
            for tensor in here:
                span = self._start + max(lo, tensor.begin), self._start + min(hi, tensor.end)
                what = why or f"the data of {tensor.name!r} does not match its digest"
                yield Problem(self.path, what, tensor.name, block, span, kind)
            if not here:
                what = f"block {block} does not match its sum, though all tensors match their digests"
                yield Problem(self.path, what, BLOCKS, block, (self._start + lo, self._start + hi))
        for tensor in payload:
            if tensor.name in bad_tensors - located:
                what = f"the data of {tensor.name!r} does not match its digest"
                yield Problem(self.path, what, tensor.name, span=self._span(tensor))

    def _span(self, tensor: Tensor) -> tuple[int, int]:
        return self._start + tensor.begin, self._start + tensor.end

    def _carry(self, sink: Sink, begin: int, end: int) -> None:
        """Copy a part that was checked when it was read as a whole: the header, the block sums."""
        for at in range(begin, end, BLOCK):
            piece = memoryview(bytearray(min(BLOCK, end - at)))
            read_spans(self._blob, [(at, piece)])
            sink.write_at([piece], at)


def kind_of(error: ActlensError) -> Kind:
    """Tell damage from a refusal of the system, and from a later version of the format."""
    if isinstance(error, UnsupportedFormat):
        return "newer"
    if isinstance(error, ReadFailed):
        cause = error.__cause__
        damaged = isinstance(cause, OSError) and cause.errno in _DAMAGE
        return "damaged" if damaged else "unreadable"
    return "damaged"
