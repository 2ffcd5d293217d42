"""Moments about another point than that which rows were summed about.

With δ = old shift − new shift, a row x becomes x + δ and its s = |x|² becomes s + 2 δ·x + |δ|²; all sums of
the new follow from sums of the old. About the mean, they are those of centred rows (facts of algebra: Chan,
Golub and LeVeque 1983 for the second moments).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.products import Products
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]


def pair_about(sums: Sums, pair: tuple[int, int], delta: Array, fold: int = 0) -> Array:
    """Give Σ x yᵀ of two layers, of one fold, where all rows are moved by `delta` (all features,)."""
    i, j = pair
    left, right = sums.shape.span(i), sums.shape.span(j)
    total, count = sums.total[fold], sums.count[fold]
    moved: Array = sums.products[pair][fold].copy()
    moved += np.outer(total[left], delta[right])
    moved += np.outer(delta[left], total[right] + count * delta[right])
    return moved


def about(sums: Sums, shift: Array) -> Sums:
    """Give the same sums about another shift (features,)."""
    delta = sums.shift - shift
    moved = Sums.zero(sums.shape, shift)
    for fold in range(sums.shape.folds):
        _move(sums, moved, delta, fold)
    return moved


def _move(sums: Sums, moved: Sums, delta: Array, fold: int) -> None:
    count, total = sums.count[fold], sums.total[fold]
    moved.count[fold] = count
    moved.total[fold] = total + count * delta
    for pair in sums.products:
        moved.products[pair][fold] = pair_about(sums, pair, delta, fold)
    norms = _Norms.of(sums, delta, fold)
    moved.norms[fold] = norms.sums()
    moved.norm_products[fold] = norms.products()
    moved.weighted[fold] = norms.weighted()


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Norms:
    """What the sums with s = |x|² are made of, for one fold; u = δ·x of each layer.

    `tied` (layers, features) are Σ u x, `squares` (layers, layers) Σ u u', known for the pairs that have
    products; `crossed` (layers, layers) Σ s u', `linear` (layers,) Σ u, `own` (layers,) |δ|².
    """

    sums_of: Sums
    fold: int
    delta: Array
    tied: Array
    squares: Array
    crossed: Array
    linear: Array
    own: Array

    @classmethod
    def of(cls, sums: Sums, delta: Array, fold: int) -> _Norms:
        shape = sums.shape
        layers = len(shape.widths)
        tied, squares = np.zeros((layers, len(delta))), np.zeros((layers, layers))
        for (i, j), product in sums.products.items():
            left, right = shape.span(i), shape.span(j)
            tied[i, right] = delta[left] @ product[fold]
            tied[j, left] = product[fold] @ delta[right]
            squares[i, j] = squares[j, i] = tied[i, right] @ delta[right]
        spans = [shape.span(layer) for layer in range(layers)]
        crossed = np.stack([sums.weighted[fold][:, span] @ delta[span] for span in spans], axis=1)
        linear = np.array([sums.total[fold][span] @ delta[span] for span in spans])
        own = np.array([delta[span] @ delta[span] for span in spans])
        return cls(sums, fold, delta, tied, squares, crossed, linear, own)

    def sums(self) -> Array:
        old, count = self.sums_of.norms[self.fold], self.sums_of.count[self.fold]
        return np.asarray(old + 2 * self.linear + count * self.own)

    def products(self) -> Array:
        """Expand Σ (s + 2u + c)(s' + 2u' + c')."""
        old, count = self.sums_of.norms[self.fold], self.sums_of.count[self.fold]
        known = self.sums_of.norm_products[self.fold] + 2 * (self.crossed + self.crossed.T) + 4 * self.squares
        ones = np.outer(old + 2 * self.linear, self.own)
        return np.asarray(known + ones + ones.T + count * np.outer(self.own, self.own))

    def weighted(self) -> Array:
        """Expand Σ (s + 2u + c)(x + δ)."""
        old, count = self.sums_of.norms[self.fold], self.sums_of.count[self.fold]
        total = self.sums_of.total[self.fold]
        factors = old + 2 * self.linear + count * self.own
        return np.asarray(
            self.sums_of.weighted[self.fold]
            + 2 * self.tied
            + np.outer(self.own, total)
            + np.outer(factors, self.delta)
        )


def whole(sums: Sums) -> Sums:
    """Put the folds together."""
    if sums.shape.folds == 1:
        return sums
    shape = dataclasses.replace(sums.shape, folds=1)
    names = ("count", "total", "norms", "norm_products", "weighted")
    joined = {name: getattr(sums, name).sum(axis=0, keepdims=True) for name in names}
    products = {pair: product.sum(axis=0, keepdims=True) for pair, product in sums.products.items()}
    return Sums(shape=shape, shift=sums.shift, products=products, **joined)


def centred_products(sums: Sums) -> Products:
    """Give the inner products of centred Gram matrices: ⟨K, L⟩ = ‖Σ x yᵀ‖² about the means."""
    sums = whole(sums)
    delta = -sums.total[0] / sums.count[0]
    shape, split = sums.shape, len(sums.shape.a)
    layers = len(shape.widths)
    inner = np.zeros((layers, layers))
    for pair in sums.products:
        inner[pair] = inner[pair[::-1]] = float(np.square(pair_about(sums, pair, delta)).sum())
    norms = _Norms.of(sums, delta, 0)
    diagonal, traces = norms.products(), norms.sums()
    a, b = slice(0, split), slice(0, split) if shape.same else slice(split, layers)
    own, own_diagonal = np.diag(inner), np.diag(diagonal)
    return Products(
        int(sums.count[0]),
        inner[a, b],
        own[a],
        own[b],
        diagonal[a, b],
        own_diagonal[a],
        own_diagonal[b],
        np.maximum(traces[a], 0.0),
        np.maximum(traces[b], 0.0),
    )
