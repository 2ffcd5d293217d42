"""Count, mean and central sums of powers up to the fourth, that can be put together.

With δ the distance of two means, M₂ = M₂ᵃ + M₂ᵇ + δ²nᵃnᵇ/n (Chan, Golub & LeVeque 1983); M₃ and M₄ follow
likewise (Pébay 2008). All sums are about a value near the mean, so that a mean of thousands of deviations
costs no digits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Powers:
    """Of each unit: how many values, their mean, and Σ(x − mean)ᵖ for p = 2, 3, 4; all (units,)."""

    count: Array
    mean: Array
    m2: Array
    m3: Array
    m4: Array

    @classmethod
    def empty(cls, units: int) -> Powers:
        """No value yet."""
        return cls(np.zeros(units, np.int64), *(np.zeros(units) for _ in range(4)))

    @classmethod
    def about(cls, shift: Array, count: Array, sums: Array) -> Powers:
        """From Σ(x − shift)ᵖ, p = 1 to 4, as `sums` (4, units)."""
        s1, s2, s3, s4 = sums
        n = np.maximum(count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            d = s1 / n
            m2 = np.maximum(s2 - n * d**2, 0.0)
            m3 = s3 - 3 * d * s2 + 2 * n * d**3
            m4 = np.maximum(s4 - 4 * d * s3 + 6 * d**2 * s2 - 3 * n * d**4, 0.0)
            return cls(count, np.where(count > 0, shift + d, 0.0), m2, m3, m4)

    def held_to(self, low: Array, high: Array) -> Powers:
        """Say what the extremes tell: a constant is its own mean, and has no spread."""
        constant = (self.count > 0) & (low == high)
        if not constant.any():
            return self
        sums = (np.where(constant, 0.0, each) for each in (self.m2, self.m3, self.m4))
        return Powers(self.count, np.where(constant, low, self.mean), *sums)

    def pooled(self) -> Powers:
        """Put all units together into one: (1,)."""
        n = self.count
        total = max(int(n.sum()), 1)
        base = self.mean[n.argmax()] if len(n) else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            mean = base + float((n * (self.mean - base)).sum()) / total
            d = np.where(n > 0, self.mean - mean, 0.0)
            sums = (
                self.m2 + n * d**2,
                self.m3 + 3 * d * self.m2 + n * d**3,
                self.m4 + 4 * d * self.m3 + 6 * d**2 * self.m2 + n * d**4,
            )
            return Powers(np.array([n.sum()]), np.array([mean]), *(np.array([each.sum()]) for each in sums))

    def merge(self, other: Powers) -> Powers:
        """Put the values of the same units together."""
        a, b = self.count, other.count
        n = np.maximum(a + b, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            d = np.where((a > 0) & (b > 0), other.mean - self.mean, 0.0)
            mean = np.where(a > 0, self.mean + d * b / n, other.mean)
            m2 = self.m2 + other.m2 + d**2 * a * b / n
            m3 = self.m3 + other.m3
            m3 += d**3 * a * b * (a - b) / n**2 + 3 * d * (a * other.m2 - b * self.m2) / n
            m4 = self.m4 + other.m4 + d**4 * a * b / n * (a * a - a * b + b * b) / n**2
            m4 += 6 * d**2 * (a**2 * other.m2 + b**2 * self.m2) / n**2
            m4 += 4 * d * (a * other.m3 - b * self.m3) / n
        return Powers(a + b, mean, m2, m3, m4)

    def variance(self) -> Array:
        """Give (units,) variances with n − 1; 0 for one value, NaN for none."""
        return np.where(self.count > 0, self.m2 / np.maximum(self.count - 1, 1), np.nan)

    def skewness(self) -> Array:
        """Give √n M₃ / M₂^1.5; NaN for a constant."""
        with np.errstate(all="ignore"):
            return np.asarray(np.sqrt(self.count) * self.m3 / self._spread() ** 1.5)

    def kurtosis(self) -> Array:
        """Give the excess n M₄ / M₂² − 3: 0 for a normal distribution, NaN for a constant."""
        with np.errstate(all="ignore"):
            return np.asarray(self.count * self.m4 / self._spread() ** 2 - 3)

    def _spread(self) -> Array:
        return np.where(self.m2 > 0, self.m2, np.nan)
