"""Components from the covariance: one pass over the rows, whatever their number."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.components import eigen
from actlens.reduce.components.axes import LARGEST, Axes, Solution, separation
from actlens.reduce.components.moments import Moments, first_mean, moments
from actlens.reduce.source import Rows

Array = npt.NDArray[Any]

_VARIANCE_ERROR = 1e-5  # relative; beyond either, the products are computed again in float64
_ANGLE_ERROR = 1e-3
_ROUNDING = 8 * float(np.finfo(np.float64).eps)
_SEPARATED = 0.05  # of a component's variance, to its neighbours'
_PLACES, _ROWS = 16, 64  # where the mean is first estimated, and from how many rows at each


def from_covariance(rows: Rows, wanted: int | float, executor: Executor | None = None) -> Axes:
    """Find the components of samples ≥ features: memory is two square matrices, and two blocks of rows.

    Where the values are float32, so are the products; if the error that this makes, which is measured on the
    way, may be seen in a component that was asked for, the pass is done again in float64.
    """
    shift = _shift(rows)
    axes = _solved(rows, _sums(rows, shift, rows.dtype, executor), wanted)
    if axes is not None:
        return axes
    again = _solved(rows, _sums(rows, shift, np.dtype(np.float64), executor), wanted, passes=2)
    assert again is not None  # noqa: S101 - products of float64 are taken as they are
    return again


def _shift(rows: Rows) -> Array:
    """Estimate the mean from rows all over the layer: rows may be sorted by class, or by time."""
    samples = rows.shape[0]
    if samples <= _PLACES * _ROWS:
        return _mean(rows, [(0, samples)])
    starts = np.linspace(0, samples - _ROWS, _PLACES).astype(int)
    return _mean(rows, [(int(start), int(start) + _ROWS) for start in starts])


def _mean(rows: Rows, spans: list[tuple[int, int]]) -> Array:
    found = [
        np.asarray(block).astype(np.float64)
        for start, stop in spans
        for block in rows.reader.blocks(start, stop, stop - start)
    ]
    some = np.concatenate(found)
    good = np.isfinite(some).all(axis=1)
    if not good.any():  # the pass finds them all, and says so
        return np.zeros(rows.shape[1])
    with np.errstate(over="ignore"):
        mean = first_mean(some[good])
    return mean if np.isfinite(mean).all() else np.zeros(rows.shape[1])


def _sums(rows: Rows, shift: Array, dtype: np.dtype[Any], executor: Executor | None) -> Moments:
    sums = moments(rows, shift, dtype, executor)
    if len(sums.bad):
        bad = np.sort(sums.bad)
        raise ReduceError.not_finite(rows.feature, rows.name, len(bad), rows.ids[bad])
    if sums.count != rows.shape[0]:
        raise ReduceError.wrong_rows(rows.name, rows.shape[0], sums.count)
    return sums


def _solved(rows: Rows, sums: Moments, wanted: int | float, passes: int = 1) -> Axes | None:
    """Decompose; None where products of float32 are not good enough for it."""
    mean, covariance = sums.finish()
    total = float(np.trace(covariance))
    if sums.missed is not None and not 0 < total < np.inf:
        return None  # squares beyond float32, or below it
    if not total < LARGEST:  # the diagonal bounds all the others
        raise ReduceError.too_large(rows.feature, rows.name)
    values, vectors, following = eigen.wanted(covariance, wanted, total)
    moved, turned = sums.error(vectors)
    # The sums and the decomposition are of float64, whose rounding is seen beside a much larger variance.
    rounding = _ROUNDING * float(values.max(initial=0.0))
    moved, turned = np.maximum(moved, rounding), np.maximum(turned, rounding)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(values > 0, np.minimum(moved / values, 1.0), 0.0)
        gaps = separation(values, following)
        angles = np.where((turned > 0) & (gaps >= _SEPARATED * values), turned / gaps, 0.0)
    solution = Solution(
        svd_solver="covariance_eigh",
        precision="float32" if sums.missed is not None else "float64",
        passes=passes,
        variance_error=float(off.max(initial=0.0)),
        angle_error=float(angles.max(initial=0.0)),
        why=_why(rows, passes),
    )
    known = solution.variance_error <= _VARIANCE_ERROR and solution.angle_error <= _ANGLE_ERROR
    if sums.missed is not None and not known:
        return None
    ratio = values / total if total > 0 else np.zeros_like(values)
    components = eigen.with_fixed_signs(vectors.T)
    return Axes(mean, components, values, ratio, np.ones(len(values)), solution)


def _why(rows: Rows, passes: int) -> str:
    features = f"{rows.shape[1]:,} features: one pass sums up their covariance"
    if passes == 1:
        return features
    return f"{features}; a second one in float64, as float32 products would show in the smallest components"
