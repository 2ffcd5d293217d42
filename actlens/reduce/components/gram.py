"""Components from the inner products of the samples, which have the same variances: for wide layers."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.components import eigen
from actlens.reduce.components.axes import LARGEST, Axes, Solution
from actlens.reduce.source import Rows
from actlens.streaming.fold import each, workers_of
from actlens.streaming.part import Part

Array = npt.NDArray[Any]

_LEAST_BYTES = 64 << 20  # of the rows that are held against all others at a time


def from_gram(rows: Rows, wanted: int | float, executor: Executor | None = None) -> Axes:
    """Find the components of samples < features, by products of float64.

    Memory is the (samples, samples) matrix twice. The rows are read as often as it takes to hold each against
    those before it, as many at a time as the matrix is large.
    """
    samples = rows.shape[0]
    mean = mean_of(rows, executor)
    gram = np.empty((samples, samples))
    bands = _bands(rows)
    tasks = [_Held(Part(rows.reader, 0, stop, rows.block), start) for start, stop in bands]
    for (start, stop), band in zip(bands, each(_Band(mean), tasks, executor=executor), strict=True):
        gram[start:stop, :stop], gram[:stop, start:stop] = band, band.T
    gram /= samples - 1
    total = float(np.trace(gram))
    if not total < LARGEST:
        raise ReduceError.too_large(rows.feature, rows.name)
    values, vectors, _ = eigen.wanted(gram, wanted, total)
    ratio = values / total if total > 0 else np.zeros_like(values)
    solution = Solution(
        svd_solver="gram",
        precision="float64",
        passes=2 + len(bands),
        variance_error=0.0,
        angle_error=0.0,
        why=f"{samples:,} samples are fewer than {rows.shape[1]:,} features: their matrix is the smaller",
    )
    components = _components(rows, mean, vectors, executor)
    return Axes(mean, components, values, ratio, np.ones(len(values)), solution)


def _bands(rows: Rows) -> list[tuple[int, int]]:
    """Cut the rows into bands that are in memory whole, each at most as large as the matrix itself."""
    samples, features = rows.shape
    fit = max(1, max(_LEAST_BYTES, 8 * samples**2) // (8 * features))
    return [(start, min(start + fit, samples)) for start in range(0, samples, fit)]


def mean_of(rows: Rows, executor: Executor | None) -> Array:
    """Give the mean of all rows, and refuse those that are not finite."""
    total, count = np.zeros(rows.shape[1]), 0
    for part, number in each(_sum, rows.parts(workers_of(executor)), executor=executor):
        total += part
        count += number
    if count != rows.shape[0]:
        raise ReduceError.wrong_rows(rows.name, rows.shape[0], count)
    if not np.isfinite(total).all():
        rows.check_finite()
        raise ReduceError.too_large(rows.feature, rows.name)
    return total / count


def _sum(part: Part) -> tuple[Array, int]:
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [np.asarray(block).astype(np.float64).sum(axis=0) for _, block in part.blocks()]
    return np.sum(sums, axis=0), len(part)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Held:
    """A band, from `start` to the end of `part`, and with it all rows before."""

    part: Part
    start: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Band:
    """The task: the products of a band's rows with all rows up to its end, (rows, stop) float64."""

    mean: Array

    def __call__(self, held: _Held) -> Array:
        begin, stop = held.start, held.part.stop
        own = np.empty((stop - begin, len(self.mean)))
        with np.errstate(over="ignore", invalid="ignore"):
            for start, block in dataclasses.replace(held.part, start=begin).blocks():
                np.subtract(block, self.mean, out=own[start - begin :][: len(block)], casting="unsafe")
            products = np.empty((stop - begin, stop))
            products[:, begin:] = own @ own.T
            if begin:
                for start, block in dataclasses.replace(held.part, stop=begin).blocks():
                    products[:, start : start + len(block)] = own @ (block - self.mean).T
        return products


def _components(rows: Rows, mean: Array, vectors: Array, executor: Executor | None) -> Array:
    """Turn vectors over samples (samples, k) into components over features (k, features)."""
    loadings = np.zeros((rows.shape[1], vectors.shape[1]))
    for part in each(_Loadings(mean, vectors), rows.parts(workers_of(executor)), executor=executor):
        loadings += part
    # Their columns are orthogonal already; QR gives unit length, and directions where the variance is 0.
    return eigen.with_fixed_signs(np.linalg.qr(loadings)[0].T)


@dataclasses.dataclass(frozen=True, eq=False)
class _Loadings:
    """The task: Σ (x − mean) uᵀ over a part, (features, k)."""

    mean: Array
    vectors: Array

    def __call__(self, part: Part) -> Array:
        loadings = np.zeros((len(self.mean), self.vectors.shape[1]))
        for start, block in part.blocks():
            loadings += (block - self.mean).T @ self.vectors[start : start + len(block)]
        return loadings
