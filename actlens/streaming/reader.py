"""Where rows come from: an array in memory, or a lazy layer; both can be sent to another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Reader(Protocol):
    """Rows (samples, …), read in blocks."""

    @property
    def lazy(self) -> bool:
        """Whether reading takes time, and each block is an array of its own."""

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read rows [start, stop), `rows` at a time."""

    def part(self, start: int, stop: int) -> Reader:
        """Give what another process needs to read these rows, under their numbers."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class ArrayReader:
    """An array of numpy; `first` is the number of its first row."""

    array: Array
    first: int = 0
    lazy: bool = False

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Give views."""
        for begin in range(start - self.first, stop - self.first, rows):
            yield self.array[begin : min(begin + rows, stop - self.first)]

    def part(self, start: int, stop: int) -> ArrayReader:
        """Give these rows alone: an array travels, so no more of it than must."""
        return ArrayReader(self.array[start - self.first : stop - self.first], start)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class LayerReader:
    """A lazy layer; what travels is where it is, and the worker opens it itself."""

    layer: Any
    lazy: bool = True
    first: int = 0

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read; every byte is checked on the way."""
        start, stop = start - self.first, stop - self.first
        if start == 0 and stop == len(self.layer):
            yield from self.layer.chunks(rows)
        else:
            yield from self.layer.chunks(rows, start=start, stop=stop)

    def part(self, start: int, stop: int) -> LayerReader:
        """Give the layer: it is a description already; of selected rows, with the numbers of these alone."""
        if not hasattr(self.layer, "shortened"):
            return self
        layer, skipped = self.layer.shortened(start - self.first, stop - self.first)
        return LayerReader(layer, first=self.first + skipped)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class KeptRows:
    """The rows of another reader without some of them.

    `kept` (rows,) are the numbers of those that stay; `first` is the number, among these, of its first.
    """

    reader: Reader
    kept: npt.NDArray[np.int64]
    lazy: bool = True
    first: int = 0

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read what lies between, and leave out what is not kept."""
        for begin in range(start - self.first, stop - self.first, rows):
            numbers = self.kept[begin : min(begin + rows, stop - self.first)]
            first, last = int(numbers[0]), int(numbers[-1]) + 1
            (span,) = self.reader.blocks(first, last, last - first)
            yield span if len(span) == len(numbers) else span[numbers - first]

    def part(self, start: int, stop: int) -> KeptRows:
        """Give these rows alone."""
        numbers = self.kept[start - self.first : stop - self.first]
        reader = self.reader.part(int(numbers[0]), int(numbers[-1]) + 1)
        return KeptRows(reader, numbers, first=start)
