"""L2 norms of rows: their mean, spread, extremes and quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.statistics.bit_histogram import BitHistogram
from actlens.statistics.powers import Powers

Array = npt.NDArray[Any]

_PIECE = 2048  # values


class RowNorms:
    """Norms of the rows whose values are all finite."""

    def __init__(self) -> None:
        self.powers, self.histogram = Powers.empty(1), BitHistogram()
        self.low, self.high = np.inf, -np.inf

    def add(self, rows: Array) -> Array:
        """Add rows (rows, values) of float32 or float64; say which are finite, (rows,) of bool."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = _squares(rows)
            if (
                rows.dtype != np.float64 and not np.isfinite(squares).all()
            ):  # NaN, inf, or too large for float32
                odd = ~np.isfinite(squares)
                squares[odd] = _squares(rows[odd].astype(np.float64))
            norms = np.sqrt(squares)
        finite = np.isfinite(norms)
        if not finite.all():
            norms = norms[finite]
            finite |= np.isfinite(rows).all(axis=1)  # finite values of float64, with a norm that is not
        if len(norms):
            shift = norms[:1]
            distance = norms - shift
            sums = np.array([[distance.sum()], [(distance * distance).sum()], [0.0], [0.0]])  # no skewness
            self.powers = self.powers.merge(Powers.about(shift, np.array([len(norms)]), sums))
            self.low, self.high = min(self.low, float(norms.min())), max(self.high, float(norms.max()))
            self.histogram.add(norms)
        return np.asarray(finite)

    def merge(self, other: RowNorms) -> RowNorms:
        """Put two together."""
        both = RowNorms()
        both.powers = self.powers.merge(other.powers)
        both.histogram = self.histogram.merge(other.histogram)
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        return both


def _squares(rows: Array) -> Array:
    """Give Σx² of each row: of float32 in pieces, whose sums are of float64. BLAS would depend on threads."""
    total = np.zeros(len(rows))
    for first in range(0, rows.shape[1], _PIECE):
        piece = rows[:, first : first + _PIECE]
        total += np.einsum("ij,ij->i", piece, piece)
    return total
