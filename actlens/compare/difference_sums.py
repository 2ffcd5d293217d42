"""What is summed up of two arrays over the same rows: how far apart they are, and what each is like."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SLICE = 1 << 15  # values that are worked on at once: with their copies they stay in the cache
_USUAL = (1e-100, 1e100)  # magnitudes whose squares, and sums of them, float64 holds


@dataclasses.dataclass(eq=False, slots=True)
class DifferenceSums:
    """Sums over the values of two layers, in float64, added to slice by slice.

    All but the counts are of the places where both are finite. Those of squares are multiplied by
    2^(−2·exponent), means by 2^(−exponent), so that they neither overflow nor vanish.

    Attributes:
        values: places seen.
        finite_a, finite_b, both: how many are finite in a, in b, in both.
        elsewhere: places where one is finite and the other is not, or NaN meets inf.
        elsewhere_row: the number of the first row that has one.
        max_abs, max_row: the largest |b − a|, and the number of its row.
        max_a: the largest |a|.
    """

    values: int = 0
    finite_a: int = 0
    finite_b: int = 0
    both: int = 0
    elsewhere: int = 0
    elsewhere_row: int | None = None
    max_abs: float = 0.0
    max_row: int = 0
    max_a: float = 0.0
    exponent: int = 0
    squares: Array = dataclasses.field(default_factory=lambda: np.zeros(4))  # of d, of a, of b; and a·b
    means: Array = dataclasses.field(default_factory=lambda: np.zeros(2))
    spreads: Array = dataclasses.field(default_factory=lambda: np.zeros(2))  # Σ (value − mean)²

    def add(self, a: Array, b: Array, first: int) -> None:
        """Take two blocks (rows, features) in; `first` is the number of their first row."""
        width = a.shape[1]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # looked for in each slice
            flat_a, flat_b = a.reshape(-1), b.reshape(-1)
            for start in range(0, len(flat_a), _SLICE):
                x = flat_a[start : start + _SLICE].astype(np.float64)
                y = flat_b[start : start + _SLICE].astype(np.float64)
                known = self.elsewhere
                where = self._slice(x, y)
                if where is not None:
                    self.max_row = first + (start + where) // width
                if self.elsewhere > known == 0:
                    there = np.flatnonzero(~_alike(x, y))[0]
                    self.elsewhere_row = first + (start + int(there)) // width

    def _slice(self, x: Array, y: Array) -> int | None:
        """Add a slice (values,); give the place of the largest difference if it is the largest so far."""
        self.values += len(x)
        places = None
        if not math.isfinite(float(x @ x) + float(y @ y)):
            places = self._finite(x, y)
            x, y = x[places], y[places]
        else:
            self.finite_a += len(x)
            self.finite_b += len(x)
        if not len(x):
            return None
        top_a = float(max(x.max(), -x.min()))
        top = max(top_a, float(y.max()), float(-y.min()))
        exponent = self._exponent(top)
        if exponent:
            x, y = np.ldexp(x, -exponent), np.ldexp(y, -exponent)
        self._join(x, y, exponent)
        self.max_a = max(self.max_a, top_a)
        d = y - x
        np.abs(d, out=d)
        where = int(d.argmax())
        largest = float(np.ldexp(d[where], exponent))
        if largest <= self.max_abs:
            return None
        self.max_abs = largest
        return where if places is None else int(places[where])

    def _finite(self, x: Array, y: Array) -> Array:
        """Count what is finite, and what is not; give the places where both are."""
        finite_x, finite_y = np.isfinite(x), np.isfinite(y)
        self.finite_a += int(np.count_nonzero(finite_x))
        self.finite_b += int(np.count_nonzero(finite_y))
        self.elsewhere += int(np.count_nonzero(~_alike(x, y)))
        return np.flatnonzero(finite_x & finite_y)

    def _exponent(self, top: float) -> int:
        """Give the scale of a slice; zeros have that of what was before."""
        if top == 0:
            return self.exponent
        return 0 if _USUAL[0] < top < _USUAL[1] else math.frexp(top)[1]

    def _join(self, x: Array, y: Array, exponent: int) -> None:
        """Add the sums of a slice; means and spreads as Chan, Golub and LeVeque put two sets together."""
        d = y - x
        squares = np.array([d @ d, x @ x, y @ y, x @ y])
        means = np.array([x.mean(), y.mean()])
        x, y = x - means[0], y - means[1]
        spreads = np.array([x @ x, y @ y])
        common = max(exponent, self.exponent) if self.both else exponent
        mine, other = self.exponent - common, exponent - common
        before, new = self.both, len(x)
        total = before + new
        old_means, new_means = np.ldexp(self.means, mine), np.ldexp(means, other)
        apart = new_means - old_means
        self.means = old_means + apart * (new / total)
        self.spreads = np.ldexp(self.spreads, 2 * mine) + np.ldexp(spreads, 2 * other)
        self.spreads += apart**2 * (before * new / total)
        self.squares = np.ldexp(self.squares, 2 * mine) + np.ldexp(squares, 2 * other)
        self.both, self.exponent = total, common

    @property
    def relative(self) -> float:
        """|b − a| / |a|, Frobenius norms; inf where a is 0 and b is not, NaN of no finite value."""
        d, a = math.sqrt(self.squares[0]), math.sqrt(self.squares[1])
        if not self.both:
            return math.nan
        if a == 0:
            return math.inf if d else 0.0
        return d / a

    @property
    def cosine(self) -> float:
        """Of the angle between all values of a and of b; NaN where one is 0."""
        _, a, b, product = self.squares.tolist()
        return product / math.sqrt(a) / math.sqrt(b) if a and b else math.nan

    @property
    def mean(self) -> tuple[float, float]:
        """Of a and of b; NaN of no finite value."""
        if not self.both:
            return math.nan, math.nan
        with np.errstate(over="ignore"):
            a, b = np.ldexp(self.means, self.exponent).tolist()
        return a, b

    @property
    def variance_ratio(self) -> float:
        """That of b over that of a; NaN where both are constant."""
        a, b = self.spreads.tolist()
        if a == 0:
            return math.inf if b else math.nan
        return float(b / a)


def _alike(x: Array, y: Array) -> Array:
    """Say where both are finite, or the same inf, or NaN."""
    return np.asarray((np.isfinite(x) & np.isfinite(y)) | (x == y) | (np.isnan(x) & np.isnan(y)))
