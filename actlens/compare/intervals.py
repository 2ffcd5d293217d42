"""How much a measure would change with other samples: a bootstrap that never takes a copy for another sample.

A sample that is drawn twice is alike to itself whatever the layers, and a plain bootstrap takes such pairs
for evidence. Here the estimate of each resample is over pairs (and, for HSIC₁, triples and quadruples) of
*different* samples, each weighted by how often its samples were drawn; with every sample drawn once it is the
estimate itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare import grams
from actlens.compare.comparison import Comparison
from actlens.compare.measures.cka import CKA
from actlens.compare.measures.rsa import RSA
from actlens.compare.shuffling import groups_of
from actlens.compare.significance import needed
from actlens.errors import CompareError
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]

_FEATURE = "Comparison.bootstrap"
_TOGETHER = 256  # resamples


@dataclasses.dataclass(frozen=True, eq=False)
class Intervals:
    """What `Comparison.bootstrap` gives: percentile intervals.

    Attributes
    ----------
    low, high
        (layers_a, layers_b): the ends of the interval of each pair.
    deviation
        (layers_a, layers_b): the standard deviation over resamples.
    level, resamples, groups
        What was asked for; and how many groups were resampled, None for the rows themselves.
    """

    low: Array
    high: Array
    deviation: Array
    level: float
    resamples: int
    groups: int | None


def intervals(
    comparison: Comparison,
    resamples: int,
    *,
    groups: str | npt.ArrayLike | None,
    level: float,
    random_state: int,
) -> Intervals:
    """Draw samples, or groups of rows, with replacement, and estimate each time."""
    joined, measure = needed(comparison, _FEATURE)
    if not _pairwise(measure):
        raise CompareError.no_bootstrap(comparison.title)
    if isinstance(resamples, bool) or not isinstance(resamples, (int, np.integer)) or resamples < 2:
        raise CompareError.count(_FEATURE, "resamples", resamples)
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise CompareError.level(_FEATURE, level)
    codes = groups_of(joined, groups, _FEATURE)
    grams.check_room(joined, f"the bootstrap of {comparison.title}", 8)
    drawn = _weights(joined.rows, codes, resamples, random_state)
    with single_threaded_blas():
        made = [grams.plain_gram(joined, layer, measure, _FEATURE) for layer in joined.layers]
        a = made[: len(joined.a)]
        b = a if joined.same else made[len(joined.a) :]
        values = _estimates(a, b, drawn, measure, same=joined.same)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return Intervals(
        low,
        high,
        values.std(axis=0, ddof=1),
        level,
        resamples,
        None if codes is None else len(np.unique(codes)),
    )


def _pairwise(measure: object) -> bool:
    """Say whether the estimate is over pairs of samples, from which copies can be left out."""
    if isinstance(measure, CKA):
        return measure.debiased
    return isinstance(measure, RSA) and measure.comparison != "spearman"


def _weights(rows: int, codes: Array | None, resamples: int, seed: int) -> Array:
    """Say how often each row is drawn: (rows, resamples)."""
    random = np.random.default_rng(seed)
    count = rows if codes is None else int(codes.max()) + 1
    drawn = random.multinomial(count, np.full(count, 1 / count), size=resamples).T.astype(np.float64)
    return drawn if codes is None else drawn[codes]


def _estimates(a: list[Array], b: list[Array], drawn: Array, measure: CKA | RSA, *, same: bool) -> Array:
    """Give (resamples, layers_a, layers_b)."""
    values = np.empty((drawn.shape[1], len(a), len(b)))
    for first in range(0, drawn.shape[1], _TOGETHER):
        weights = drawn[:, first : first + _TOGETHER]
        pairs = _pairs_of(weights, measure)
        own_a = [pairs.inner(gram, gram) for gram in a]
        own_b = own_a if same else [pairs.inner(gram, gram) for gram in b]
        for i, left in enumerate(a):
            for j, right in enumerate(b):
                both = own_a[i] if same and i == j else pairs.inner(left, right)
                with np.errstate(invalid="ignore", divide="ignore"):
                    values[first : first + _TOGETHER, i, j] = both / np.sqrt(own_a[i] * own_b[j])
    return values


def _pairs_of(weights: Array, measure: CKA | RSA) -> _Unbiased | _Dissimilarities:
    if isinstance(measure, RSA):
        return _Dissimilarities(weights, centred=measure.comparison == "pearson")
    return _Unbiased(weights)


class _Unbiased:
    """HSIC₁ of weighted samples: means over pairs, triples and quadruples of different samples."""

    def __init__(self, weights: Array) -> None:
        self._w, self._w2 = weights, weights**2
        s1, s2, s3, s4 = (np.sum(weights**power, axis=0) for power in (1, 2, 3, 4))
        self._pairs = s1**2 - s2
        self._triples = s1**3 - 3 * s1 * s2 + 2 * s3
        self._quadruples = s1**4 - 6 * s1**2 * s2 + 3 * s2**2 + 8 * s1 * s3 - 6 * s4

    def inner(self, k: Array, l: Array) -> Array:  # noqa: E741 - K and L are the two Gram matrices everywhere
        """(resamples,)."""
        w, w2 = self._w, self._w2
        k, other = _without_diagonal(k), _without_diagonal(l)
        both = k * other
        kw, lw = k @ w, other @ w
        both_w2 = both @ w2
        joined = (both @ w * w).sum(axis=0)
        squares = (both_w2 * w2).sum(axis=0)
        triples = (w * kw * lw).sum(axis=0) - (both_w2 * w).sum(axis=0)
        tied = (w2 * kw * lw).sum(axis=0) - squares
        quadruples = (w * kw).sum(axis=0) * (w * lw).sum(axis=0) - 4 * tied - 2 * squares
        return np.asarray(joined / self._pairs - 2 * triples / self._triples + quadruples / self._quadruples)


class _Dissimilarities:
    """Covariance, or the plain product, of dissimilarities over pairs of different samples."""

    def __init__(self, weights: Array, *, centred: bool) -> None:
        self._w, self._centred = weights, centred
        self._pairs = weights.sum(axis=0) ** 2 - np.square(weights).sum(axis=0)

    def inner(self, d: Array, e: Array) -> Array:
        """(resamples,)."""
        w = self._w
        joined = ((d * e) @ w * w).sum(axis=0) / self._pairs
        if not self._centred:
            return np.asarray(joined)
        return np.asarray(joined - ((d @ w) * w).sum(axis=0) * ((e @ w) * w).sum(axis=0) / self._pairs**2)


def _without_diagonal(gram: Array) -> Array:
    plain = gram.copy()
    np.fill_diagonal(plain, 0.0)
    return plain
