"""Sums of each class, for what tells classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.units import Units

Array = npt.NDArray[Any]

_VALUES = 1 << 16  # of rows that are widened at once


class ClassSums:
    """Count and sum of the values of each unit in each class: (classes, units).

    `names` (classes,) are the sorted labels. `count` is (classes, 1) as long as every value was finite.
    """

    def __init__(self, names: Array, units: int) -> None:
        self.names = names
        self.count = np.zeros((len(names), 1), np.int64)
        self.total = np.zeros((len(names), units))

    def add(self, rows: Array, codes: Array, units: Units) -> None:
        """Add rows (rows, values) whose labels are names[codes]."""
        step = max(1, _VALUES // rows.shape[1])
        for at in range(0, len(rows), step):
            some, code = rows[at : at + step], codes[at : at + step]
            order = np.argsort(code, kind="stable")
            these, starts = np.unique(code[order], return_index=True)
            wide = some[order].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                total = _runs(units.summed(wide), starts)
            if np.isfinite(total).all():
                found = np.diff(starts, append=len(some))[:, None] * (units.before * units.after)
            else:
                finite = np.isfinite(wide)
                wide[~finite] = 0.0
                total = _runs(units.summed(wide), starts)
                found = _runs(units.summed(finite.astype(np.int64)), starts)
            self.total[these] += total
            self._count(these, found)

    def _count(self, classes: Array, found: Array) -> None:
        if found.shape[1] > self.count.shape[1]:
            self.count = np.repeat(self.count, found.shape[1], axis=1)
        self.count[classes] += found

    def merge(self, other: ClassSums) -> ClassSums:
        """Put two together; classes that only one of them has stay as they are."""
        names = np.unique(np.concatenate([self.names, other.names]))
        both = ClassSums(names, self.total.shape[1])
        both.count = np.zeros((len(names), max(self.count.shape[1], other.count.shape[1])), np.int64)
        for each in (self, other):
            at = np.searchsorted(names, each.names)
            both.count[at] += each.count
            both.total[at] += each.total
        return both

    def means(self) -> Array:
        """Give (classes, units); NaN where a class has no value."""
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)

    def selectivity(self) -> Array:
        """Give (μ_max − μ_rest) / (μ_max + μ_rest) of each unit, μ_rest the mean of the other classes' means.

        Morcos et al., ICLR 2018. NaN where a class mean is negative, where all are 0, and for one class.
        """
        means = self.means()
        known = ~np.isnan(means)
        largest = np.where(known, means, -np.inf).max(axis=0)
        others = known.sum(axis=0) - 1
        with np.errstate(all="ignore"):
            rest = (np.where(known, means, 0.0).sum(axis=0) - largest) / others
            index = (largest - rest) / (largest + rest)
        negative = (np.where(known, means, 0.0) < 0).any(axis=0)
        return np.where((others > 0) & ~negative & (largest + rest > 0), index, np.nan)

    def explained(self, mean: Array, m2: Array) -> Array:
        """Give η² = Σ n_k (μ_k − μ)² / Σ (x − μ)²: the share of a unit's variance that is between classes."""
        distance = np.where(self.count > 0, self.means() - mean, 0.0)
        between = (self.count * distance**2).sum(axis=0)
        with np.errstate(all="ignore"):
            return np.where(m2 > 0, np.minimum(between / m2, 1.0), np.nan)

    def best(self) -> Array:
        """Give (units,) the label of the class with the largest mean."""
        means = self.means()
        return np.asarray(self.names[np.where(np.isnan(means), -np.inf, means).argmax(axis=0)])


def _runs(rows: Array, starts: Array) -> Array:
    """Sum up each run of rows; as np.add.reduceat does, and several times as quickly."""
    stops = [*starts[1:].tolist(), len(rows)]
    return np.stack([np.add.reduce(rows[a:b], axis=0) for a, b in zip(starts.tolist(), stops, strict=True)])
