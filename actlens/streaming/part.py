"""A part of the rows of a layer: what one task of a pass works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from actlens.streaming.ahead import read_ahead
from actlens.streaming.reader import Reader

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Rows [start, stop) of a layer, to be read in blocks of `rows`; small enough to be sent to a worker.

    Blocks begin at multiples of `rows`, whatever the part: so every way of cutting a layer into parts has the
    same blocks, and the same products of each. `ahead`: read the next block while one is worked on.
    """

    reader: Reader
    start: int
    stop: int
    rows: int
    ahead: bool = True

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """Give the number of the first row of each block, and the block."""
        read = self.reader.blocks(self.start, self.stop, self.rows)
        start = self.start
        ahead = self.ahead and self.reader.lazy and len(self) > self.rows
        for block in read_ahead(read) if ahead else read:
            yield start, block
            start += len(block)

    def __len__(self) -> int:
        return self.stop - self.start

    def __reduce__(self) -> tuple[Any, ...]:
        reader = self.reader.part(self.start, self.stop)
        return Part, (reader, self.start, self.stop, self.rows, self.ahead)


def parts_of(reader: Reader, samples: int, *, rows: int, pieces: int = 1, ahead: bool = True) -> list[Part]:
    """Cut the rows of a layer into at most `pieces` parts of about as many blocks each.

    >>> from actlens.streaming.reader import ArrayReader
    >>> import numpy as np
    >>> [(p.start, p.stop) for p in parts_of(ArrayReader(np.zeros((10, 2))), 10, rows=3, pieces=2)]
    [(0, 6), (6, 10)]
    """
    blocks = -(-samples // rows)
    pieces = max(1, min(pieces, blocks))
    borders = [rows * (blocks * piece // pieces) for piece in range(pieces)]
    spans = zip(borders, [*borders[1:], samples], strict=True)
    return [Part(reader, start, stop, rows, ahead) for start, stop in spans]
