"""Arrays to read into, placed so that the kernel copies into them at full speed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReadFailed

_ALIGNMENT = 64


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Give a new array, not filled, that begins at a multiple of 64 bytes.

    A large array of numpy begins 16 bytes after a page's border. Where the page cache is copied to there,
    from a page's border, some processors (AMD's, with `rep movsb`) run at a third of their speed.
    """
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def room_for(what: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Make an empty array for what is read from a path.

    Raises:
        ReadFailed: memory does not hold it.
    """
    try:
        return empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise ReadFailed.too_large(what, math.prod(shape) * dtype.itemsize) from error
