"""One matrix (samples, samples) a layer, whose inner product with another layer's is the measure.

For CKA it is the centred Gram matrix, or, debiased, the U-centred one (Székely and Rizzo 2014); for RSA the
dissimilarities less their mean, or their ranks. Once made, the samples can be shuffled without the
activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined, JoinedLayer
from actlens.compare.kernels import centre, rbf, squared_distances, tied_ranks
from actlens.compare.measures.cka import CKA
from actlens.compare.measures.rsa import RSA
from actlens.compare.whole import load
from actlens.errors import CompareError

Array = npt.NDArray[Any]

MOST_BYTES = 4 << 30  # of the matrices of all layers


def has_gram(measure: object) -> bool:
    """Say whether a measure is an inner product of such matrices."""
    return isinstance(measure, (CKA, RSA))


def check_room(joined: Joined, title: str, itemsize: int) -> None:
    """Refuse what does not fit into memory, before anything is read."""
    size = itemsize * joined.rows**2 * len(joined.layers)
    if size > MOST_BYTES:
        raise CompareError.too_many_rows(
            title, joined.rows, size // len(joined.layers), MOST_BYTES // len(joined.layers)
        )


def plain_gram(joined: Joined, layer: JoinedLayer, measure: Any, feature: str) -> Array:
    """Give the kernel, or the dissimilarities, of a layer before any centring: (samples, samples)."""
    rows = load(joined, layer, feature)
    if isinstance(measure, CKA) and measure.kernel == "linear":
        rows -= rows.mean(axis=0)
        return np.asarray(rows @ rows.T)
    distances = squared_distances(rows)
    if isinstance(measure, CKA):
        return rbf(distances, measure.bandwidth)
    return distances


def unit_gram(joined: Joined, layer: JoinedLayer, measure: Any, feature: str) -> Array:
    """Give the matrix of norm 1 whose inner product with another's is the measure; NaN for a constant."""
    gram = plain_gram(joined, layer, measure, feature)
    if isinstance(measure, CKA):
        if measure.debiased:
            u_centre(gram)
        else:
            centre(gram)
    elif measure.comparison != "cosine":
        off = ~np.eye(len(gram), dtype=bool)
        if measure.comparison == "spearman":
            gram[off] = tied_ranks(gram[off])
        gram[off] -= gram[off].mean()
    norm = float(np.linalg.norm(gram))
    return gram / norm if norm > 0 else np.full_like(gram, np.nan)


def u_centre(gram: Array) -> None:
    """Take from off-diagonal entries what their row and column have in common; the diagonal becomes 0."""
    n = len(gram)
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0)
    gram -= sums[:, None] / (n - 2)
    gram -= sums / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
