"""matrix(): every layer of one side against every layer of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np

from actlens.compare.cells import Cells
from actlens.compare.comparison import Comparison
from actlens.compare.images import narrowed
from actlens.compare.joining import Joined, JoinedLayer, join
from actlens.compare.kept import kept
from actlens.compare.measure import Measure
from actlens.compare.measures import MEASURES, cka
from actlens.compare.plan import Plan, groups, plan
from actlens.compare.summing import sum_moments
from actlens.compare.sums import Shape
from actlens.compare.tiles import gram_products
from actlens.errors import CompareError
from actlens.selection import Layers
from actlens.streaming.fold import workers_of

FEATURE = "compare.matrix"


def matrix(
    a: Any,
    b: Any | None = None,
    *,
    measure: Measure = cka,
    layers: Layers | None = None,
    positions: str | None = None,
    executor: Executor | None = None,
    cache: bool = True,
) -> Comparison:
    """Compare every layer of a with every layer of b, or the layers of a with each other.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import compare
    >>> x = np.random.default_rng(0).normal(size=(40, 6))
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc1": x, "fc2": 2 * x[:, ::-1]}, id=range(40))
    40
    >>> c = compare.matrix(actlens.open(rec.path))
    >>> c.values.round(9).tolist(), c.layers_a, c.rows
    ([[1.0, 1.0], [1.0, 1.0]], ('fc1', 'fc2'), 40)

    Rows are joined by id, so that the order they were recorded in plays no part, and axes by name: NCHW and
    NHWC meet. Layers may be far larger than memory. What was computed lies with the recording of a
    afterwards.

    Parameters
    ----------
    a, b
        A Recording; or a dict layer → (samples, features), of layers of recordings or of arrays, whose rows
        are joined by their numbers.
    measure
        `compare.cka` (debiased), or another; `compare.cka.with_options(debiased=False)`.
    layers
        Patterns, as of `record`: the layers of both sides that are compared; all where left out.
    positions
        What becomes of layers of more than two axes: "flatten" makes every value a feature, "mean" averages
        the positions of each sample, "samples" makes every position a row. There is no default.
    executor
        A concurrent.futures executor (threads, processes, Dask, MPI), for measures that are sums over rows.
    cache
        Read the result where it lies with the recording of a, and keep it there.

    Raises
    ------
    CompareError
        No common ids, ids that stand twice, fewer than 4 rows in common; NaN, with the ids; axes without a
        choice.
    """
    if not isinstance(measure, Measure):
        raise CompareError.not_a_measure(FEATURE, measure, MEASURES)
    workers_of(executor)  # raises for what is none
    joined = join(a, b, FEATURE, layers=layers, positions=positions)
    names = (_name(a, "a"), _name(a if b is None else b, "a" if b is None else "b"))

    def compute() -> Comparison:
        way = plan(joined, measure, FEATURE)
        cells = _cells(joined, measure, way, executor)
        return Comparison.of(joined, measure, cells, way)

    found = kept(joined, measure, compute, cache=cache)
    return dataclasses.replace(found, joined=joined, definition=measure, name_a=names[0], name_b=names[1])


def _name(side: Any, otherwise: str) -> str:
    return str(getattr(side, "path", otherwise))


def _cells(joined: Joined, measure: Measure, way: Plan, executor: Executor | None) -> Cells:
    if way.path == "rows":
        return measure.of_rows(joined, FEATURE)
    if way.path == "gram":
        return measure.of_products(gram_products(joined, way.dtype, FEATURE, executor))
    return by_moments(joined, measure, way.dtype, executor)


def by_moments(
    joined: Joined, measure: Measure, dtype: np.dtype[Any], executor: Executor | None = None
) -> Cells:
    """Compute a measure from moments: in one pass, or where their sums do not fit into memory, in several."""
    folds = getattr(measure, "folds", 1)
    units = {id(layer): layer.features for layer in joined.layers}
    if measure.needs == "moments" and measure.rotates:
        joined, units = _narrowed(joined, centred=getattr(measure, "centred", True))
    cells = Cells(np.full((len(joined.a), len(joined.b)), np.nan))
    for first_a, some_a in _placed(groups(joined.a, joined.b, folds)):
        for first_b, some_b in _placed(groups(joined.b, some_a, folds)):
            same = joined.same and len(some_a) == len(some_b) == len(joined.a)
            part = dataclasses.replace(joined, a=some_a, b=some_a if same else some_b)
            shape = Shape(
                tuple(layer.features for layer in some_a),
                () if same else tuple(layer.features for layer in some_b),
                folds,
                tuple(units[id(layer)] for layer in part.layers),
            )
            sums = sum_moments(part, shape, dtype, FEATURE, executor)
            cells.put(measure.of_moments(sums), first_a, first_b)
    return cells


def _narrowed(joined: Joined, *, centred: bool) -> tuple[Joined, dict[int, int]]:
    """Rotate wide layers into fewer features, and say how many units each was recorded with."""
    narrow = narrowed(joined, FEATURE, centred=centred)
    pairs = zip(narrow.layers, joined.layers, strict=True)
    return narrow, {id(layer): before.features for layer, before in pairs}


def _placed(groups: list[tuple[JoinedLayer, ...]]) -> Iterator[tuple[int, tuple[JoinedLayer, ...]]]:
    """Give each group with the number of its first layer."""
    first = 0
    for group in groups:
        yield first, group
        first += len(group)
