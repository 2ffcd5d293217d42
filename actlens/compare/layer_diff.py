"""One layer of a port check: how far two recordings of it are apart, and whether that is too far."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.difference_sums import DifferenceSums
from actlens.compare.lining_up import Lined, Pair
from actlens.compare.pair_cka import LEAST_ROWS, gap_of_layers, gap_of_rows
from actlens.streaming.part import Part

Array = npt.NDArray[Any]

_BLOCK_BYTES = 8 << 20  # of one block of one side
_SAMPLE_BYTES = 64 << 20  # of the rows of one side that debiased CKA is computed from
_SAMPLE_ROWS = 2048
_MOST_PRODUCTS = 2e10  # multiply-adds of debiased CKA of one layer: some seconds
_FEATURES_AT_ONCE = 2048  # above, three square matrices of them are too large


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a layer may be from another: |b − a| ≤ rtol·|a|, and max |b − a| ≤ atol + rtol·max |a|."""

    rtol: float
    atol: float


@dataclasses.dataclass(frozen=True, slots=True)
class LayerDiff:
    """A layer of a and one of b over the same rows. All figures but counts are of places finite in both.

    Attributes:
        name_a, name_b: the layers; `matched` says how they came together: "name", "mapping" or "cka".
        shape_a, shape_b: sizes of one row, axes in one order for both.
        rows, values: how many were compared; rows are samples, or positions of samples of different lengths.
        max_abs: the largest |b − a|.
        worst: the id of the sample that has it; or of the first that has a finite value on one side only.
        relative: |b − a| / |a|, Frobenius norms over all values.
        cosine: of the angle between all values of a and all of b.
        cka_gap: 1 − debiased linear CKA, from `cka_rows` rows; NaN of fewer than 4 rows, or of a constant
        layer.
        finite_a, finite_b: how many values are finite.
        elsewhere: places where one is finite and the other is not, or NaN meets inf.
        mean_a, mean_b: of all values.
        variance_ratio: the variance of all values of b over that of a.
        reason: why it diverges; "" where it does not.
        note: what was done to compare value with value; "" where nothing had to be.
        diagnosis: what was found to be wrong with this layer; "" where nothing was.
    """

    name_a: str
    name_b: str
    matched: str
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    rows: int
    values: int
    max_abs: float
    worst: Any
    relative: float
    cosine: float
    cka_gap: float
    cka_rows: int
    finite_a: int
    finite_b: int
    elsewhere: int
    mean_a: float
    mean_b: float
    variance_ratio: float
    reason: str
    note: str = ""
    diagnosis: str = ""

    @property
    def diverges(self) -> bool:
        """Whether it differs beyond the tolerance."""
        return bool(self.reason)


def compared(pair: Pair, matched: str, tolerance: Tolerance) -> LayerDiff:
    """Read two layers once and give their figures; in memory that does not grow with the rows."""
    sums, rows, chosen = DifferenceSums(), len(pair.samples), _cka_rows(pair)
    if pair.fits:
        some = _summed(pair, sums, chosen)
        reason = _reason(sums, tolerance)
    else:
        some = tuple(side.rows(chosen).reshape(len(chosen), -1) for side in (pair.a, pair.b))
        reason = f"shapes {_sizes(pair.a)} and {_sizes(pair.b)} cannot be joined"
    gap, of = gap_of_rows(*some), len(chosen)
    if not of:
        gap, of = gap_of_layers(pair.a, pair.b, rows, pair.a.layer.features, _block_rows(pair.a)), rows
    unknown = not sums.both
    mean_a, mean_b = sums.mean
    return LayerDiff(
        pair.a.layer.name,
        pair.b.layer.name,
        matched,
        pair.a.sizes,
        pair.b.sizes,
        rows,
        sums.values,
        math.nan if unknown else sums.max_abs,
        _worst(pair, sums),
        sums.relative,
        sums.cosine,
        gap,
        of,
        sums.finite_a,
        sums.finite_b,
        sums.elsewhere,
        mean_a,
        mean_b,
        math.nan if unknown else sums.variance_ratio,
        reason,
        pair.note,
    )


def evenly(rows: int, most: int) -> Array:
    """Give at most so many numbers of rows, rising, as far from each other as they can be.

    >>> evenly(10, 4), evenly(3, 4)
    (array([0, 2, 5, 7]), array([0, 1, 2]))
    """
    kept = min(rows, most)
    return np.arange(kept) * rows // kept


def _summed(pair: Pair, sums: DifferenceSums, chosen: Array) -> tuple[Array, ...]:
    """Add all rows to the sums; give the chosen ones (rows, features) of both."""
    at_once = _block_rows(pair.a)
    kept: tuple[list[Array], ...] = ([], [])
    # Both are read by a thread each while the blocks before are worked on.
    parts = (Part(side, 0, len(pair.samples), at_once).blocks() for side in (pair.a, pair.b))
    for (start, x), (_, y) in zip(*parts, strict=True):
        sums.add(x, y, start)
        here = chosen[(chosen >= start) & (chosen < start + len(x))] - start
        kept[0].append(x[here])
        kept[1].append(y[here])
    return tuple(np.concatenate(blocks) for blocks in kept)


def _worst(pair: Pair, sums: DifferenceSums) -> Any:
    row = sums.max_row if sums.elsewhere_row is None else sums.elsewhere_row
    return pair.samples[row].item() if sums.max_abs or sums.elsewhere else None


def _block_rows(side: Lined) -> int:
    return max(1, _BLOCK_BYTES // (side.layer.features * side.layer.dtype.itemsize))


def _reason(sums: DifferenceSums, tolerance: Tolerance) -> str:
    """Say why it diverges. NaN is within no tolerance, so each bound must be kept, not merely not broken."""
    if not sums.both:
        return "no value is finite in both"
    if sums.elsewhere:
        return f"NaN or inf at other places: {sums.elsewhere:,} of {sums.values:,} values"
    if not sums.relative <= tolerance.rtol:
        return f"relative {sums.relative:.2g} > {tolerance.rtol:g}"
    bound = tolerance.atol + tolerance.rtol * sums.max_a
    return "" if sums.max_abs <= bound else f"max |Δ| {sums.max_abs:.2g} > {bound:.2g}"


def _cka_rows(pair: Pair) -> Array:
    """Choose the rows whose Gram matrices are compared: all, or as many as are affordable.

    None of a layer of many rows and few features: there products of the features are cheaper, and of all
    rows.
    """
    rows, features = len(pair.samples), pair.a.layer.features
    widest = max(features, pair.b.layer.features)
    tall = rows > _SAMPLE_ROWS and features <= _FEATURES_AT_ONCE
    if tall and pair.fits and 3 * rows * features**2 <= _MOST_PRODUCTS:
        return np.arange(0)
    affordable = min(_SAMPLE_BYTES // (8 * widest), math.isqrt(int(_MOST_PRODUCTS) // (2 * widest)))
    return evenly(rows, max(LEAST_ROWS, min(affordable, _SAMPLE_ROWS)))


def _sizes(side: Lined) -> str:
    named = (f"{axis} {size}" for axis, size in zip(side.axes, side.sizes, strict=True))
    return f"({', '.join(named)})"
