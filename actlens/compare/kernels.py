"""Centred Gram matrices of a radial basis function, and the ranks of dissimilarities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined, JoinedLayer
from actlens.compare.products import Products
from actlens.compare.whole import inner_products, load

Array = npt.NDArray[Any]


def squared_distances(rows: Array) -> Array:
    """Give (samples, samples) squared Euclidean distances of rows (samples, features)."""
    centred = rows - rows.mean(axis=0)
    squares = np.einsum("nd,nd->n", centred, centred)
    distances: Array = centred @ centred.T
    distances *= -2.0
    distances += squares[:, None]
    distances += squares
    np.maximum(distances, 0.0, out=distances)
    np.fill_diagonal(distances, 0.0)
    return distances


def rbf_products(joined: Joined, bandwidth: float, feature: str) -> Products:
    """Give the inner products of RBF Gram matrices, centred; see measures.cka for the bandwidth."""
    diagonals: dict[int, Array] = {}

    def make(layer: JoinedLayer) -> Array:
        gram = rbf(squared_distances(load(joined, layer, feature)), bandwidth)
        centre(gram)
        diagonals[id(layer)] = np.diagonal(gram).copy()
        return gram.reshape(-1)

    inner = inner_products(joined, make, numbers=joined.rows**2, name="RBF CKA")
    a, b = (np.stack([diagonals[id(layer)] for layer in side]) for side in (joined.a, joined.b))
    return Products(
        joined.rows,
        inner.both,
        inner.own_a,
        inner.own_b,
        a @ b.T,
        np.square(a).sum(axis=1),
        np.square(b).sum(axis=1),
        a.sum(axis=1),
        b.sum(axis=1),
    )


def rbf(distances: Array, bandwidth: float) -> Array:
    """Make squared distances a radial basis function, in place; all 1 where half of the distances are 0."""
    scale = 2.0 * bandwidth**2 * float(np.median(distances))
    if scale > 0:
        np.divide(distances, -scale, out=distances)
        np.exp(distances, out=distances)
    else:
        distances[:] = 1.0
    return distances


def centre(gram: Array) -> None:
    """Take the means from rows and columns of a symmetric matrix, in place."""
    means = gram.mean(axis=0)
    gram -= means[:, None]
    gram -= means - means.mean()


def ranks(joined: Joined, layer: JoinedLayer, feature: str) -> Array:
    """Give the centred ranks of a layer's dissimilarities, (pairs of samples,); equals share one."""
    distances = squared_distances(load(joined, layer, feature))
    found = tied_ranks(distances[np.triu_indices(len(distances), 1)])
    found -= found.mean()
    return found


def tied_ranks(values: Array) -> Array:
    """Give the ranks of values (n,); what is equal but for rounding shares the mean of its ranks.

    >>> tied_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    step = 1e-13 * float(np.abs(values).max(initial=0.0))
    group = np.concatenate([[0], np.cumsum(np.diff(ordered) > step)])
    counts = np.bincount(group)
    found = np.empty(len(values))
    found[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return found
