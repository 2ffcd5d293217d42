"""Values that float64, in which all is summed, does not hold: whole numbers beyond 2⁵³, and long doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError

Array = npt.NDArray[Any]

_WHOLE = 1 << 53  # up to here float64 holds every whole number
_RANGE = np.finfo(np.float64)


def ensure_held(name: str, block: Array) -> None:
    """Make sure that float64 holds a block of a layer: it would be other numbers, without a word.

    Raises:
        StatisticsError: a whole number beyond 2⁵³; a finite long double that would be infinite, or 0.
    """
    dtype = block.dtype
    if not block.size or dtype.itemsize < 8:
        return
    if dtype.kind in "iu":
        for value in (int(block.min()), int(block.max())):
            if abs(value) > _WHOLE:
                raise StatisticsError.large_integers(name, dtype, value)
    elif dtype.kind == "f" and dtype.itemsize > 8:
        size = np.abs(block[np.isfinite(block) & (block != 0)])
        beyond = size[(size > _RANGE.max) | (size < _RANGE.smallest_subnormal)]
        if len(beyond):
            raise StatisticsError.beyond_float64(name, dtype, beyond[0])
