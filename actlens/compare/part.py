"""Some rows of all joined layers: what one task of a pass works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined, JoinedLayer
from actlens.streaming.ahead import read_ahead

Array = npt.NDArray[Any]

_BLOCK_BYTES = 64 << 20  # of one block of all layers, in what products are made of
_FEW, _MANY = 128, 2048  # rows of a block: fewer make slow products, more do not make faster ones


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class JoinedPart:
    """Rows [start, stop) of all layers, in blocks of `rows`; small enough to be sent to a worker.

    Blocks begin at multiples of `rows`, whatever the part, so that every way of cutting gives the same sums.
    """

    layers: tuple[JoinedLayer, ...]
    start: int
    stop: int
    rows: int

    @property
    def reader(self) -> Any:
        """Where the first layer is read from, for messages of a worker that cannot."""
        return self.layers[0].reader

    def blocks(self) -> Iterator[tuple[int, list[Array]]]:
        """Give the number of the first row of each block, and the block of every layer."""
        blocks = self._read()
        lazy = any(layer.reader.lazy for layer in self.layers)
        start = self.start
        for block in read_ahead(blocks) if lazy and len(self) > self.rows else blocks:
            yield start, block
            start += len(block[0])

    def _read(self) -> Iterator[list[Array]]:
        readers = [layer.reader.blocks(self.start, self.stop, self.rows) for layer in self.layers]
        return (list(map(np.asarray, block)) for block in zip(*readers, strict=True))

    def __len__(self) -> int:
        return self.stop - self.start

    def __reduce__(self) -> tuple[Any, ...]:
        layers = tuple(
            dataclasses.replace(layer, reader=layer.reader.part(self.start, self.stop), values=None)
            for layer in self.layers
        )
        return JoinedPart, (layers, self.start, self.stop, self.rows)


def block_rows(joined: Joined) -> int:
    """Give the rows of one block."""
    width = sum(layer.features for layer in joined.layers)
    return int(np.clip(_BLOCK_BYTES // (joined.dtype.itemsize * width), _FEW, _MANY))


def parts(joined: Joined, pieces: int = 1, rows: int | None = None) -> list[JoinedPart]:
    """Cut the rows into at most `pieces` parts of about as many blocks each."""
    rows = rows or block_rows(joined)
    blocks = -(-joined.rows // rows)
    pieces = max(1, min(pieces, blocks))
    borders = [rows * (blocks * piece // pieces) for piece in range(pieces)]
    spans = zip(borders, [*borders[1:], joined.rows], strict=True)
    return [JoinedPart(joined.layers, start, stop, rows) for start, stop in spans]
