"""Which way is cheaper: tiles of Gram matrices, or covariances; and why, for the result.

For all pairs of layers it is the rows against the *stacked* width: with D_A and D_B the features of all
layers of a side, tiles cost n²(D_A + D_B) multiplications and covariances 2 n D_A D_B (and their own
squares), so that tiles are cheaper while n < 2 D_A D_B / (D_A + D_B).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from actlens.compare.joining import Joined, JoinedLayer
from actlens.compare.measure import Measure
from actlens.errors import CompareError

SUMS_BYTES = 1 << 30  # of the sums of products that are kept at once
_PAIR_BYTES = 4 << 30  # of those of one pair of layers
MOST_FLOPS = 2e16  # a day or two on two cores
_FEW_FLOPS = 2e10  # below a second: float64 is free, and few rows do not average out float32's rounding
_DOUBLE: np.dtype[Any] = np.dtype(np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """`path` is "gram", "moments" or "rows"; `why` is for a person; products are made in `dtype`."""

    path: str
    why: str
    dtype: np.dtype[Any] = _DOUBLE


def plan(joined: Joined, measure: Measure, feature: str) -> Plan:
    """Choose.

    Raises:
        CompareError: neither way ends within days, or fits into memory.
    """
    if measure.needs == "rows":
        return Plan("rows", "it is no sum over rows: each layer is read whole, once")
    rows, width_a, width_b = joined.rows, _width(joined.a), _width(joined.b)
    gram = float(rows) ** 2 * sum(layer.features for layer in joined.layers)
    moments = 2.0 * rows * (width_a * width_b / (2 if joined.same else 1) + _squares(joined))
    if measure.needs == "moments":
        _check(feature, "covariances of all pairs", moments)
        if rows > max(layer.features for layer in joined.layers) or not measure.rotates:
            _fits(joined, feature)
        return Plan("moments", f"one pass sums up the covariances of {width_a:,} × {width_b:,} features")
    dtype = _DOUBLE if min(gram, moments) < _FEW_FLOPS else joined.dtype
    crossing = 2 * width_a * width_b / (width_a + width_b)
    seen = f"{rows:,} rows, stacked widths {width_a:,} and {width_b:,}"
    if rows < crossing or _largest(joined) > _PAIR_BYTES:
        _check(feature, "Gram matrices of all rows", gram)
        return Plan("gram", f"{seen}: cheaper below {crossing:,.0f} rows", dtype)
    _check(feature, "covariances of all pairs", moments)
    return Plan("moments", f"{seen}: cheaper from {crossing:,.0f} rows on", dtype)


def groups(
    layers: tuple[JoinedLayer, ...], others: tuple[JoinedLayer, ...], folds: int
) -> list[tuple[JoinedLayer, ...]]:
    """Cut one side's layers into groups whose sums with all others' fit into memory together."""
    other = sum(layer.features for layer in others)
    found: list[list[JoinedLayer]] = [[]]
    used = 0
    for layer in layers:
        size = 8 * folds * layer.features * (layer.features + other)
        if found[-1] and used + size > SUMS_BYTES:
            found.append([])
            used = 0
        found[-1].append(layer)
        used += size
    return [tuple(group) for group in found]


def _width(layers: tuple[JoinedLayer, ...]) -> int:
    return sum(layer.features for layer in layers)


def _squares(joined: Joined) -> float:
    return float(sum(layer.features**2 for layer in joined.layers)) / 2


def _largest(joined: Joined) -> int:
    """Give the bytes of the sums of the widest pair."""
    a, b = (max(layer.features for layer in side) for side in (joined.a, joined.b))
    return 8 * (a * a + b * b + a * b)


def _fits(joined: Joined, feature: str) -> None:
    if _largest(joined) > _PAIR_BYTES:
        widest = max(joined.layers, key=lambda layer: layer.features)
        raise CompareError.too_wide(feature, widest.name, widest.features, _largest(joined), _PAIR_BYTES)


def _check(feature: str, what: str, flops: float) -> None:
    if flops > MOST_FLOPS:
        raise CompareError.too_costly(feature, what, flops, MOST_FLOPS)
