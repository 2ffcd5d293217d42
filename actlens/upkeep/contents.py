"""What digests cannot tell: that offsets fit what they point into, and that texts are texts.

Read in pieces of 1 MiB, whatever the size of the column.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, ReadFailed, what_was_seen
from actlens.format.reader import Shard
from actlens.format.schema import COL, IDX, STRING

_ITEMS = 1 << 17  # 1 MiB of offsets
_BYTES = 1 << 20


def content_faults(shard: Shard, *, skip: Collection[str]) -> Iterator[tuple[str, str]]:
    """Give (tensor, what is wrong) of columns of text and offsets of ragged rows.

    Args:
        shard: opened with verify="none"; its tensors match their digests.
        skip: tensors that do not.
    """
    schema = shard.meta.schema
    wanted = [(IDX + index, "", shard.positions(index)) for index in schema.indices]
    texts = [COL + column.name for column in schema.columns if column.dtype == STRING]
    wanted += [(IDX + text, text, shard.tensors[text].end - shard.tensors[text].begin) for text in texts]
    for offsets, text, end in wanted:
        if {offsets, text} & set(skip):
            continue
        try:
            fault = _offsets_fault(shard, offsets, end)
            if fault:
                yield offsets, fault
            elif text and (fault := _text_fault(shard, text, offsets)):
                yield text, fault
        except (CorruptRecording, ReadFailed) as error:  # it was there a moment ago
            yield offsets, what_was_seen(error)


def _offsets_fault(shard: Shard, name: str, end: int) -> str:
    before = 0
    for first, piece in _pieces(shard, name, _ITEMS):
        if (first == 0 and piece[0] != 0) or piece[0] < before or (np.diff(piece) < 0).any():
            return f"the offsets {name!r} do not rise from 0"
        before = int(piece[-1])
    return "" if before == end else f"the offsets {name!r} end at {before}, not at {end}"


def _text_fault(shard: Shard, name: str, offsets: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    end = shard.tensors[name].shape[0]
    try:
        for first, piece in _pieces(shard, name, _BYTES):
            decoder.decode(piece.tobytes(), final=first + len(piece) == end)
    except UnicodeDecodeError as error:
        return f"the texts {name!r} are not UTF-8: {error.reason}"
    for _, starts in _pieces(shard, offsets, _ITEMS):
        if _inside_characters(shard, name, starts[starts < end]):
            return f"a text of {name!r} begins in the middle of a character"
    return ""


def _inside_characters(shard: Shard, name: str, starts: npt.NDArray[np.int64]) -> bool:
    """Say whether an offset points at a byte that continues a character (10xxxxxx)."""
    while len(starts):
        at = int(starts[0])
        here = int(np.searchsorted(starts, at + _BYTES))
        piece = np.empty(int(starts[here - 1]) - at + 1, np.uint8)
        shard.read_into(name, at, piece)
        if (piece[starts[:here] - at] & 0xC0 == 0x80).any():
            return True
        starts = starts[here:]
    return False


def _pieces(shard: Shard, name: str, items: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    tensor = shard.tensors[name]
    count = tensor.shape[0]
    for first in range(0, count, items):
        piece = np.empty(min(items, count - first), tensor.dtype)
        shard.read_into(name, first, piece)
        yield first, piece
