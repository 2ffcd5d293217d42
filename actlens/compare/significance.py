"""Whether layers are more alike than by chance: permutations, with the best of all pairs as the measure of
chance.

The rows of b are shuffled alike for all its layers, and of all pairs the most alike counts: so that the best
of many layers is held to the best of many that are unrelated (Aristotelian representations, arXiv
2602.14486).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare import grams
from actlens.compare.comparison import Comparison
from actlens.compare.folds import folds_of
from actlens.compare.images import narrowed
from actlens.compare.joining import Joined
from actlens.compare.measures.neighbors import MutualKNN, neighbors, shared
from actlens.compare.shuffling import Shuffler, groups_of
from actlens.compare.sums import Adder, Shape, Sums
from actlens.compare.whole import load
from actlens.errors import CompareError
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]
Statistic = Callable[[Array], Array]

_FEATURE = "Comparison.pvalue"
_ROUNDING = 1e-7  # sums of another order; what is equal but for that counts as equal


@dataclasses.dataclass(frozen=True, eq=False)
class Significance:
    """What `Comparison.pvalue` gives.

    Attributes
    ----------
    values
        (layers_a, layers_b): the share of permutations, with the data as one of them, in which the best of
        all pairs is at least as alike as this pair; holds for all pairs at once. NaN where there is no value,
        and for a layer with itself.
    uncorrected
        The same, of this pair alone.
    null
        (permutations,): the best of all pairs in each.
    permutations, groups
        How many; and how many groups of rows were shuffled, None for the rows themselves.
    """

    values: Array
    uncorrected: Array
    null: Array
    permutations: int
    groups: int | None

    def threshold(self, level: float = 0.05) -> float:
        """Give the value that the best pair of unrelated layers passes with this probability."""
        ordered = np.sort(self.null)
        return float(ordered[min(len(ordered) - 1, int(np.ceil((1 - level) * len(ordered))))])


def significance(
    comparison: Comparison, permutations: int, *, groups: str | npt.ArrayLike | None, random_state: int
) -> Significance:
    """Shuffle the rows of b and compare again; each layer's own part is computed once."""
    joined, measure = needed(comparison, _FEATURE)
    if isinstance(permutations, bool) or not isinstance(permutations, (int, np.integer)) or permutations < 1:
        raise CompareError.count(_FEATURE, "permutations", permutations)
    codes = groups_of(joined, groups, _FEATURE)
    shuffler = Shuffler(joined.rows, codes, random_state, _FEATURE)
    sign = 1.0 if comparison.similarity else -1.0
    with single_threaded_blas():
        statistic = _statistic(joined, measure)
        observed = sign * statistic(np.arange(joined.rows))
        if joined.same:
            np.fill_diagonal(observed, np.nan)
        valid = np.isfinite(observed)
        if not valid.any():
            raise CompareError.no_values(_FEATURE)
        alone, best = np.ones(observed.shape), np.ones(observed.shape)
        null = np.empty(permutations)
        for number in range(permutations):
            drawn = sign * statistic(shuffler.draw())
            null[number] = drawn[valid & np.isfinite(drawn)].max(initial=-np.inf)
            alone += drawn >= observed - _ROUNDING
            best += null[number] >= observed - _ROUNDING
    count = permutations + 1
    return Significance(
        np.where(valid, best / count, np.nan),
        np.where(valid, alone / count, np.nan),
        sign * null,
        permutations,
        None if codes is None else len(np.unique(codes)),
    )


def needed(comparison: Comparison, feature: str) -> tuple[Joined, Any]:
    """Give the activations and the measure of a comparison.

    Raises:
        CompareError: it was read from a file, or made of moments.
    """
    if comparison.joined is None or comparison.definition is None:
        raise CompareError.no_activations(feature)
    return comparison.joined, comparison.definition


def _statistic(joined: Joined, measure: Any) -> Statistic:
    """Give a function of a permutation of b's rows: the values (layers_a, layers_b)."""
    if grams.has_gram(measure):
        return _of_grams(joined, measure)
    if isinstance(measure, MutualKNN):
        return _of_neighbors(joined, measure)
    return _of_moments(joined, measure)


def _of_grams(joined: Joined, measure: Any) -> Statistic:
    grams.check_room(joined, f"the permutations of {measure.title}", 4)
    n = joined.rows
    # The layers of a sample pair lie side by side: shuffled together, they are one piece of memory.
    stacked = np.empty((n, n, len(joined.layers)), np.float32)
    for number, layer in enumerate(joined.layers):
        stacked[:, :, number] = grams.unit_gram(joined, layer, measure, _FEATURE)
    a = stacked[:, :, : len(joined.a)]
    b = a if joined.same else stacked[:, :, len(joined.a) :]
    b = np.ascontiguousarray(b)
    left = np.ascontiguousarray(a.reshape(n, -1, len(joined.a)))

    def statistic(order: Array) -> Array:
        total = np.zeros((len(joined.a), len(joined.b)))
        for row, place in enumerate(order.tolist()):
            total += left[row].T @ b[place][order]
        return total

    return statistic


def _of_neighbors(joined: Joined, measure: MutualKNN) -> Statistic:
    found = neighbors(joined, measure.k, _FEATURE)
    a = found[: len(joined.a)]
    b = a if joined.same else found[len(joined.a) :]

    def statistic(order: Array) -> Array:
        back = np.argsort(order)
        return shared(a, [back[each[order]] for each in b]) / (measure.k * joined.rows)

    return statistic


def _of_moments(joined: Joined, measure: Any) -> Statistic:
    """Sum up again for each permutation: the rows are in memory, the measure's own work is done anew."""
    recorded = [layer.features for layer in (*joined.a, *joined.b)]
    centred = getattr(measure, "centred", True)
    narrow = narrowed(joined, _FEATURE, centred=centred) if measure.rotates else joined
    rows = [load(narrow, layer, _FEATURE) for layer in narrow.layers]
    rows = [each - each.mean(axis=0) for each in rows] if centred else rows
    a = rows[: len(joined.a)]
    b = a if joined.same else rows[len(joined.a) :]
    folds = getattr(measure, "folds", 1)
    codes = folds_of(joined.samples, folds) if folds > 1 else None
    shape = Shape(
        tuple(each.shape[1] for each in a), tuple(each.shape[1] for each in b), folds, tuple(recorded)
    )
    shift = np.zeros(sum(shape.widths))

    def statistic(order: Array) -> Array:
        adder = Adder(Sums.zero(shape, shift), np.dtype(np.float64))
        adder.add([*a, *(each[order] for each in b)], codes)
        values: Array = measure.of_moments(adder.sums).values
        return values

    return statistic
