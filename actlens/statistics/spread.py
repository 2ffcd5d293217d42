"""The covariance of the units, and what it says of them: effective rank, and units that move together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce.components.moments import Sums

Array = npt.NDArray[Any]

MOST_UNITS = 4096  # of a square matrix: 128 MiB
_PIECE = 256  # rows of the square matrix that are looked at together


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """Sums over `count` rows without NaN and inf: `mean` (units,), `scatter` (units, units) about it.

    Of `every` rows one was taken; 1 for all.
    """

    count: int
    mean: Array
    scatter: Array
    every: int = 1

    @classmethod
    def of(cls, sums: Sums) -> Spread:
        """Move the sums to their own mean."""
        found = sums.finished()
        offset = found.total / max(found.count, 1)
        scatter = found.scatter
        with np.errstate(over="ignore", invalid="ignore"):
            for row, value in enumerate(found.total):
                scatter[row] -= value * offset
        return cls(found.count, found.shift + offset, scatter)

    def merge(self, other: Spread) -> Spread:
        """Put two together: S = Sᵃ + Sᵇ + δδᵀ nᵃnᵇ/n."""
        if not self.count or not other.count:
            return self if self.count else other
        n = self.count + other.count
        d = other.mean - self.mean
        scatter = self.scatter + other.scatter
        with np.errstate(over="ignore", invalid="ignore"):
            for row, value in enumerate(d * (self.count * other.count / n)):
                scatter[row] += value * d
        return Spread(n, self.mean + d * (other.count / n), scatter, max(self.every, other.every))

    def participation(self, units: int | None = None) -> float:
        """Give (Σλ)² / Σλ² of the covariance: 1 for a line, the number of units for a ball.

        Of a sample of rows Σλ² is too large by what noise adds; that is taken off, as for normal values
        (Srivastava 2005): Σλ² ≈ (tr S² − (tr S)²/m) m²/((m − 1)(m + 2)), S the covariance with m = n − 1.
        """
        trace = float(np.trace(self.scatter, dtype=np.float64))
        if self.count < 2 or not 0 < trace < np.inf:
            return float("nan")
        shares = self.scatter / trace
        squares = float(np.einsum("ij,ij->i", shares, shares).sum(dtype=np.float64))
        if self.every > 1:
            m = self.count - 1
            squares = max(
                (squares - 1 / m) * m**2 / max((m - 1) * (m + 2), 1), 1 / (units or len(self.scatter))
            )
        return 1 / squares

    def entropy_rank(self) -> float:
        """Give exp(−Σ p ln p) with p = λ/Σλ (Roy & Vetterli 2007); NaN where only a sample was taken."""
        trace = float(np.trace(self.scatter))
        if self.every > 1 or self.count < 2 or not 0 < trace < np.inf:
            return float("nan")
        shares = np.linalg.eigvalsh(self.scatter / trace)
        shares = shares[shares > np.finfo(np.float32).eps / len(shares)]
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def pairs(self, most: int) -> list[tuple[int, int, float]]:
        """Give the pairs of units with the largest |r|: (unit, unit, r), the largest first."""
        deviations = np.sqrt(np.maximum(np.diagonal(self.scatter), 0.0))
        found: list[tuple[int, int, float]] = []
        for first in range(0, len(deviations), _PIECE):
            with np.errstate(all="ignore"):
                r = self.scatter[first : first + _PIECE] / deviations
                r /= deviations[first : first + _PIECE, None]
            r[~np.isfinite(r)] = 0.0
            r[np.tri(len(r), r.shape[1], first, bool)] = 0.0  # each pair once
            size = np.abs(r).reshape(-1)
            best = np.argpartition(-size, min(most, len(size) - 1))[:most]
            found += [
                (first + int(i) // r.shape[1], int(i) % r.shape[1], float(np.clip(r.flat[i], -1, 1)))
                for i in best[size[best] > 0]
            ]
        return sorted(found, key=lambda pair: (-abs(pair[2]), pair[0], pair[1]))[:most]
