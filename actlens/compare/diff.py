"""diff(): a port check, layer by layer, with the first layer that differs and what is wrong with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing import diagnosed
from actlens.compare.diagnosing.evidence import Evidence, gathered, relative
from actlens.compare.diff_result import Diff
from actlens.compare.given import Given, layers_of
from actlens.compare.inputs import inputs_of
from actlens.compare.joining import Joined, joined
from actlens.compare.layer_diff import LayerDiff, Tolerance, compared, evenly
from actlens.compare.lining_up import Pair, ways_to_line_up
from actlens.compare.matching import Match, by_mapping, by_name_and_cka
from actlens.compare.named_axes import views_of
from actlens.errors import DiffError
from actlens.recording import Recording
from actlens.selection import Layers
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]

_FEATURE = "compare.diff"
_PROBED = 16  # rows by which the way to line up axes is chosen, where there are several


def diff(
    a: Any,
    b: Any,
    *,
    layers: Layers | Mapping[str, str] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Diff:
    """Check a port: compare two recordings layer by layer, and find the first layer that differs.

    Rows are joined by id and axes by name, so that a shuffled loader or NHWC for NCHW is no difference.
    Layers go together by name; between those, in order, by debiased CKA. A layer diverges if |b − a| >
    rtol·|a| (Frobenius norms), if max |b − a| > atol + rtol·max |a|, if finite values stand at other places,
    or if its values cannot be brought together. CKA alone would not do: tanh for exact GELU leaves it at
    1.000000 (`cka_gap` shows what it leaves).

    Of the first layer that diverges, known mistakes are tried on the numbers (`diagnosis`): order of rows,
    transposed or flattened in another order, scale, bias, SAME padding, a flipped kernel, another eps of a
    norm, running mean and variance exchanged, another activation or negative slope, pooling, dropout, half
    precision.

    Args:
        a: the original: a Recording, or a dict layer → (samples, …) array or layer.
        b: the port, of the same kind.
        layers: patterns of names, as in record(); or {name in a: name in b}. None for all.
        rtol: relative to |a|, and to max |a|. float32 on a CPU keeps 1e-5; half precision needs about 1e-2.
        atol: added for the largest difference.

    Raises:
        DiffError: layers that nothing goes with; tolerances that are none.
        CompareError: ids that stand twice, or no id in common.

    >>> from actlens.compare.diff import diff
    >>> rows = np.random.default_rng(0).normal(size=(40, 6))
    >>> a = {"fc1": rows, "relu": np.maximum(rows, 0)}
    >>> found = diff(a, a | {"relu": np.maximum(rows, 0.01 * rows)})
    >>> found.ok, found.first
    (False, 'relu')
    >>> print(found.diagnosis)
    activation: of fc1, a is ReLU and b is leaky ReLU of negative slope 0.01 (confirmed: ...)
    """
    tolerance = Tolerance(_checked("rtol", rtol), _checked("atol", atol))
    chosen = None if isinstance(layers, Mapping) else layers
    sides = layers_of(a, "a", _FEATURE, chosen), layers_of(b, "b", _FEATURE, chosen)
    with single_threaded_blas():  # a product has other last digits with other numbers of threads
        if isinstance(layers, Mapping):
            matched = by_mapping(*sides, layers, _FEATURE)
        else:
            matched = by_name_and_cka(*sides, _FEATURE)
        run = _Run(sides, tolerance)
        together = isinstance(a, Recording) and isinstance(b, Recording)
        found, only = run.compare(matched.pairs, together=together)
    return Diff(
        layers=tuple(found),
        rtol=tolerance.rtol,
        atol=tolerance.atol,
        rows=run.rows,
        only_a=only[0],
        only_b=only[1],
        unmatched_a=matched.unmatched_a,
        unmatched_b=matched.unmatched_b,
    )


def _checked(name: str, given: Any) -> float:
    number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool)
    if not (number and math.isfinite(given) and given >= 0):
        raise DiffError.tolerance(_FEATURE, name, given)
    return float(given)


class _Run:
    """One comparison under way: what was compared so far, for what comes after it."""

    def __init__(self, sides: tuple[Sequence[Given], Sequence[Given]], tolerance: Tolerance) -> None:
        self._views = (views_of(sides[0]), views_of(sides[1]))
        self._tolerance = tolerance
        self._pairs: dict[str, Pair] = {}
        self._found: dict[str, LayerDiff] = {}
        self.rows = 0

    def compare(
        self, matches: Sequence[Match], *, together: bool
    ) -> tuple[list[LayerDiff], tuple[Array, Array]]:
        """Compare all layers; give also the ids that only one side has."""
        only: list[tuple[Array, Array]] = []
        for both, match, place in _joined(matches, together=together):
            if not len(self._pairs) or both.rows > self.rows:
                self.rows = len(np.unique(both.samples))
            only.append((both.only_a, both.only_b))
            self._one(both, match, place)
        unions = (np.unique(np.concatenate([each[side] for each in only])) for side in (0, 1))
        return list(self._found.values()), (next(unions), next(unions))

    def _one(self, both: Joined, match: Match, place: int) -> None:
        a, b = both.a[place], both.b[place]
        views = tuple(
            known.get(given.name, ()) for known, given in zip(self._views, (match.a, match.b), strict=True)
        )
        ways = ways_to_line_up(a, b, (both.samples, both.position), (views[0], views[1]))
        pair = ways[0] if len(ways) == 1 else _nearest(ways)
        found = compared(pair, match.how, self._tolerance)
        if found.diverges:
            found = dataclasses.replace(found, diagnosis=self._diagnosis(pair, found.name_a))
        self._pairs[found.name_a], self._found[found.name_a] = pair, found

    def _diagnosis(self, pair: Pair, name: str) -> str:
        """Look for what is wrong with a layer, unless that may lie with what goes into it."""
        inputs = inputs_of(name, {key: each.diverges for key, each in self._found.items()})
        if inputs is None:
            return ""
        said = diagnosed(gathered(pair, self._tolerance.rtol), self._with_inputs(pair, inputs))
        return "" if said is None else str(said)

    def _with_inputs(self, pair: Pair, names: Sequence[str]) -> Iterator[Evidence]:
        for name in names:
            if pair.same_rows(self._pairs[name]):
                yield gathered(pair, self._tolerance.rtol, self._pairs[name])


def _joined(matches: Sequence[Match], *, together: bool) -> Iterator[tuple[Joined, Match, int]]:
    """Join pairs of layers: those of recordings, which have the same rows, at once; others one by one.

    Samples of different lengths are joined position by position.
    """
    dense = [match for match in matches if not (match.a.ragged or match.b.ragged)]
    shared: Joined | None = None
    for match in matches:
        if match.a.ragged or match.b.ragged:
            _refuse_several_axes(match)
            yield joined([[_tokens(match.a)], [_tokens(match.b)]], _FEATURE, "samples", least=1), match, 0
        elif together:
            if shared is None:
                sides = [[each.a for each in dense], [each.b for each in dense]]
                shared = joined(sides, _FEATURE, "flatten", least=1)
            yield shared, match, dense.index(match)
        else:
            yield joined([[match.a], [match.b]], _FEATURE, "flatten", least=1), match, 0


def _refuse_several_axes(match: Match) -> None:
    for ragged, other in ((match.a, match.b), (match.b, match.a)):
        if ragged.ragged and not other.ragged and len(other.shape) > 3:
            first, second = (f"{side.side}'s {side.name}" for side in (ragged, other))
            raise DiffError.one_ragged(_FEATURE, first, second, other.shape)


def _tokens(given: Given) -> Given:
    """Give the positions of a layer as rows (positions, features)."""
    if not given.ragged:
        return given
    return dataclasses.replace(given, values=given.values.tokens)


def _nearest(ways: Sequence[Pair]) -> Pair:
    """Choose the way in which a few rows are nearest; of those alike, the first."""
    rows = evenly(len(ways[0].samples), _PROBED)
    apart = []
    for way in ways:
        a, b = (side.rows(rows).astype(np.float64) for side in (way.a, way.b))
        with np.errstate(over="ignore", invalid="ignore"):
            left = relative(np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0))
        apart.append(left if math.isfinite(left) else math.inf)
    return ways[apart.index(min(apart))]
