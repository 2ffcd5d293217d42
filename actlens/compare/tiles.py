"""Inner products of Gram matrices by tiles: cheaper than covariances where layers are wide beside the rows.

All layers' Gram matrices are made tile by tile, and only their inner products are kept: 4 bytes × layers ×
tile of memory, whatever the rows. Rows are centred in float64 before they are rounded to float32 for the
products; sums over many products are of float64.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.finite import refuse_not_finite
from actlens.compare.joining import Joined
from actlens.compare.means import means
from actlens.compare.part import JoinedPart
from actlens.compare.products import Products, empty
from actlens.compare.scaling import scales
from actlens.streaming.fold import threaded
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]

TILE = 512  # rows, at most
_FEWEST = 64  # rows; products of fewer are slow
_BLOCK_BYTES = 256 << 20  # of the rows of all layers on one side of a tile
_TOGETHER = 8  # tiles of one task: they share the rows on the left
_CHUNK = 1 << 12  # products that are summed in float32 before float64 takes them
_KEPT_BYTES = 2 << 30  # of centred rows; more are read again for every tile


def gram_products(
    joined: Joined, dtype: np.dtype[Any], feature: str, executor: Executor | None = None
) -> Products:
    """Sum the products of all pairs of layers in passes over tiles, multiplying in `dtype`.

    Raises:
        CompareError: NaN or inf, with the ids of the rows.
    """
    with single_threaded_blas():
        centre = Centre(means(joined, feature, executor), scales(joined), dtype)
        size = joined.rows * sum(layer.features for layer in joined.layers) * dtype.itemsize
        keep = executor is None and size <= _KEPT_BYTES
        tile = tile_rows(joined, dtype)
        kept = list(threaded(centre.tile, _tiles(joined, tile))) if keep else None
        task = _TileSums(centre, len(joined.a), joined.same, kept)
        strips = _strips(joined, tile)
        total = functools.reduce(Products.__add__, threaded(task, strips, executor=executor))
    if not np.isfinite(total.trace_a).all() or not np.isfinite(total.trace_b).all():
        refuse_not_finite(joined, feature)
    total = dataclasses.replace(total, rows=joined.rows)
    return total.mirrored() if joined.same else total


def tile_rows(joined: Joined, dtype: np.dtype[Any]) -> int:
    """Give the rows of a tile: fewer where the layers are so wide that a block of them all is large."""
    row = sum(layer.features for layer in joined.layers) * dtype.itemsize
    return int(np.clip(_BLOCK_BYTES // row, _FEWEST, TILE))


def _tiles(joined: Joined, tile: int) -> list[JoinedPart]:
    starts = range(0, joined.rows, tile)
    return [JoinedPart(joined.layers, start, min(start + tile, joined.rows), tile) for start in starts]


def _strips(joined: Joined, tile: int) -> list[_Strip]:
    """Cut the upper half of the square of tiles into tasks."""

    def part(start: int, stop: int) -> JoinedPart:
        return JoinedPart(joined.layers, start, min(stop, joined.rows), tile)

    width = tile * _TOGETHER
    return [
        _Strip(part(left, left + tile), part(first, first + width))
        for left in range(0, joined.rows, tile)
        for first in range(left, joined.rows, width)
    ]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Centre:
    """Takes the mean from rows, to the last digit, so that float32 loses no figures to an offset."""

    means: Sequence[Array]
    scales: Sequence[float]
    dtype: np.dtype[Any]

    def __call__(self, blocks: Sequence[Array]) -> list[Array]:
        """Give the centred rows of each layer."""
        return [self._one(*each) for each in zip(blocks, self.means, self.scales, strict=True)]

    def _one(self, block: Array, mean: Array, scale: float) -> Array:
        wide = block.astype(np.float32) if block.dtype.kind == "V" else block
        centred: Array = np.empty(wide.shape, self.dtype)
        if wide.dtype == self.dtype == np.float32:
            # In two steps, each rounded to what is left: as exact as in float64, and five times as fast.
            near = mean.astype(np.float32)
            np.subtract(wide, near, out=centred)
            centred -= (mean - near).astype(np.float32)
        else:
            np.subtract(wide, mean, out=centred, casting="unsafe")
        if scale != 1:
            centred *= scale
        return centred

    def tile(self, part: JoinedPart) -> list[Array]:
        """Give the rows of a part of one block, centred."""
        ((_, rows),) = self.blocks(part)
        return rows

    def blocks(self, part: JoinedPart) -> Iterator[tuple[int, list[Array]]]:
        """Give the blocks of a part, centred."""
        return ((start, self(block)) for start, block in part.blocks())


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Strip:
    """Rows on the left, and those on the right that they are multiplied with."""

    left: JoinedPart
    right: JoinedPart

    @property
    def reader(self) -> Any:
        """Where rows are read from, for messages of a worker that cannot."""
        return self.left.reader


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _TileSums:
    """The task of a strip; layers [:split] are a's."""

    centre: Centre
    split: int
    same: bool
    kept: list[list[Array]] | None

    def __call__(self, strip: _Strip) -> Products:
        with single_threaded_blas():
            (_, left), *_ = self._blocks(strip.left)
            layers = len(left)
            sums = empty(0, self.split, self.split if self.same else layers - self.split)
            buffer = np.empty((layers, strip.left.rows**2), self.centre.dtype)
            for start, right in self._blocks(strip.right):
                on_diagonal = start == strip.left.start
                size = len(left[0]) * len(right[0])
                tile = buffer[:, :size]
                for row, (x, y) in zip(tile, zip(left, right, strict=True), strict=True):
                    np.matmul(x, y.T, out=row.reshape(len(x), len(y)))
                self._add(sums, tile, 1.0 if on_diagonal else 2.0)
                if on_diagonal:
                    self._add_diagonal(sums, tile[:, :: len(left[0]) + 1])
        return sums

    def _blocks(self, part: JoinedPart) -> Iterator[tuple[int, list[Array]]]:
        if self.kept is None:
            return self.centre.blocks(part)
        numbers = range(part.start, part.stop, part.rows)
        return ((start, self.kept[start // part.rows]) for start in numbers)

    def _add(self, sums: Products, tile: Array, times: float) -> None:
        """Add inner products; a chunk at a time, because a long sum of float32 loses figures."""
        for first in range(0, tile.shape[1], _CHUNK):
            chunk = tile[:, first : first + _CHUNK]
            a, b = chunk[: self.split], chunk if self.same else chunk[self.split :]
            sums.inner[:] += times * (a @ b.T)
            for own, some in ((sums.inner_a, a), (sums.inner_b, b)):
                own[:] += times * np.matmul(some[:, None], some[:, :, None])[:, 0, 0]

    def _add_diagonal(self, sums: Products, diagonal: Array) -> None:
        wide = diagonal.astype(np.float64)
        a, b = wide[: self.split], wide if self.same else wide[self.split :]
        sums.diagonal[:] += a @ b.T
        sums.diagonal_a[:] += np.square(a).sum(axis=1)
        sums.diagonal_b[:] += np.square(b).sum(axis=1)
        sums.trace_a[:] += a.sum(axis=1)
        sums.trace_b[:] += b.sum(axis=1)
