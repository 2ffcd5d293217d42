"""One shard: a range of rows of all layers in one safetensors file. Written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.format import header, strict_json
from actlens.format.digests import RunningDigests, block_count, block_spans, hex128
from actlens.format.dtypes import code_of
from actlens.format.place import SHARDS, Sink, WritablePlace
from actlens.format.schema import BLOCKS, ShardMeta, shard_name

Chunks = Sequence[npt.NDArray[Any]]
"""A tensor in pieces: C-contiguous arrays to be stacked along the first axis."""

_BLANK = "0" * 32


@dataclasses.dataclass(frozen=True, slots=True)
class Committed:
    """What is known of a shard once it is on the disk."""

    path: str
    bytes: int
    rows: int
    digest: str


def write_shard(place: WritablePlace, meta: ShardMeta, tensors: Mapping[str, Chunks]) -> Committed:
    """Commit one shard. `meta.digests` is filled in here; all else of `meta` is stored as it is.

    Args:
        place: where the writer has joined.
        meta: what the shard says of itself.
        tensors: full tensor name (`act:fc`, `col:label`, `idx:…`) → its pieces.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    placed = header.layout(_described(tensors))
    payload = placed[-1].end if placed else 0
    sums = header.Tensor(BLOCKS, "U64", (block_count(payload),), payload, payload + 8 * block_count(payload))
    blank = dict.fromkeys([*(tensor.name for tensor in placed), BLOCKS], _BLANK)
    start = len(_encode(meta, blank, [*placed, sums]))
    path = f"{SHARDS}/{meta.writer}/{shard_name(meta.seq)}"
    with place.committed(path, start + sums.end) as file:
        digests = RunningDigests()
        for tensor in placed:
            _write_tensor(file, start, tensor, tensors[tensor.name], digests)
        if payload % (1 << 20):
            digests.end_block()
        block_sums = digests.sums().tobytes()
        file.write_at([block_sums], start + payload)
        raw = _encode(meta, digests.tensors | {BLOCKS: hex128(block_sums)}, [*placed, sums])
        file.write_at([raw], 0)
    digest = header.header_digest(raw)
    return Committed(path, start + sums.end, meta.rows, digest)


def _described(tensors: Mapping[str, Chunks]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for name, chunks in tensors.items():
        code = code_of(chunks[0].dtype)
        assert code is not None, name  # noqa: S101 - the recorder admits storable dtypes only
        yield name, code, (sum(len(chunk) for chunk in chunks), *chunks[0].shape[1:])


def _encode(meta: ShardMeta, digests: Mapping[str, str], tensors: Sequence[header.Tensor]) -> bytes:
    ordered = {tensor.name: digests[tensor.name] for tensor in tensors}
    filled = msgspec.structs.replace(meta, digests=ordered)
    return header.encode(strict_json.ascii_only(msgspec.json.encode(filled)).decode(), tensors)


def _write_tensor(
    file: Sink, start: int, tensor: header.Tensor, chunks: Chunks, digests: RunningDigests
) -> None:
    """Hash and write a tensor, at most a block at a time so that its bytes are still in the cache."""
    at = flushed = tensor.begin
    pending: list[memoryview] = []
    for chunk in chunks:
        view = bytes_of(chunk)
        offset = at
        for _, begin, end in block_spans(offset, offset + len(view)):
            piece = view[begin - offset : end - offset]
            digests.update(piece)
            pending.append(piece)
            at = end
            if at % (1 << 20) == 0:
                digests.end_block()
                file.write_at(pending, start + flushed)
                pending, flushed = [], at
    file.write_at(pending, start + flushed)
    digests.end_tensor(tensor.name)


def bytes_of(chunk: npt.NDArray[Any]) -> memoryview:
    """Give an array's bytes, little-endian, in C order, without a copy where they lie so already."""
    if chunk.dtype.byteorder == ">" or not chunk.flags.c_contiguous:
        chunk = np.ascontiguousarray(chunk, dtype=chunk.dtype.newbyteorder("<"))
    return chunk.reshape(-1).view(np.uint8).data
