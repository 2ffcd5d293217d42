"""The safetensors header: eight bytes of length, JSON, spaces; written here, and parsed with limits.

The parser trusts nothing: every limit is checked before anything is allocated (docs/format.md, "Limits").
The digest of the header stands at a fixed place, as the first entry of `__metadata__`, so that it can be
set to zeros and the whole header hashed without parsing it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from actlens.errors import CorruptRecording
from actlens.format.digests import hex128
from actlens.format.dtypes import DTYPES
from actlens.format.schema import BLOCKS

ALIGNMENT = 4096
MAX_HEADER = 16 << 20
MAX_TENSORS = 65_536
MAX_NAME = 1024
MAX_NDIM = 32
MAX_SIZE = 1 << 48

_OPENING = b'{"__metadata__":{"digest":"'
_DIGEST = slice(8 + len(_OPENING), 8 + len(_OPENING) + 32)
_ZEROS = b"0" * 32


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: `begin` and `end` count from the end of the header."""

    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy dtype, little-endian."""
        return DTYPES[self.code].newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * DTYPES[self.code].itemsize


def layout(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[Tensor]:
    """Place tensors one after the other: wide items first, so that each is aligned; block sums last."""
    ordered = sorted(tensors, key=lambda t: (t[0] == BLOCKS, -DTYPES[t[1]].itemsize))
    placed, begin = [], 0
    for name, code, shape in ordered:
        end = begin + math.prod(shape) * DTYPES[code].itemsize
        placed.append(Tensor(name, code, shape, begin, end))
        begin = end
    return placed


def encode(meta: str, tensors: Iterable[Tensor]) -> bytes:
    """Give the whole header, padded with spaces so that data starts at a multiple of 4096."""
    entries: dict[str, Any] = {"__metadata__": {"digest": _ZEROS.decode(), "actlens": meta}}
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.code,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.begin, tensor.end],
        }
    text = json.dumps(entries, separators=(",", ":"), allow_nan=False).encode()
    padded = -(-(len(text) + 8) // ALIGNMENT) * ALIGNMENT - 8
    raw = struct.pack("<Q", padded) + text.ljust(padded)
    return raw[: _DIGEST.start] + header_digest(raw).encode() + raw[_DIGEST.stop :]


def header_digest(raw: bytes) -> str:
    """Give xxh3-128 of the header, its own digest read as zeros."""
    return hex128(raw[: _DIGEST.start], _ZEROS, raw[_DIGEST.stop :])


def header_length(first: bytes, file_size: int, path: object) -> int:
    """Read the length from a file's first eight bytes; gives the offset at which data starts."""
    if len(first) < 8:
        raise CorruptRecording.shard(path, f"it is {file_size} bytes long, shorter than any shard")
    (length,) = struct.unpack("<Q", first)
    if length > min(MAX_HEADER, file_size - 8):
        raise CorruptRecording.shard(
            path, f"its header claims {length} bytes, and {min(MAX_HEADER, file_size - 8)} are possible"
        )
    return 8 + int(length)


def parse(raw: bytes, file_size: int, path: object) -> tuple[str, str, dict[str, Tensor]]:
    """Give (digest, metadata JSON, tensors by name) of a header; refuse what breaks a limit or its digest."""
    digest = raw[_DIGEST].decode("ascii", "replace")
    if not raw[8:].startswith(_OPENING):
        raise CorruptRecording.shard(path, "it is not a shard of a recording (no actlens header)")
    if header_digest(raw) != digest:
        raise CorruptRecording.shard(path, "its header does not match its digest")
    try:
        entries = json.loads(
            raw[8:].decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants
        )
        meta = entries.pop("__metadata__")["actlens"]
        if len(entries) > MAX_TENSORS:
            raise _Invalid(f"it has {len(entries)} tensors, more than {MAX_TENSORS}")
        tensors = [_tensor(name, entry) for name, entry in entries.items()]
        _check_offsets(tensors, file_size - len(raw))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptRecording.shard(path, f"its header breaks the format: {error}") from error
    return digest, meta, {tensor.name: tensor for tensor in tensors}


class _Invalid(ValueError):
    """A limit that is not kept."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _Invalid("a key stands twice")
    return entries


def _no_constants(text: str) -> Any:
    raise _Invalid(f"{text} is not JSON")


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    if len(name.encode()) > MAX_NAME or "\0" in name:
        raise _Invalid("a tensor's name is too long or holds NUL")
    code, shape = entry["dtype"], entry["shape"]
    if code not in DTYPES:
        raise _Invalid(f"{name!r} has the unknown dtype {code!r}")
    begin, end = entry["data_offsets"]
    if not all(type(number) is int and 0 <= number <= MAX_SIZE for number in (*shape, begin, end)):
        raise _Invalid(f"{name!r} has a size or offset out of range")
    if len(shape) > MAX_NDIM or math.prod(size for size in shape if size) > MAX_SIZE:
        raise _Invalid(f"{name!r} has an impossible shape")
    if end - begin != math.prod(shape) * DTYPES[code].itemsize:
        raise _Invalid(f"{name!r} has {end - begin} bytes, which do not fit its shape and dtype")
    return Tensor(name, code, tuple(shape), begin, end)


def _check_offsets(tensors: list[Tensor], data_bytes: int) -> None:
    at = 0
    for tensor in sorted(tensors, key=lambda t: (t.begin, t.end)):
        if tensor.begin != at:
            raise _Invalid(f"{tensor.name!r} starts at {tensor.begin}, not at {at}")
        at = tensor.end
    if at != data_bytes:
        raise _Invalid(f"its tensors end at {at}, the file has {data_bytes} bytes of data")
