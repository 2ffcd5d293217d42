"""The safetensors header: eight bytes of length, JSON, spaces; written here, and parsed with limits.

The parser trusts nothing: every limit is checked before anything is allocated (docs/format.md, "Limits").
The digest of the header stands at a fixed place, as the first entry of `__metadata__`, so that it can be
set to zeros and the whole header hashed without parsing it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from actlens.errors import CorruptRecording
from actlens.format import strict_json
from actlens.format.digests import hex128
from actlens.format.dtypes import DTYPES
from actlens.format.schema import BLOCKS
from actlens.format.strict_json import Invalid

ALIGNMENT = 4096
MAX_HEADER = 16 << 20
MAX_TENSORS = 65_536
MAX_NAME = 1024
MAX_NDIM = 32
MAX_SIZE = 1 << 48

OPENING = b'{"__metadata__":{"digest":"'
DIGEST = slice(8 + len(OPENING), 8 + len(OPENING) + 32)
_ZEROS = b"0" * 32

_MAX_METADATA = 64  # entries of __metadata__; this version writes two
_GROUP = 64  # tensors that are parsed at a time
# "++" and "*+" never go back, so that each of these takes one pass, whatever stands there.
_GAP = rb"[ \t\n\r]*+"
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_MEMBER = re.compile(_GAP.join((b"", rb",", _TEXT, rb":", _TEXT)), re.DOTALL)
_END_OF_METADATA = re.compile(_GAP + rb"\}")
_TAIL = re.compile(_GAP + rb"\}" + _GAP)
_NAME = rb'"(?:[^"\\]|\\.){0,6144}+"'  # 1,024 bytes, each of them escaped
_ENTRY = re.compile(_GAP.join((b"", rb",", _NAME, rb":", rb"\{[^{}]{0,4096}+\}")), re.DOTALL)


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
    return raw[: DIGEST.start] + header_digest(raw).encode() + raw[DIGEST.stop :]


def header_digest(raw: bytes) -> str:
    """Give xxh3-128 of the header, its own digest read as zeros."""
    view = memoryview(raw)
    return hex128(view[: DIGEST.start], _ZEROS, view[DIGEST.stop :])


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
    digest = raw[DIGEST].decode("ascii", "replace")
    if not raw.startswith(OPENING, 8):
        raise CorruptRecording.shard(path, "it is not a shard of a recording (no actlens header)")
    if header_digest(raw) != digest:
        raise CorruptRecording.shard(path, "its header does not match its digest")
    try:
        end, members = _end_of_metadata(raw)
        tensors = _tensors(raw, end)
        _check_offsets(tensors, file_size - len(raw))
        return digest, _metadata(raw, end, members), {tensor.name: tensor for tensor in tensors}
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise CorruptRecording.shard(path, f"its header breaks the format: {error}") from error


def _end_of_metadata(raw: bytes) -> tuple[int, int]:
    """Give the offset after the object `__metadata__`, which must hold texts alone, and how many it holds."""
    at, members = DIGEST.stop + 1, 1
    while (found := _MEMBER.match(raw, at)) is not None and members < _MAX_METADATA:
        at, members = found.end(), members + 1
    end = _END_OF_METADATA.match(raw, at)
    if end is None or raw[DIGEST.stop : DIGEST.stop + 1] != b'"':
        raise Invalid("__metadata__ holds something else than a few texts")
    return end.end(), members


def _metadata(raw: bytes, end: int, members: int) -> str:
    """Give the text of the entry `actlens`."""
    texts = memoryview(raw)[8 + len(OPENING) - len(b'{"digest":"') : end]
    entries = msgspec.json.decode(texts, type=dict[str, str])
    if len(entries) != members:
        raise Invalid("a key stands twice")
    return entries["actlens"]


def _tensors(raw: bytes, begin: int) -> list[Tensor]:
    """Parse what follows the metadata: `,"name":{…}` again and again, then `}` and spaces."""
    if raw.count(b'"dtype"', begin) > MAX_TENSORS:  # no name holds that: its quotes would be escaped
        raise Invalid(f"it has more than {MAX_TENSORS} tensors")
    tensors: dict[str, Tensor] = {}
    at = begin
    while (end := _end_of_group(raw, at)) > at:
        comma = raw.index(b",", at)
        group = strict_json.loads(b"{" + raw[comma + 1 : end] + b"}")
        for name, entry in group.items():
            if name in tensors or name == "__metadata__":
                raise Invalid("a key stands twice")
            tensors[name] = _tensor(name, entry)
        at = end
    if _TAIL.fullmatch(raw, at) is None:
        raise Invalid(f"from byte {at} on, it is not JSON that describes tensors")
    return list(tensors.values())


def _end_of_group(raw: bytes, at: int) -> int:
    """Give the end of the next few entries: parsed together they are quick, and never much memory."""
    for _ in range(_GROUP):
        found = _ENTRY.match(raw, at)
        if found is None:
            break
        at = found.end()
    return at


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    if len(name.encode()) > MAX_NAME or "\0" in name:
        raise Invalid("a tensor's name is too long or holds NUL")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise Invalid(f"{name!r} has the unknown dtype {code!r}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise Invalid(f"{name!r} has a shape or offsets that are no list of numbers")
    begin, end = offsets
    if not all(type(number) is int and 0 <= number <= MAX_SIZE for number in (*shape, begin, end)):
        raise Invalid(f"{name!r} has a size or offset out of range")
    if len(shape) > MAX_NDIM or math.prod(size for size in shape if size) > MAX_SIZE:
        raise Invalid(f"{name!r} has an impossible shape")
    if end - begin != math.prod(shape) * DTYPES[code].itemsize:
        raise Invalid(f"{name!r} has {end - begin} bytes, which do not fit its shape and dtype")
    return Tensor(name, code, tuple(shape), begin, end)


def _check_offsets(tensors: list[Tensor], data_bytes: int) -> None:
    at = 0
    for tensor in sorted(tensors, key=lambda t: (t.begin, t.end)):
        if tensor.begin != at:
            raise Invalid(f"{tensor.name!r} starts at {tensor.begin}, not at {at}")
        at = tensor.end
    if at != data_bytes:
        raise Invalid(f"its tensors end at {at}, the file has {data_bytes} bytes of data")
