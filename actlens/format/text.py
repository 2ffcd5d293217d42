"""Text columns: UTF-8 bytes without separators, and offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_PADDING = 16 << 20
"""Bytes: one text of a million letters would make a million short ones as large."""


def encode_text(columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Give UTF-8 bytes, and offsets (rows + 1,) from 0."""
    encoded = [text.encode() for column in columns for text in column.tolist()]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def decode_text(raw: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Undo `encode_text`; where one text is far longer than the others, as numpy's StringDType.

    Raises:
        ValueError: offsets that do not fit the bytes, or bytes that are not UTF-8.
    """
    # Compared, not subtracted: a difference of two int64 may wrap around.
    if offsets[0] != 0 or offsets[-1] != len(raw) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("the offsets of a text column do not fit its bytes")
    content = raw.tobytes()
    if b"\0" in content:  # numpy would drop it at the end of a text
        raise ValueError("a text holds NUL")
    texts = [content[a:b].decode() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    longest = max(map(len, texts), default=0)
    return np.array(texts, dtype=text_dtype(len(texts), longest, len(raw)))


def joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Concatenate columns: of numbers, or of text as `decode_text` gave it."""
    if parts[0].dtype.kind not in "UT":
        return np.concatenate(parts)
    rows = sum(len(part) for part in parts)
    fixed = [part.dtype.itemsize // 4 for part in parts if part.dtype.kind == "U"]
    dtype = text_dtype(rows, max(fixed, default=0), sum(part.nbytes for part in parts))
    if len(fixed) < len(parts):
        dtype = np.dtypes.StringDType()
    return np.concatenate([part.astype(dtype) for part in parts])


def text_dtype(rows: int, longest: int, content: int) -> np.dtype[Any]:
    """Choose how numpy holds texts: all padded to the longest, unless that is far more than there is."""
    padded = 4 * rows * longest
    if padded > _MOST_PADDING and padded > 16 * content:
        return np.dtypes.StringDType()
    return np.dtype(f"U{max(1, longest)}")
