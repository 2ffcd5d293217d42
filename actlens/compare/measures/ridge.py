"""Cross-validated ridge regression of one layer on another, from the moments of each fold."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.measure import Measure
from actlens.compare.scatter import CONSTANT
from actlens.compare.shifting import pair_about, whole
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Ridge(Measure):
    """How well a ridge regression on a predicts b in samples that it was not fitted to.

    1 − Σ SSE / Σ SST over the folds, where SST is the error of the mean of the other folds: 0 says as good as
    that mean, and less is possible. A sample's fold is a hash of its id, so that it is the same in every run,
    and all positions of a sample are in one.

    Parameters
    ----------
    folds
        At least 2.
    alpha
        The penalty on squared weights is alpha × the mean squared deviation of a unit, summed over the rows:
        it does not depend on the scale of a. (scikit-learn's Ridge takes the product of these.)
    """

    folds: int = 5
    alpha: float = 0.01

    name: ClassVar[str] = "ridge"
    symmetric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.whole("folds", least=2)
        self.number("alpha", above=0)

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"ridge R² of b from a ({self.folds} folds)"

    @property
    def signed(self) -> bool:
        """See Measure."""
        return False

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        shape = sums.shape
        layers_a = range(len(shape.a))
        layers_b = layers_a if shape.same else range(len(shape.a), len(shape.widths))
        every = whole(sums)
        used = [fold for fold in range(shape.folds) if 0 < sums.count[fold] < every.count[0]]
        splits = [_Split(sums, every, fold) for fold in used]
        errors = np.zeros((len(layers_a), len(layers_b)))
        totals = np.zeros(len(layers_b))
        for split in splits:
            totals += [np.trace(split.tested(b, b)) for b in layers_b]
            for i, a in enumerate(layers_a):
                errors[i] += split.errors(a, layers_b, self.alpha / shape.recorded[a])
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = Cells(1.0 - errors / totals)
        about = -every.total[0] / every.count[0]
        for side, layers in enumerate((layers_a, layers_b)):
            for number, layer in enumerate(layers):
                if not np.trace(pair_about(every, (layer, layer), about)) > 0:
                    cells.refuse(side, number, CONSTANT)
        return cells


class _Split:
    """One fold, and all others that the regression is fitted to; all is about the mean of those."""

    def __init__(self, sums: Sums, every: Sums, fold: int) -> None:
        self._sums, self._every, self._fold = sums, every, fold
        rows = every.count[0] - sums.count[fold]
        self._delta = -(every.total[0] - sums.total[fold]) / rows

    def tested(self, a: int, b: int) -> Array:
        """Give Σ x yᵀ of the fold (features_a, features_b)."""
        return _either(self._sums, a, b, self._delta, self._fold)

    def fitted(self, a: int, b: int) -> Array:
        """Give Σ x yᵀ of the others."""
        return np.asarray(_either(self._every, a, b, self._delta, 0) - self.tested(a, b))

    def errors(self, a: int, layers_b: range, share: float) -> list[float]:
        """Give the sum of squared errors in the fold, for every layer of b; the penalty is a share of a's."""
        scatter = self.fitted(a, a)
        penalty = share * float(np.trace(scatter))
        values, vectors = np.linalg.eigh(scatter)
        with np.errstate(divide="ignore"):
            shrunk = np.where(values + penalty > 0, 1.0 / (values + penalty), 0.0)
        held = self.tested(a, a)
        found = []
        for b in layers_b:
            weights = vectors @ (shrunk[:, None] * (vectors.T @ self.fitted(a, b)))
            missed = np.vdot(weights, held @ weights) - 2 * np.vdot(weights, self.tested(a, b))
            found.append(float(np.trace(self.tested(b, b)) + missed))
        return found


def _either(sums: Sums, a: int, b: int, delta: Array, fold: int) -> Array:
    if (a, b) in sums.products:
        return pair_about(sums, (a, b), delta, fold)
    return pair_about(sums, (b, a), delta, fold).T
