"""Text columns: UTF-8 bytes without separators, and offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def encode_text(columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Give UTF-8 bytes, and offsets (rows + 1,) from 0."""
    encoded = [text.encode() for column in columns for text in column.tolist()]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def decode_text(raw: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    """Undo `encode_text`.

    Raises:
        ValueError: offsets that do not fit the bytes, or bytes that are not UTF-8.
    """
    if offsets[0] != 0 or offsets[-1] != len(raw) or (np.diff(offsets) < 0).any():
        raise ValueError("the offsets of a text column do not fit its bytes")
    content = raw.tobytes()
    texts = [content[a:b].decode() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    return np.array(texts, dtype=str)
