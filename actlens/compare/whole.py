"""Whole layers in memory, and numbers for each pair of samples: for what is no sum over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actlens.compare.finite import refuse_not_finite
from actlens.compare.joining import Joined, JoinedLayer
from actlens.compare.scaling import power_of_two
from actlens.errors import CompareError
from actlens.streaming.threads import single_threaded_blas

Array = npt.NDArray[Any]

MOST_BYTES = 2 << 30  # of vectors that are kept at once, and of one of them
_BLOCK_ROWS = 1024


class Inner(NamedTuple):
    """Inner products of one vector a layer: of a with b (layers_a, layers_b), and of each with itself."""

    both: Array
    own_a: Array
    own_b: Array


def load(joined: Joined, layer: JoinedLayer, feature: str) -> Array:
    """Read a layer, (rows, features), in float64, times a power of two that brings it near 1 (scaling.py).

    Raises:
        CompareError: NaN or inf, with the ids of the rows.
    """
    rows = np.empty((joined.rows, layer.features))
    start = 0
    for block in layer.reader.blocks(0, joined.rows, _BLOCK_ROWS):
        rows[start : start + len(block)] = block
        start += len(block)
    if not np.isfinite(rows).all():
        refuse_not_finite(joined, feature)
    rows *= power_of_two(rows)
    return rows


def inner_products(joined: Joined, make: Callable[[JoinedLayer], Array], *, numbers: int, name: str) -> Inner:
    """Multiply one vector a layer, (numbers,), with those of the other side.

    As many of a's are kept as memory holds; b's are made once for each such group, so that a comparison that
    fits makes each once.

    Raises:
        CompareError: one vector is too large.
    """
    size = 8 * numbers
    if size > MOST_BYTES:
        raise CompareError.too_many_rows(name, joined.rows, size, MOST_BYTES)
    inner = Inner(np.zeros((len(joined.a), len(joined.b))), np.zeros(len(joined.a)), np.zeros(len(joined.b)))
    with single_threaded_blas():
        for first, group in _groups(joined.a, max(1, MOST_BYTES // size - 1)):
            made = [make(layer) for layer in group]
            for i, vector in enumerate(made):
                inner.own_a[first + i] = np.vdot(vector, vector)
            for j, layer in enumerate(joined.b):
                here = joined.same and first <= j < first + len(made)
                vector = made[j - first] if here else make(layer)
                inner.own_b[j] = np.vdot(vector, vector)
                for i, other in enumerate(made):
                    inner.both[first + i, j] = np.vdot(other, vector)
    return inner


def _groups(layers: tuple[JoinedLayer, ...], size: int) -> Iterator[tuple[int, tuple[JoinedLayer, ...]]]:
    return ((first, layers[first : first + size]) for first in range(0, len(layers), size))
