"""The largest values of each unit, and the rows they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.tiles import FEW_COLUMNS

Array = npt.NDArray[Any]

_PENDING = 1 << 14  # candidates that wait until they are sorted, at least
_MANY = 4  # times `k`; of so many candidates in a piece, those that cannot stay are left out first
_PIECE = 1 << 16  # values
_FIRST_ROWS = 512  # from which it is first estimated how large a value must be


class TopSamples:
    """The `k` rows with the largest values of each unit; of equal values, the earlier row.

    Entries are sorted by unit, then by value: `unit`, `value`, `row`, and `ids` once they are known.
    """

    def __init__(self, units: int, k: int) -> None:
        self.units, self.k = units, k
        self.unit, self.row = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.value = np.zeros(0)
        self.ids: Array | None = None
        self._least = np.full(units, -np.inf)  # to be exceeded
        self._waiting: list[tuple[Array, Array, Array]] = []
        self._pending = 0

    def offer_all(self, values: Array, rows: Array) -> None:
        """Take up all of a block (rows, units), piece by piece, so that what is known saves work."""
        self.prepare(values)
        step = max(_FIRST_ROWS, _PIECE // max(1, values.shape[1]))
        for at in range(0, len(values), step):
            self.offer(values[at : at + step], rows[at : at + step])

    def offer(self, values: Array, rows: Array, high: Array | None = None, first: int = 0) -> None:
        """Take up what exceeds the least of a unit's largest.

        Args:
            values: (rows, some units), NaN where nothing counts.
            rows: (rows,) their numbers, rising, and above all that were offered before.
            high: (some units,) the largest of each, where known.
            first: the number of the first of the units.
        """
        if not self.k:
            return
        # exact, and quicker to compare with
        least = self._least[first : first + values.shape[1]].astype(values.dtype)
        high = np.fmax.reduce(values, axis=0) if high is None else high
        columns = np.flatnonzero(high > least)
        if not len(columns):
            return
        if len(columns) > values.shape[1] // FEW_COLUMNS:
            columns = np.arange(values.shape[1])
            some, hits = values, values > least
        else:
            some = values[:, columns]
            hits = some > least[columns]
        many = np.count_nonzero(hits) > _MANY * self.k * len(columns)
        if many:
            order = np.argsort(np.where(hits, -some, np.inf), axis=0, kind="stable")[: self.k]
            kept = np.zeros_like(hits)
            np.put_along_axis(kept, order, values=True, axis=0)
            hits &= kept
        at, column = np.divmod(np.flatnonzero(hits), hits.shape[1])  # quicker than nonzero
        self._waiting.append((columns[column] + first, some[at, column].astype(np.float64), rows[at]))
        self._pending += len(at)
        if many or self._pending > max(_PENDING, _MANY * self.units * self.k):
            self.settle()

    def prepare(self, values: Array) -> None:
        """See from the first rows (rows, units) how large a value must be, so that few are taken up."""
        some = values[:_FIRST_ROWS]
        if self.k and len(some) > 4 * self.k and not len(self.unit) and not self._waiting:
            columns = np.where(np.isfinite(some), some, -np.inf).T.copy()
            columns.partition(len(some) - self.k, axis=1)
            # what equals it must come in as well
            below = columns.dtype.type(-np.inf)
            self._least = np.nextafter(columns[:, -self.k], below).astype(np.float64)

    def settle(self) -> None:
        """Sort in what waits, and keep the largest."""
        if self._waiting:
            unit, value, row = (np.concatenate(each) for each in zip(*self._waiting, strict=True))
            self._waiting, self._pending = [], 0
            self._keep(
                np.append(self.unit, unit), np.append(self.value, value), np.append(self.row, row), None
            )

    def _keep(self, unit: Array, value: Array, row: Array, ids: Array | None) -> None:
        # Stable: of equal values, the earlier row stands first.
        order = np.argsort(-value, kind="stable")
        narrow = (
            unit.astype(np.uint16) if self.units <= 1 << 16 else unit
        )  # numpy sorts these by their digits
        order = order[np.argsort(narrow[order], kind="stable")]
        unit = unit[order]
        rank = np.arange(len(unit)) - np.searchsorted(unit, unit)
        order, unit = order[rank < self.k], unit[rank < self.k]
        self.unit, self.value, self.row = unit, value[order], row[order]
        self.ids = None if ids is None else ids[order]
        last = rank[rank < self.k] == self.k - 1
        self._least[unit[last]] = self.value[last]

    def merge(self, other: TopSamples, after: int = 0) -> TopSamples:
        """Put two together; the rows of the other are counted from `after` on."""
        self.settle()
        other.settle()
        both = TopSamples(self.units, self.k)
        ids = None
        if self.ids is not None and other.ids is not None:
            ids = np.concatenate([self.ids, other.ids])
        both._keep(
            np.append(self.unit, other.unit),
            np.append(self.value, other.value),
            np.append(self.row, other.row + after),
            ids,
        )
        return both

    def table(self) -> tuple[Array, Array]:
        """Give values (units, k), NaN where there are fewer, and the ids (units, k) as objects, or None."""
        values = np.full((self.units, self.k), np.nan)
        ids = np.full((self.units, self.k), None, object)
        rank = np.arange(len(self.unit)) - np.searchsorted(self.unit, self.unit)
        values[self.unit, rank] = self.value
        known = self.row if self.ids is None else self.ids
        ids[self.unit, rank] = np.array(known.tolist(), object)
        return values, ids
