"""Two layers over the same rows, with the values of a sample in the same order: axes joined by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import JoinedLayer
from actlens.compare.named_axes import View
from actlens.streaming.reader import KeptRows

Array = npt.NDArray[Any]

_GATHER_BYTES = 1 << 20  # of rows that are read to get some of them; farther apart, they are read one by one


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Lined:
    """One layer whose features are taken as (*sizes), named `axes`.

    `order` moves the axes of what is read, whose sizes are `read`; None where they are in place. `stored` are
    the names of the axes as the layer was stored. `source` is the layer that they are from, "" if its own.
    """

    layer: JoinedLayer
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    stored: tuple[str, ...] = ()
    source: str = ""
    read: tuple[int, ...] = ()
    order: tuple[int, ...] | None = None

    @property
    def lazy(self) -> bool:
        """Whether reading takes time."""
        return self.layer.reader.lazy

    def part(self, start: int, stop: int) -> Lined:
        """Give these rows alone: they are read here, and by no other process."""
        return dataclasses.replace(
            self, layer=dataclasses.replace(self.layer, reader=self.layer.reader.part(start, stop))
        )

    def blocks(self, start: int, stop: int, rows: int) -> Iterator[Array]:
        """Read rows [start, stop) as blocks (rows, features)."""
        for block in self.layer.reader.blocks(start, stop, rows):
            yield self._moved(np.asarray(block))

    def rows(self, numbers: Array) -> Array:
        """Read some rows, at rising numbers: (rows, *sizes)."""
        apart = int(np.diff(numbers).max(initial=1))
        row_bytes = self.layer.features * self.layer.dtype.itemsize
        at_once = max(1, _GATHER_BYTES // (apart * row_bytes))
        kept = KeptRows(self.layer.reader, numbers).blocks(0, len(numbers), at_once)
        return np.concatenate([self._moved(np.asarray(block)) for block in kept]).reshape(-1, *self.sizes)

    def _moved(self, block: Array) -> Array:
        if self.order is None:
            return block.reshape(len(block), -1)
        moved = block.reshape(len(block), *self.read).transpose(0, *(axis + 1 for axis in self.order))
        return moved.reshape(len(block), -1)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """Two layers over the same rows; their sizes differ where nothing is known that brings them together.

    `samples` (rows,) and `position` (rows,) or None tell the rows apart.
    """

    a: Lined
    b: Lined
    samples: Array
    position: Array | None

    @property
    def fits(self) -> bool:
        """Whether value can be compared with value."""
        return self.a.sizes == self.b.sizes

    @property
    def note(self) -> str:
        """What was done to compare value with value; "" where nothing had to be."""
        named = {side.source: side for side in (self.a, self.b) if side.source}
        if not named:
            return ""
        layers = " and ".join(dict.fromkeys(named))
        if any(len(side.layer.sizes) == 1 for side in named.values()):
            return (
                f"flattened in another order, a: {', '.join(self.a.stored)}; b: {', '.join(self.b.stored)} "
                f"(axes of {layers}); compared axis by axis"
            )
        return f"its axes have the names of {layers}'s"

    def same_rows(self, other: Pair) -> bool:
        """Say whether another pair has the same rows."""
        if self.position is None or other.position is None:
            if self.position is not other.position:
                return False
        elif not np.array_equal(self.position, other.position):
            return False
        return self.samples is other.samples or np.array_equal(self.samples, other.samples)


def ways_to_line_up(
    a: JoinedLayer,
    b: JoinedLayer,
    rows: tuple[Array, Array | None],
    views: tuple[Sequence[View], Sequence[View]],
) -> list[Pair]:
    """Give the ways to compare value with value: first as the axes are named themselves, then by other
    layers'.

    Where none fits there is one Pair whose sizes differ.
    """
    if rows[1] is not None:  # rows are positions: what is left are features
        return [Pair(_features(a), _features(b), *rows)]
    first = Pair(_lined(a, views[0][0]), _lined(b, views[1][0]), *rows)
    ways = [first] if first.fits else []
    for view_a in views[0]:
        for view_b in views[1]:
            if (view_a.source or view_b.source) and view_a.named and view_b.named:
                pair = Pair(_lined(a, view_a), _lined(b, view_b), *rows)
                if pair.fits and pair.a.axes == pair.b.axes:
                    ways.append(pair)
    if not ways and a.features == b.features and 1 in {len(a.sizes), len(b.sizes)}:
        ways.append(Pair(_whole(a), _whole(b), *rows))
    return ways or [first]


def _whole(layer: JoinedLayer) -> Lined:
    axes = layer.axes[-1:] if len(layer.axes) == 1 else ("*".join(layer.axes),)
    return Lined(layer, axes, (layer.features,), layer.axes)


def _features(layer: JoinedLayer) -> Lined:
    axes = layer.axes[-1:] or ("unit",)
    return Lined(layer, axes, (layer.features,), axes)


def _lined(layer: JoinedLayer, view: View) -> Lined:
    if not view.source:  # the join has put them in order
        return Lined(layer, layer.axes, layer.sizes, view.axes)
    axes, sizes = view.ordered()
    order = view.order
    in_place = order == tuple(range(len(order)))
    assert math.prod(view.sizes) == layer.features  # noqa: S101 - views are of the layer's own number of values
    return Lined(layer, axes, sizes, view.axes, view.source, view.sizes, None if in_place else order)
