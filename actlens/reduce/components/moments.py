"""Sums over rows that give mean and covariance: a part's sums, their addition, a `finish`.

The rows are shifted by an estimate of their mean *before* they are multiplied, the products are of float32
where the values are, and all sums of products are of float64. Without the shift, a mean of 30 deviations
turns one of scikit-learn's first 20 float32 components into a wholly wrong direction; with it, float32 costs
what it costs at a mean of 0. What that is, is measured on the way: on some blocks the product is computed in
both precisions, and the difference goes with the sums.
"""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce.source import Rows
from actlens.streaming.fold import fold, threaded, workers_of
from actlens.streaming.part import Part
from actlens.streaming.threads import single_threaded_blas, threads_here

Array = npt.NDArray[Any]

_CACHED = 512  # features; up to here the square matrix of sums stays in the cache while rows pass by
_FEW_ROWS, _MANY_ROWS = 1024, 2048  # in one product, below and above
_PANEL, _WIDE_PANEL = 256, 512  # features; products are made panel by panel, whoever makes them
_WIDE = 2048  # features; from here on there are enough of the wide ones for many cores
_SAFETY = 4
_SAMPLED, _MEASURED = 32, 512  # of one block in so many, so many rows are multiplied in both precisions


@dataclasses.dataclass(eq=False)
class Moments:
    """Sums of rows x, taken about a fixed `shift` (features,), all in float64.

    `count` rows; `total` (features,) = Σ(x − shift); `scatter` (features, features) = Σ(x − shift)(x −
    shift)ᵀ. `missed` (features, features) is what float32 products lack of those of float64 over the first
    `sampled` rows of some blocks; None where the products are of float64. `bad` are the numbers of rows with
    NaN or inf, which are in no sum.
    """

    shift: Array
    count: int
    total: Array
    scatter: Array
    missed: Array | None = None
    sampled: int = 0
    bad: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))

    def finish(self) -> tuple[Array, Array]:
        """Give the mean (features,) and the covariance (features, features) with n − 1, both float64.

        The covariance takes the place of the scatter, so that one matrix is in memory and not two.
        """
        offset = self.total / self.count
        covariance = self.scatter
        with np.errstate(over="ignore", invalid="ignore"):  # whoever asks looks at the trace
            for row, value in enumerate(self.total):
                covariance[row] -= value * offset
        covariance /= max(self.count - 1, 1)
        return self.shift + offset, covariance

    def error(self, vectors: Array) -> tuple[Array, Array]:
        """Estimate what float32 products did to vᵀCv and to Cv, for unit vectors (features, k).

        First order: the error E of the covariance moves an eigenvalue by vᵀEv and turns its vector by at most
        |Ev| over the distance to the next eigenvalue. Errors of different blocks are independent, so E grows
        with the square root of the rows where the sums grow with the rows. Both (k,), in units of variance,
        and four times as large: sums of few rows are rounded less than those of many.
        """
        if self.missed is None or not self.sampled:
            return np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
        scale = _SAFETY * float(np.sqrt(self.count / self.sampled)) / max(self.count - 1, 1)
        turned = self.missed @ vectors.astype(self.missed.dtype)
        moved = np.abs(np.einsum("dk,dk->k", turned, vectors))
        return scale * moved, scale * np.linalg.norm(turned, axis=0)


def join(a: Moments, b: Moments) -> Moments:
    """Add the sums of b, taken about the same shift, to those of a."""
    with np.errstate(over="ignore", invalid="ignore"):  # whoever finishes looks at the trace
        a.scatter += b.scatter
        if a.missed is not None and b.missed is not None:
            a.missed += b.missed
    return dataclasses.replace(
        a,
        count=a.count + b.count,
        total=a.total + b.total,
        sampled=a.sampled + b.sampled,
        bad=np.concatenate([a.bad, b.bad]),
    )


def moments(rows: Rows, shift: Array, dtype: np.dtype[Any], executor: Executor | None = None) -> Moments:
    """Sum all rows of a layer in one pass, about `shift`, with products of `dtype` (float32 or float64)."""
    task = SumMoments(shift, dtype)
    if executor is None and len(shift) <= _CACHED:  # each thread can have sums of its own
        return functools.reduce(join, threaded(task, rows.parts(pieces=threads_here(), ahead=False)))
    return fold(task, rows.parts(pieces=workers_of(executor)), join, executor=executor)


