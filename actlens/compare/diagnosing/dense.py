"""A dense layer whose weights do not fit the order of what goes in: flattened in another order, or
transposed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, Values, relative
from actlens.compare.diagnosing.linear import Map, Moments, about_the_mean, fitted, needed, outputs_of
from actlens.compare.diagnosing.transposed import factors_of
from actlens.compare.layer_diff import evenly

Array = npt.NDArray[Any]

_MOST_FEATURES = 1600  # that a map is fitted of
_MOST_SQUARE = 600  # units of a layer whose weights may be transposed
_ROWS_EACH = 3  # rows for each feature: more do not say more
_LOOSELY = 0.5  # of the difference: what a map of one side alone must explain of the other, to be looked at


def dense(evidence: Evidence) -> Diagnosis | None:
    """Fit the map from input to output on both sides, with the inputs of b in every order that is
    possible.
    """
    x = evidence.x
    if x is None:
        return None
    for rows_of in (_each_position, _whole_samples):
        taken = rows_of(evidence, x)
        if taken is not None:
            found = _tried(evidence, x, *taken)
            if found is not None:
                return found
    return None


def _each_position(evidence: Evidence, x: Values) -> tuple[Array, ...] | None:
    """Take every position as a row: (rows, features) in, (rows, units) out, of both sides."""
    if x.a.shape[:-1] != evidence.a.shape[:-1]:
        return None
    sides = (x.a, x.b, evidence.a, evidence.b)
    return tuple(side.reshape(-1, side.shape[-1]) for side in sides)


def _whole_samples(evidence: Evidence, x: Values) -> tuple[Array, ...] | None:
    """Take a sample as a row, flattened in one order for both sides."""
    if evidence.a.ndim > 2 or x.a.ndim < 3:
        return None
    return (x.a.reshape(len(x.a), -1), x.b.reshape(len(x.b), -1), evidence.a, evidence.b)


def _tried(evidence: Evidence, x: Values, *sides: Array) -> Diagnosis | None:
    z_a, z_b, y_a, y_b = sides
    rows, features = z_a.shape
    if features > _MOST_FEATURES or 2 * rows < needed(features):
        return _likely(x, rows, features)
    kept = evenly(rows, _ROWS_EACH * features + 64)
    y_a, y_b = about_the_mean(y_a, y_b)
    z_a, z_b = z_a[kept], z_b[kept]
    found = _transposed_weights(evidence, z_a, z_b, y_a[kept], y_b[kept])
    if found is not None:
        return found
    y_a, y_b = outputs_of(y_a[kept]), outputs_of(y_b[kept])
    moments = Moments.of(z_a, y_a), Moments.of(z_b, y_b)
    alone = len(kept) >= needed(features)
    first = fitted(moments[0])
    if alone and relative(first(z_a), y_a) > evidence.tolerance:
        return None  # it is no linear map of this input
    for text, order_a, order_b in _orders(x, features):
        back = np.empty(features, np.int64)
        back[order_a] = order_b  # the feature of b that meets the weight of each feature of a
        if alone and relative(first(z_b[:, back]), y_b) > _LOOSELY * relative(y_a, y_b):
            continue
        left = _left(
            evidence, fitted(moments[0], moments[1].reordered(back)), (z_a, z_b[:, back]), (y_a, y_b)
        )
        if left is not None:
            return Diagnosis(text, left)
    return None


def _left(evidence: Evidence, found: Map, z: tuple[Array, Array], y: tuple[Array, Array]) -> float | None:
    """Give what a map leaves of b, if it explains both sides."""
    if relative(found(z[0]), y[0]) > evidence.tolerance:
        return None
    return evidence.explained(found(z[1]), y[1], instead=y[0])


def _orders(x: Values, features: int) -> Iterator[tuple[str, Array, Array]]:
    """Give the orders in which the weights may have met the features of a and of b, and what that is
    called.
    """
    sizes = x.a.shape[1:]
    numbers = np.arange(features)
    if math.prod(sizes) == features and sum(size > 1 for size in sizes) > 1:
        shaped = numbers.reshape(sizes)
        for order_a, order_b in _permutations(x):
            yield (
                f"flattened in another order: the weights of b fit {x.name} flattened as "
                f"({_names(x, order_a)}), and it is flattened as ({_names(x, order_b)}). Reorder the rows "
                "of the kernel: reshape them to the image, transpose, flatten",
                shaped.transpose(order_a).reshape(-1),
                shaped.transpose(order_b).reshape(-1),
            )
    last = sizes[-1]
    rest = features // last
    yield (
        f"the weights of b meet {x.axes[-1]} of {x.name} from its end: back to front",
        numbers,
        numbers.reshape(rest, last)[:, ::-1].reshape(-1),
    )
    for p in factors_of(last) if rest == 1 else ():
        yield (
            f"flattened in another order: the weights of b fit {x.name} as {p} × {last // p}, and it comes "
            f"as {last // p} × {p}. Look at the order of heads and their units",
            numbers,
            numbers.reshape(p, last // p).T.reshape(-1),
        )


def _permutations(x: Values) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Give pairs of orders of the input's axes that differ: first those in which the sides have stored it."""
    orders = list(itertools.permutations(range(len(x.axes))))
    stored = [
        tuple(x.axes.index(name) for name in names) if set(names) == set(x.axes) else orders[0]
        for names in (x.stored_a, x.stored_b)
    ]
    pairs = [pair for pair in itertools.product(orders, orders) if pair[0] != pair[1]]
    return sorted(pairs, key=lambda pair: (pair[0] != stored[0]) + (pair[1] != stored[1]))


