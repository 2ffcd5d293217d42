"""Which layer of one side goes with which of the other: by name, as a mapping says, or in order by
debiased CKA.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.given import Given
from actlens.compare.joining import joined
from actlens.compare.layer_diff import evenly
from actlens.compare.pair_cka import LEAST_ROWS, unit_gram
from actlens.errors import CompareError, DiffError
from actlens.streaming.reader import KeptRows

Array = npt.NDArray[Any]

_ROWS = 256  # of which layers are compared to find those that go together: chance is within 0.006 of 0
_BYTES = 64 << 20  # of these rows of one layer
_SAME_SIZE = 0.2  # what as many features weigh beside debiased CKA: a mistake may leave little of it
_LEAST = 0.5  # debiased CKA below which layers with other numbers of features do not go together


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """Two layers that go together; `how` is "name", "mapping" or "cka"."""

    a: Given
    b: Given
    how: str


@dataclasses.dataclass(frozen=True, slots=True)
class Matched:
    """Pairs in the order of a's forward, and the names of layers that nothing goes with."""

    pairs: tuple[Match, ...]
    unmatched_a: tuple[str, ...] = ()
    unmatched_b: tuple[str, ...] = ()


def by_mapping(a: Sequence[Given], b: Sequence[Given], layers: Mapping[str, str], feature: str) -> Matched:
    """Match as {name in a: name in b} says.

    Raises:
        DiffError: a name that there is not, or one of b that stands twice.
    """
    first, second = {each.name: each for each in a}, {each.name: each for each in b}
    for name, other in layers.items():
        if name not in first:
            raise DiffError.no_layer(feature, "a", name, first)
        if other not in second:
            raise DiffError.no_layer(feature, "b", other, second)
        again = [each for each, given in layers.items() if given == other]
        if len(again) > 1:
            raise DiffError.named_twice(feature, other, again)
    if not layers:
        raise DiffError.nothing_matches(feature, first, second)
    return Matched(
        tuple(Match(each, second[layers[each.name]], "mapping") for each in a if each.name in layers)
    )


def by_name_and_cka(a: Sequence[Given], b: Sequence[Given], feature: str) -> Matched:
    """Match layers of the same name; between them, in order, those that are most alike by debiased CKA.

    Raises:
        DiffError: nothing goes with anything.
    """
    second = {each.name: each for each in b}
    pairs = {each.name: Match(each, second[each.name], "name") for each in a if each.name in second}
    taken = set(pairs)
    for left, right in _between(a, b, taken):
        for one, other in _aligned(left, right, feature):
            pairs[one.name] = Match(one, other, "cka")
    if not pairs:
        raise DiffError.nothing_matches(feature, [each.name for each in a], second)
    used = {match.b.name for match in pairs.values()}
    return Matched(
        tuple(pairs[each.name] for each in a if each.name in pairs),
        tuple(each.name for each in a if each.name not in pairs),
        tuple(each.name for each in b if each.name not in used),
    )


def _between(
    a: Sequence[Given], b: Sequence[Given], taken: set[str]
) -> list[tuple[list[Given], list[Given]]]:
    """Give the layers without a namesake on both sides, between the same two that have one.

    Layers of parallel branches may run in another order: those that do not rise in both are no borders.
    """
    place = {each.name: number for number, each in enumerate(b)}
    borders = _rising([(number, place[each.name]) for number, each in enumerate(a) if each.name in taken])
    spans = [(-1, -1), *borders, (len(a), len(b))]
    found = []
    for (start_a, start_b), (end_a, end_b) in itertools.pairwise(spans):
        left = [each for each in a[start_a + 1 : end_a] if each.name not in taken]
        right = [each for each in b[start_b + 1 : end_b] if each.name not in taken]
        if left and right:
            found.append((left, right))
    return found


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give a longest run of pairs, whose first numbers rise, in which the second rise too.

    >>> _rising([(0, 4), (1, 0), (2, 1), (3, 5)])
    [(1, 0), (2, 1), (3, 5)]
    """
    ends: list[int] = []  # the second number at which the best run of each length ends
    before: list[int | None] = []
    last: list[int] = []
    for number, (_, second) in enumerate(pairs):
        at = bisect.bisect_left(ends, second)
        before.append(last[at - 1] if at else None)
        ends[at : at + 1] = [second]
        last[at : at + 1] = [number]
    run = []
    number_or_none = last[-1] if last else None
    while number_or_none is not None:
        run.append(pairs[number_or_none])
        number_or_none = before[number_or_none]
    return run[::-1]


def _aligned(a: Sequence[Given], b: Sequence[Given], feature: str) -> list[tuple[Given, Given]]:
    """Pair layers in their order so that the sum of what speaks for the pairs is largest."""
    alike = debiased_cka([_flat(each) for each in a], [_flat(each) for each in b], feature)
    same = np.array([[_features(x) == _features(y) for y in b] for x in a])
    weights = np.where(same, np.maximum(alike, 0) + _SAME_SIZE, np.where(alike >= _LEAST, alike, 0))
    return [(a[i], b[j]) for i, j in best_path(weights)]


def best_path(weights: Array) -> list[tuple[int, int]]:
    """Choose pairs (row, column), rising in both, of the largest sum of weights; a pair of weight 0 is none.

    >>> best_path(np.array([[0.9, 0.8], [0.95, 0.1], [0.0, 0.7]]))
    [(1, 0), (2, 1)]
    """
    rows, columns = weights.shape
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i, j] = max(best[i + 1, j], best[i, j + 1], best[i + 1, j + 1] + weights[i, j])
    path, i, j = [], 0, 0
    while i < rows and j < columns:
        if weights[i, j] > 0 and best[i, j] == best[i + 1, j + 1] + weights[i, j]:
            path.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return path


def debiased_cka(a: Sequence[Given], b: Sequence[Given], feature: str) -> Array:
    """Give (layers of a, layers of b) of some rows; 0 where nothing can be said."""
    try:
        both = joined([a, b], feature, "flatten")
    except CompareError:  # fewer than 4 rows, or layers of other samples
        return np.zeros((len(a), len(b)))
    widest = max(layer.features for layer in both.layers)
    rows = evenly(both.rows, max(LEAST_ROWS, min(_ROWS, _BYTES // (8 * widest))))
    grams = []
    for layer in both.layers:
        kept = KeptRows(layer.reader, rows)
        values = np.concatenate(
            list(kept.blocks(0, len(rows), 1 if both.rows > 8 * len(rows) else len(rows)))
        )
        whole = bool(np.isfinite(values).all())
        gram = unit_gram(values) if whole else None
        grams.append(
            np.zeros((len(rows), len(rows)), np.float32) if gram is None else gram.astype(np.float32)
        )
    stacked = np.stack(grams).reshape(len(grams), -1)
    alike: Array = stacked[: len(a)] @ stacked[len(a) :].T
    return alike.astype(np.float64)


def _flat(given: Given) -> Given:
    """Give a layer that has one row a sample."""
    return dataclasses.replace(given, values=given.values.mean()) if given.ragged else given


def _features(given: Given) -> int:
    return int(np.prod([size for size in given.shape[1:] if size is not None]))
