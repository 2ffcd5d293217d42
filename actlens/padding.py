"""The last batch of a data set, filled up to the size of the others so that nothing is compiled again for it.

For frameworks that compile for each shape. A model may mix the samples of a batch (a batch mean, a queue of
experts); then what is filled in changes what the real samples give. So the caller fills a batch in two ways,
and keeps the result only if the real samples gave the same both times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """A batch with `rows` real samples, filled up to `size` with its own last sample, and with others."""

    rows: int
    size: int
    own: list[Any]
    others: list[Any]


class Filler:
    """Remembers the first full batch; says of each later one whether, and how, it is filled up to it."""

    def __init__(self) -> None:
        self._full: list[Any] | None = None

    def fill(self, arrays: Sequence[Any]) -> Filled | None:
        """Fill the arrays of a smaller batch; None where it is to be run as it is.

        All arrays whose first axis is the sample must be smaller by the same rows, and alike in all else.
        """
        if self._full is None or len(self._full) != len(arrays) or not arrays:
            self._full = list(arrays)
            return None
        rows = {_smaller(array, full) for array, full in zip(arrays, self._full, strict=True)} - {-1}
        if len(rows) != 1 or rows == {None}:
            self._grow(arrays)
            return None
        count = rows.pop()
        assert count is not None  # noqa: S101 - {None} was left out above
        pairs = list(zip(arrays, self._full, strict=True))
        sizes = {int(full.shape[0]) for array, full in pairs if not _is_whole(array, full)}
        if len(sizes) != 1:  # arrays of several first axes: which of them is the sample is not known
            return None
        return Filled(
            count,
            sizes.pop(),
            [array if _is_whole(array, full) else _joined(array, array[-1:], full) for array, full in pairs],
            [array if _is_whole(array, full) else _joined(array, full, full) for array, full in pairs],
        )

    def _grow(self, arrays: Sequence[Any]) -> None:
        full = self._full or []
        if any(
            len(a.shape) and len(b.shape) and a.shape[0] > b.shape[0]
            for a, b in zip(arrays, full, strict=True)
        ):
            self._full = list(arrays)


def _smaller(array: Any, full: Any) -> int | None:
    """Give the rows of an array that is a part of a batch; -1 if it is whole, None if it is unlike."""
    if _is_whole(array, full):
        return -1
    alike = array.dtype == full.dtype and array.shape[1:] == full.shape[1:] and len(array.shape) > 0
    return int(array.shape[0]) if alike and 0 < array.shape[0] < full.shape[0] else None


def _is_whole(array: Any, full: Any) -> bool:
    return bool(array.shape == full.shape and array.dtype == full.dtype)


def _joined(array: Any, filling: Any, full: Any) -> np.ndarray[Any, Any]:
    """Put rows of `filling`, over and over, behind those of `array`, up to the rows of `full`."""
    missing = np.arange(full.shape[0] - array.shape[0])
    return np.concatenate([np.asarray(array), np.asarray(filling)[-1 - missing % filling.shape[0]]])