@dataclasses.dataclass(frozen=True, eq=False)
class SumMoments:
    """The task of one pass: sum a part about `shift`."""

    shift: Array
    dtype: np.dtype[Any]

    def __call__(self, part: Part) -> Moments:
        """Sum the part."""
        sums = Sums(self.shift, self.dtype, min(len(part), part.rows))
        for start, block in part.blocks():
            sums.add(block, start, sampled=start // part.rows % _SAMPLED == 0)
        return sums.finished()


class Sums:
    """Adds rows into one set of sums, with the room that it takes made once."""

    def __init__(self, shift: Array, dtype: np.dtype[Any], rows: int) -> None:
        features = len(shift)
        single = dtype == np.float32
        self._shift = shift.astype(dtype)
        self._step = min(rows, _FEW_ROWS if features <= _CACHED else _MANY_ROWS)
        self._centred = np.empty((self._step, features), dtype)
        self._ones = np.ones(self._step, dtype)
        width = _PANEL if features < _WIDE else _WIDE_PANEL
        panels = [slice(first, min(first + width, features)) for first in range(0, features, width)]
        self._pairs = [(a, b) for number, a in enumerate(panels) for b in panels[number:]]
        self._team = ThreadPoolExecutor(min(threads_here(), len(self._pairs)), thread_name_prefix="actlens")
        self.moments = Moments(
            shift=self._shift.astype(np.float64),
            count=0,
            total=np.zeros(features),
            scatter=np.zeros((features, features)),
            missed=np.zeros((features, features), np.float32) if single else None,
        )

    def finished(self) -> Moments:
        """Give the sums; no more can be added."""
        self._team.shutdown()
        for panel in {a.start: a for a, _ in self._pairs}.values():  # below the diagonal it is the same
            for matrix in (self.moments.scatter, self.moments.missed):
                if matrix is not None:
                    matrix[panel.stop :, panel] = matrix[panel, panel.stop :].T
        return self.moments

    def add(self, block: Array, start: int, *, sampled: bool) -> None:
        """Add a block of rows, the first of which is number `start`."""
        with single_threaded_blas():  # of the sums too: its idle threads wait busily, on our cores
            for begin in range(0, len(block), self._step):
                rows = block[begin : begin + self._step]
                self._add(rows, start + begin, sampled=sampled and begin == 0)

    def _add(self, rows: Array, start: int, *, sampled: bool) -> None:
        sums, centred = self.moments, self._centred[: len(rows)]
        with np.errstate(over="ignore", invalid="ignore"):  # looked for here, and by whoever finishes
            np.subtract(rows, self._shift, out=centred, casting="unsafe")
            total = self._ones[: len(rows)] @ centred
        if not np.isfinite(total).all():
            good = np.isfinite(rows).all(axis=1)
            if not good.all():
                sums.bad = np.concatenate([sums.bad, start + np.flatnonzero(~good)])
                if good.any():
                    self._add(rows[good], start, sampled=False)
                return
        sums.count += len(rows)
        sums.total += total
        multiply = functools.partial(self._multiply, centred, sampled)
        # A panel is one thread's: what a sum is made of is added in the order of the rows.
        alone = len(self._pairs) == 1
        for _ in map(multiply, self._pairs) if alone else self._team.map(multiply, self._pairs):
            pass
        if sampled:
            sums.sampled += min(len(rows), _MEASURED)

    def _multiply(self, centred: Array, sampled: bool, pair: tuple[slice, slice]) -> None:
        """Add the products of two panels of features; where sampled, also what float32 lacks of them."""
        sums, (a, b) = self.moments, pair
        with np.errstate(over="ignore", invalid="ignore"):
            product = centred[:, a].T @ centred[:, b]
            sums.scatter[a, b] += product
            if sampled and sums.missed is not None:
                some = centred[:_MEASURED]
                wide = some[:, a].astype(np.float64).T @ some[:, b].astype(np.float64)
                sums.missed[a, b] += wide - some[:, a].T @ some[:, b]


def first_mean(chunk: Array) -> Array:
    """Give the mean of a chunk: a shift."""
    return np.asarray(chunk.mean(axis=0, dtype=np.float64))
