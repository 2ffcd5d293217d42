"""LayerStats: what is known of the units of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError
from actlens.statistics.class_figures import ClassFigures
from actlens.statistics.powers import Powers
from actlens.statistics.saturation import Saturation
from actlens.statistics.state import LayerState
from actlens.statistics.units import Units
from actlens.statistics.whole_number import whole_number
from actlens.table import printable

if TYPE_CHECKING:
    from actlens.statistics.spread import Spread

Array = npt.NDArray[Any]

_LEAST_VARIANCE = 1e-18  # whose fourth powers float32 holds


class LayerStats(ClassFigures):
    """Statistics of one layer; arrays are `(units,)` unless they say otherwise, and of float64.

    NaN and inf are counted in `nan` and `inf`, and are in no other figure.

    Attributes:
        name: the layer.
        row: what a row is: "sample", or "token" of a layer whose samples differ in length.
        rows: how many rows were read.
        units: what a unit is: `units.count`, `units.axes`, `units.positions` (pooled), `units.text()`.

    >>> fc = actlens.stats(run)["fc1"]
    >>> np.allclose(fc.mean, run["fc1"][:].mean(axis=0, dtype="f8")), int(fc.dead.sum())
    (True, 0)
    >>> fc
    <LayerStats fc1: 120 samples, 40 units>
    """

    def __init__(self, name: str, row: str, state: LayerState) -> None:
        self.name, self.row = name, row
        self._state = state

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self._state.rows

    @property
    def units(self) -> Units:
        """What a unit is."""
        return self._state.plan.units

    @property
    def count(self) -> Array:
        """How many finite values: rows × positions, without NaN and inf."""
        return self._state.powers.count

    @property
    def mean(self) -> Array:
        """The mean; NaN without a finite value."""
        return np.where(self.count > 0, self._state.powers.mean, np.nan)

    @property
    def variance(self) -> Array:
        """The variance, with n − 1."""
        return self._state.powers.variance()

    @property
    def std(self) -> Array:
        """The root of the variance."""
        return np.asarray(np.sqrt(self.variance))

    @property
    def skewness(self) -> Array:
        """√n M₃ / M₂^1.5; NaN for a constant, and where powers of float32 are out of its range."""
        return self._held(self._state.powers.skewness())

    @property
    def kurtosis(self) -> Array:
        """The excess n M₄ / M₂² − 3: 0 for a normal distribution; NaN where the skewness is."""
        return self._held(self._state.powers.kurtosis())

    @property
    def min(self) -> Array:
        """The smallest value."""
        return np.where(self.count > 0, self._state.low, np.nan)

    @property
    def max(self) -> Array:
        """The largest value."""
        return np.where(self.count > 0, self._state.high, np.nan)

    @property
    def nan(self) -> Array:
        """How many values are NaN."""
        return self._state.nan

    @property
    def inf(self) -> Array:
        """How many values are inf or −inf."""
        return self._state.infinite

    @property
    def bad_rows(self) -> int:
        """How many rows hold NaN or inf; these are not in norms and effective ranks."""
        return self._state.bad_rows

    @property
    def bad_ids(self) -> Array:
        """The ids of the first 12 rows that hold NaN or inf."""
        return self._state.bad

    @property
    def zeros(self) -> Array:
        """The share of values that are exactly 0."""
        return self._share(self._state.zeros)

    @property
    def dead(self) -> Array:
        """Which units are 0 for every sample, of bool."""
        return np.asarray((self.count > 0) & (self._state.zeros == self.count))

    @property
    def constant(self) -> Array:
        """Which units have the same value for every sample, dead ones too, of bool."""
        return np.asarray((self.count > 0) & (self._state.low == self._state.high))

    @cached_property
    def _bounds(self) -> Saturation:
        return self._state.bounds.found(self.count)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The bounds that the layer stands at, None for none: those of `bounds=`, or where it is clipped."""
        return self._bounds.lower, self._bounds.upper

    @property
    def at_lower(self) -> Array:
        """The share of values at the lower bound; 0 where there is none."""
        return self._bounds.at_lower

    @property
    def at_upper(self) -> Array:
        """The share of values at the upper bound; 0 where there is none."""
        return self._bounds.at_upper

    @property
    def saturated(self) -> Array:
        """Which units have more than half of their values at a bound, of bool; constants are not counted."""
        return np.asarray((self.at_lower + self.at_upper > 0.5) & ~self.constant)

    @property
    def pooled(self) -> Powers:
        """Moments of all values of the layer together: `.mean`, `.variance()`, `.kurtosis()`, each (1,)."""
        return self._state.powers.pooled()

    @property
    def norm(self) -> dict[str, float]:
        """L2 norms of the rows without NaN and inf: mean, std, min, max, and quantiles 5 %, 50 %, 95 %."""
        norms = self._state.norms
        if not norms.powers.count[0]:
            return dict.fromkeys(("mean", "std", "min", "max", "q05", "q50", "q95"), float("nan"))
        low, middle, high = np.clip(
            norms.histogram.quantile(np.array([0.05, 0.5, 0.95])), norms.low, norms.high
        )
        return {
            "mean": float(norms.powers.mean[0]),
            "std": float(np.sqrt(norms.powers.variance()[0])),
            "min": norms.low,
            "max": norms.high,
            "q05": float(low),
            "q50": float(middle),
            "q95": float(high),
        }

    @property
    def sampled(self) -> int:
        """Of so many values one is in the histogram and the quantiles; 1: all are."""
        return self._state.plan.every

    def quantile(self, share: float | Sequence[float]) -> Any:
        """Give the value below which a share of all values of the layer lies, within 0.4 % of it.

        Raises:
            StatisticsError: a share outside of 0 to 1.

        >>> s = actlens.stats(run)["fc1"]
        >>> bool(abs(s.quantile(0.9) - np.quantile(run["fc1"][:], 0.9)) < 0.02), s.quantile([0.1, 0.9]).shape
        (True, (2,))
        """
        try:
            shares = np.asarray(share, np.float64)
        except (TypeError, ValueError) as error:
            raise StatisticsError.quantiles(share) from error
        if not ((shares >= 0) & (shares <= 1)).all():
            raise StatisticsError.quantiles(share)
        found = self._state.histogram.quantile(shares.reshape(-1))
        if self.count.any():
            found = np.clip(found, self._state.low.min(), self._state.high.max())
        return float(found[0]) if not shares.ndim else found

    def histogram(self) -> tuple[Array, Array]:
        """Give counts (bins,) and edges (bins + 1,) of all values of the layer.

        A bin holds the numbers whose float32 begins with the same 16 bits: it is 2⁻⁷ of its value wide. Its
        edge that is nearer to 0 belongs to it. Where `sampled` is not 1, counts are estimates.
        """
        return self._state.histogram.table()

    @cached_property
    def _spread(self) -> Spread | None:
        return self._state.sample.spread() if self._state.spread is None else self._state.spread

    @cached_property
    def effective_rank(self) -> float:
        """(Σλ)² / Σλ² of the covariance's eigenvalues; NaN where no row can be kept, they are so wide.

        Of all rows with correlation=True, and of layers up to 2048 rows; else estimated from about 2048 rows.
        """
        if self.units.count == 1:
            return 1.0 if 0 < self.variance[0] < np.inf else float("nan")
        exact = self._state.spread
        return self._state.sample.participation() if exact is None else exact.participation()

    @cached_property
    def entropy_rank(self) -> float:
        """exp(−Σ p ln p) with p = λ/Σλ (Roy & Vetterli 2007); NaN where only a sample of rows is known."""
        if self.units.count == 1:
            return self.effective_rank
        if self.rank_every != 1 or self._spread is None:
            return float("nan")
        return self._spread.entropy_rank()

    @property
    def rank_every(self) -> int:
        """Of so many rows one is in ranks and correlations; 1: all are, 0: none is."""
        if self._state.spread is not None or self.units.count == 1:
            return 1
        sampling = self._state.sample.sampling
        return 1 if sampling.all else sampling.every and max(sampling.every, 2)

    def correlated(self, most: int = 20) -> list[tuple[int, int, float]]:
        """Give pairs of units with the largest |r|, as (unit, unit, r), the largest first.

        Of all rows with correlation=True; else of those that the effective rank is estimated from.

        Raises:
            StatisticsError: the layer has more than 4096 units.
        """
        most = whole_number("most", most, 0)
        if self.units.count == 1:
            return []
        if self._spread is None:
            raise StatisticsError.no_correlation(self.name)
        return self._spread.pairs(most)

    @cached_property
    def _top(self) -> tuple[Array, Array]:
        return self._state.top.table()

    @property
    def top_values(self) -> Array:
        """(units, top): the largest activations, the largest first; NaN where there are fewer samples.

        Of a layer with positions, a sample's activation is its largest over them.
        """
        return self._top[0]

    @property
    def top_ids(self) -> Array:
        """(units, top): the ids of these samples, of object; of tokens "sample:position"."""
        return self._top[1]

    def _held(self, shape: Array) -> Array:
        """Leave out what fourth powers of float32 cannot hold: they are 0 below 1e-11, and inf above 4e9."""
        known = np.isfinite(shape)
        if self._state.plan.precise == np.float32:
            known &= self._state.powers.variance() > _LEAST_VARIANCE
        return np.where(known, shape, np.nan)

    def _share(self, counts: Array) -> Array:
        return np.where(self.count > 0, counts / np.maximum(self.count, 1), np.nan)

    def __repr__(self) -> str:
        return f"<LayerStats {printable(self.name)}: {self.rows} {self.row}s, {self.units.count} units>"
