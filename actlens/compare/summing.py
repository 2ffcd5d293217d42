"""One pass over all joined rows that sums up their moments, here or on workers."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.finite import refuse_not_finite
from actlens.compare.folds import folds_of
from actlens.compare.joining import Joined
from actlens.compare.part import JoinedPart, parts
from actlens.compare.scaling import scales
from actlens.compare.sums import Adder, Shape, Sums
from actlens.streaming.fold import fold, threaded, workers_of
from actlens.streaming.threads import single_threaded_blas, threads_here

Array = npt.NDArray[Any]

_SMALL = 8 << 20  # bytes of sums that each thread can have its own of
_PLACES, _ROWS = 16, 64  # where the mean is first estimated, and from how many rows at each


def sum_moments(
    joined: Joined, shape: Shape, dtype: np.dtype[Any], feature: str, executor: Executor | None = None
) -> Sums:
    """Sum the moments of all rows, about a mean that is estimated from rows all over the layers.

    Raises:
        CompareError: NaN or inf, with the ids of the rows.
    """
    codes = folds_of(joined.samples, shape.folds) if shape.folds > 1 else None
    with single_threaded_blas():
        task = _SumPart(shape, _estimated_mean(joined), scales(joined), dtype, codes)
        small = sum(8 * shape.folds * width**2 for width in shape.widths) * len(shape.widths) < _SMALL
        if executor is None and small:
            pieces = threaded(task, parts(joined, threads_here()))
            sums = functools.reduce(Sums.add, pieces)
        else:
            sums = fold(task, parts(joined, workers_of(executor)), Sums.add, executor=executor)
    sums.shift = sums.shift * np.repeat(task.scales, shape.widths)
    finite = all(np.isfinite(each).all() for each in (sums.total, sums.norms, sums.norm_products))
    if not finite or sums.count.sum() != joined.rows:
        refuse_not_finite(joined, feature)
    return sums


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _SumPart:
    """The task of one pass."""

    shape: Shape
    shift: Array
    scales: list[float]
    dtype: np.dtype[Any]
    codes: Array | None

    def __call__(self, part: JoinedPart) -> Sums:
        adder = Adder(Sums.zero(self.shape, self.shift), self.dtype, self.scales)
        for start, blocks in part.blocks():
            adder.add(blocks, None if self.codes is None else self.codes[start : start + len(blocks[0])])
        return adder.sums


def _estimated_mean(joined: Joined) -> Array:
    """Estimate the mean from rows all over the layers: rows may be sorted by class, or by time."""
    starts = np.unique(np.linspace(0, max(0, joined.rows - _ROWS), _PLACES).astype(int)).tolist()
    found = []
    for layer in joined.layers:
        blocks = [
            np.asarray(block).astype(np.float64)
            for start in starts
            for block in layer.reader.blocks(start, min(start + _ROWS, joined.rows), _ROWS)
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.concatenate(blocks).mean(axis=0)
        found.append(np.where(np.isfinite(mean), mean, 0.0))  # the pass finds them all, and says so
    return np.concatenate(found)
