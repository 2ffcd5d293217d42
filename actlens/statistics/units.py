"""What a unit is: which axes of a layer tell units apart, and which only say where they were computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError

Array = npt.NDArray[Any]

_FEATURES = ("channel", "unit", "feature", "features")  # axes that hold what a layer computes
VALUE = "value"  # unit= for every value of a row


@dataclasses.dataclass(frozen=True, slots=True)
class Units:
    """A row seen as (before, units, after): the units, and the positions before and behind their axis.

    `axes` and `sizes` are those of the units, `positions` the names of the axes that are pooled.
    """

    before: int
    count: int
    after: int
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    positions: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, axes: Sequence[str], shape: Sequence[int], unit: str | None) -> Units:
        """Choose: the axis that is asked for; else one that is known to hold units; else every value.

        Raises:
            StatisticsError: the layer has no axis `unit`.

        >>> Units.of("conv", ("sample", "channel", "height", "width"), (9, 8, 4, 3), None)
        Units(before=1, count=8, after=12, axes=('channel',), sizes=(8,), positions=('height', 'width'))
        """
        rest, sizes = tuple(axes[1:]), tuple(shape[1:])
        if unit not in {None, VALUE, *rest}:
            raise StatisticsError.no_axis(name, str(unit), (*rest, VALUE))
        known = [axis for axis in _FEATURES if rest.count(axis) == 1]
        chosen = unit if unit is not None else known[0] if known else VALUE
        if chosen == VALUE:
            return cls(1, math.prod(sizes), 1, rest, sizes)
        at = rest.index(chosen)
        return cls(
            before=math.prod(sizes[:at]),
            count=sizes[at],
            after=math.prod(sizes[at + 1 :]),
            axes=(chosen,),
            sizes=(sizes[at],),
            positions=rest[:at] + rest[at + 1 :],
        )

    @property
    def per_row(self) -> int:
        """The values of one row."""
        return self.before * self.count * self.after

    @property
    def pooled(self) -> bool:
        """Whether a unit has several values in a row."""
        return self.before * self.after > 1

    def text(self) -> str:
        """Say what a unit is, for a table.

        >>> Units.of("conv", ("sample", "channel", "height", "width"), (9, 8, 4, 3), None).text()
        'channel (over height×width)'
        """
        over = f" (over {'×'.join(self.positions)})" if self.positions else ""
        return ("×".join(self.axes) or VALUE) + over

    def named(self, number: int) -> str:
        """Name one unit: its number, or its index where a unit is one of several axes.

        >>> Units.of("a", ("sample", "height", "width"), (9, 4, 3), None).named(5)
        '(1, 2)'
        """
        if len(self.sizes) < 2:
            return str(number)
        return str(tuple(int(index) for index in np.unravel_index(number, self.sizes)))

    def summed(self, columns: Array, folded: int = 1) -> Array:
        """Add up what stands for each value of `folded` rows: (…, values) to (…, units)."""
        if folded == 1 and not self.pooled:
            return columns  # to sum over axes of one is slow
        shape = (*columns.shape[:-1], folded * self.before, self.count, self.after)
        return np.asarray(columns.reshape(shape).sum((-3, -1)))

    def lowest(self, columns: Array, folded: int = 1) -> Array:
        """Give the smallest over the values of each unit: (values,) to (units,)."""
        return np.asarray(columns.reshape(folded * self.before, self.count, self.after).min((0, 2)))

    def repeated(self, units: Array, folded: int = 1) -> Array:
        """Give each value its unit's: (units,) to (values of `folded` rows,)."""
        shape = (folded * self.before, self.count, self.after)
        return np.broadcast_to(units[:, None], shape).reshape(-1)

    def peaks(self, rows: Array) -> Array:
        """Give the largest value of each unit in each row: (rows, values) to (rows, units)."""
        if not self.pooled:
            return rows
        return np.asarray(rows.reshape(-1, self.before, self.count, self.after).max((1, 3)))

    def as_rows(self, rows: Array) -> Array:
        """Make every position a row: (rows, values) to (rows × positions, units)."""
        split = rows.reshape(-1, self.before, self.count, self.after)
        return split.swapaxes(2, 3).reshape(-1, self.count)
