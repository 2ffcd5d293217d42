"""Rows of a layer as a measure reads them: (rows, features), in the order of the join."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.streaming.reader import Reader

Array = npt.NDArray[Any]

_GATHERED = 128 << 20  # bytes of rows that are picked from all over a layer at once


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """How the axes of a sample become features: `order` are the numbers of its axes, positions first.

    `kind` is "flatten", "mean" or "samples"; with "samples" each of the `positions` of a sample is a row.
    """

    order: tuple[int, ...]
    kind: str
    positions: int = 1

    def __call__(self, block: Array) -> Array:
        """Give (rows, features) of a block (samples, …)."""
        moved = block.transpose(0, *self.order)
        if self.kind == "mean":
            wide = np.float64 if block.dtype.itemsize > 4 else np.float32
            axes = tuple(range(1, moved.ndim - 1))
            return np.asarray(moved.mean(axis=axes, dtype=np.float64)).astype(wide, copy=False)
        if self.kind == "samples":
            return moved.reshape(-1, moved.shape[-1])
        return moved.reshape(len(block), math.prod(moved.shape[1:]))


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class LaidOut:
    """The rows of another reader, laid out; row numbers are those of the result."""

    reader: Reader
    layout: Layout
    lazy: bool = True

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read, and lay out; a sample whose positions lie in two blocks is read for both."""
        each = self.layout.positions
        if each == 1:
            yield from map(self.layout, self.reader.blocks(start, stop, rows))
            return
        for begin in range(start, stop, rows):
            end = min(begin + rows, stop)
            first, last = begin // each, -(-end // each)
            (block,) = self.reader.blocks(first, last, last - first)
            yield self.layout(block)[begin - first * each : end - first * each]

    def part(self, start: int, stop: int) -> LaidOut:
        """Give the samples of these rows."""
        each = self.layout.positions
        return LaidOut(self.reader.part(start // each, -(-stop // each)), self.layout)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Scattered:
    """Rows that lie all over a layer: many are picked at once, as each pass over the layer costs the same."""

    reader: Reader
    row_bytes: int
    lazy: bool = True

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read some blocks together, and give them one by one."""
        many = rows * max(1, _GATHERED // max(1, rows * self.row_bytes))
        for block in self.reader.blocks(start, stop, many):
            for begin in range(0, len(block), rows):
                yield block[begin : begin + rows]

    def part(self, start: int, stop: int) -> Scattered:
        """Give these rows alone."""
        return Scattered(self.reader.part(start, stop), self.row_bytes)
