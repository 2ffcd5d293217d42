"""A histogram whose bins are the upper 16 bits of float32: exact counts, quantiles within 0.4 %.

This is the sketch of DDSketch (Masson, Rim & Lee, VLDB 2019) with the bits of the number as its mapping: bins
are 2⁻⁷ wide, relative to their value, and stand fixed before anything was seen. So two of them are added bin
by bin, and whoever adds them, in whatever order, has the same counts. KLL sketches, which are smaller, draw
random bits when they are merged, and give another answer each time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_BINS = 1 << 16
_SIGN = 1 << 15
_INFINITE = 0x7F80  # the pattern of infinity: above are NaN
RELATIVE_ERROR = 2.0**-8  # of a quantile: half of a bin
_PIECE = 1 << 16  # values that are counted at once, so that their numbers stay in the cache


@dataclasses.dataclass(eq=False, slots=True)
class BitHistogram:
    """Counts of values (65536,), by the upper half of their float32."""

    counts: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, values: Array, weight: int = 1) -> None:
        """Count finite values of any shape; each stands for `weight` values."""
        with np.errstate(over="ignore"):
            flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        for at in range(0, len(flat), _PIECE):
            upper = (flat[at : at + _PIECE].view(np.uint32) >> 16).astype(np.intp)
            found = np.bincount(upper, minlength=_BINS)
            self.counts += found if weight == 1 else found * weight

    def merge(self, other: BitHistogram) -> BitHistogram:
        """Add."""
        return BitHistogram(self.counts + other.counts)

    def quantile(self, shares: Array) -> Array:
        """Give the values at these shares of the count: the middle of the bin that holds the ⌈q n⌉-th."""
        order = _order()
        reached = np.cumsum(self.counts[order])
        if not reached[-1]:
            return np.full(len(shares), np.nan)
        wanted = np.clip(np.ceil(np.asarray(shares) * reached[-1]), 1, reached[-1])
        patterns = order[np.searchsorted(reached, wanted)]
        inner, outer = _magnitudes(patterns)
        middle = np.where(inner == 0, 0.0, np.where(np.isfinite(outer), (inner + outer) / 2, inner))
        return np.where(patterns >= _SIGN, -middle, middle)

    def table(self) -> tuple[Array, Array]:
        """Give counts (bins,) and edges (bins + 1,), from the first bin that holds something to the last."""
        order = _order()
        counts = self.counts[order]
        (used,) = np.nonzero(counts)
        if not len(used):
            return np.zeros(0, np.int64), np.zeros(1)
        kept = order[used[0] : used[-1] + 1]
        inner, outer = _magnitudes(kept)
        negative = kept >= _SIGN
        lower, upper = np.where(negative, -outer, inner), np.where(negative, -inner, outer)
        return counts[used[0] : used[-1] + 1], np.append(lower, upper[-1])


def _order() -> Array:
    """Give all patterns of finite values and infinity, from the smallest value to the largest."""
    positive = np.arange(_INFINITE + 1)
    return np.concatenate([positive[::-1] + _SIGN, positive])


def _magnitudes(patterns: Array) -> tuple[Array, Array]:
    """Give where bins begin and end, without the sign."""
    bits = (patterns & (_SIGN - 1)).astype(np.uint32)
    inner = (bits << 16).view(np.float32).astype(np.float64)
    following = np.minimum(bits + 1, _INFINITE)
    return inner, (following << 16).view(np.float32).astype(np.float64)
