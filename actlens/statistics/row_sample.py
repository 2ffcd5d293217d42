"""A few whole rows of a layer, as they are: enough to estimate how many dimensions it fills."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.spread import MOST_UNITS, Spread
from actlens.statistics.units import Units

Array = npt.NDArray[Any]

_ROWS = 2048  # of a sample, or up to twice as many
_LEAST = 64  # rows; of fewer, nothing is estimated
_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """Which rows, and which of their positions, go to the sample: one in so many; 0 rows for none.

    It depends on the number of a row alone, so that every way of sharing rows out keeps the same ones.
    """

    every: int
    positions: int = 1

    @classmethod
    def of(cls, rows: int, units: Units, itemsize: int) -> Sampling:
        """Keep about 2048 rows, fewer of wide layers; at most 16 positions of a row where there are more.

        >>> Sampling.of(65_536, Units.of("fc", ("sample", "unit"), (65_536, 8), None), 4)
        Sampling(every=32, positions=1)
        """
        places = units.before * units.after
        stride = -(-places // 16)
        kept = -(-places // stride)
        most = min(_ROWS, _BYTES // (itemsize * units.count * kept))
        return cls(0) if most < _LEAST or units.count < 2 else cls(max(1, rows // max(1, most)), stride)

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.every == 1 and self.positions == 1


class RowSample:
    """Rows (rows, units) without NaN and inf, in their order."""

    def __init__(self, units: Units, sampling: Sampling) -> None:
        self._units, self.sampling = units, sampling
        self.pieces: list[Array] = []

    def add(self, rows: Array, numbers: Array) -> None:
        """Keep some of the rows (rows, values)."""
        some = rows[numbers % self.sampling.every == 0]
        some = some[np.isfinite(some).all(axis=1)]
        if len(some):
            places = self._units.before * self._units.after
            split = self._units.as_rows(some).reshape(len(some), places, self._units.count)
            self.pieces.append(split[:, :: self.sampling.positions].reshape(-1, self._units.count).copy())

    def merge(self, other: RowSample) -> RowSample:
        """Put the rows of the other behind these; the finer sample is made as coarse as the other."""
        coarser = max(self.sampling, other.sampling, key=lambda each: each.every)
        both = RowSample(self._units, coarser)
        for each in (self, other):
            ratio = coarser.every // max(each.sampling.every, 1)
            both.pieces += (
                each.pieces if ratio <= 1 or not each.pieces else [np.concatenate(each.pieces)[::ratio]]
            )
        return both

    def _centred(self) -> tuple[Array, Array]:
        """Give the mean, and rows less their mean: where they are few, in float64."""
        rows = np.concatenate(self.pieces) if self.pieces else np.zeros((0, self._units.count))
        mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(self._units.count)
        if rows.size <= 1 << 20:
            return mean, rows - mean
        return mean, np.subtract(rows, mean, out=np.empty_like(rows), casting="unsafe")

    def spread(self) -> Spread | None:
        """Give the covariance of the sample; None where it has too many units for one."""
        if self._units.count > MOST_UNITS or not self.sampling.every:
            return None
        mean, centred = self._centred()
        with np.errstate(over="ignore", invalid="ignore"):
            scatter = (centred.T @ centred).astype(np.float64)
        return Spread(len(centred), mean, scatter, 1 if self.sampling.all else max(self.sampling.every, 2))

    def participation(self) -> float:
        """Estimate (Σλ)² / Σλ²: of the products of rows where these are fewer than the units."""
        if not self.sampling.every:
            return float("nan")
        mean, centred = self._centred()
        with np.errstate(over="ignore", invalid="ignore"):
            few = len(centred) < centred.shape[1]
            products = centred @ centred.T if few else centred.T @ centred
        every = 1 if self.sampling.all else 2
        return Spread(len(centred), mean, products, every).participation(centred.shape[1])