def _names(x: Values, order: tuple[int, ...]) -> str:
    return ", ".join(x.axes[axis] for axis in order)


def _transposed_weights(
    evidence: Evidence, z_a: Array, z_b: Array, y_a: Array, y_b: Array
) -> Diagnosis | None:
    """Fit a = zW and b = zWᵀ at once, W square.

    The normal equations ZᵀZ·W + W·ZᵀZ = Zᵀa + (Zᵀb)ᵀ are solved in the eigenvectors of ZᵀZ (Sylvester).
    """
    units = z_a.shape[1]
    if units != y_a.shape[1] or not 2 <= units <= _MOST_SQUARE:
        return None
    a, b = Moments.of(z_a, y_a), Moments.of(z_b, y_b)
    values, vectors = np.linalg.eigh((a.zz + b.zz) / 2)
    right = vectors.T @ (a.zy + b.zy.T) @ vectors
    sums = values[:, None] + values[None, :]
    kept = sums > 1e-13 * max(float(values[-1]), np.finfo(np.float64).tiny)
    weights = vectors @ np.divide(right, sums, out=np.zeros_like(right), where=kept) @ vectors.T
    left_a = relative((z_a - a.mean_z) @ weights + a.mean_y, y_a)
    if left_a > evidence.tolerance:
        return None
    left = evidence.explained((z_b - b.mean_z) @ weights.T + b.mean_y, y_b, instead=y_a)
    if left is None:
        return None
    return Diagnosis(
        "transposed: the weights of b are those of a with rows and columns exchanged (W instead of Wᵀ)", left
    )


def _likely(x: Values, rows: int, features: int) -> Diagnosis | None:
    """Say what cannot be tried with so few rows: of images that the sides store in another order."""
    if sum(size > 1 for size in x.a.shape[1:]) < 2 or x.stored_a == x.stored_b:
        return None
    if features != math.prod(x.a.shape[1:]):
        return None
    more = (
        f"Only {rows:,} rows are there; record {-(-needed(features) // 2):,} to be sure"
        if features <= _MOST_FEATURES
        else "The layer is too wide to try it"
    )
    return Diagnosis(
        f"flattened in another order: {x.name} lies as ({', '.join(x.stored_a)}) in a and as "
        f"({', '.join(x.stored_b)}) in b, and the kernel after it must be reordered. {more}"
    )
