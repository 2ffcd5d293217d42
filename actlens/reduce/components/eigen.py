"""The largest eigenvalues of a symmetric matrix, by the cheapest way that is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce.optional import has

Array = npt.NDArray[Any]

_LARGE = 500  # below this side a full decomposition takes milliseconds
_FEW = 10  # Lanczos pays while it looks for less than one in ten


def wanted(matrix: Array, count: int | float, total: float) -> tuple[Array, Array, float]:
    """Give the largest eigenvalues (k,), falling, their vectors (side, k), and the value that follows them.

    `count` is how many, or the share of the trace `total` that they must reach. Rounding may leave −1e-17 of
    a covariance: values are at least 0.
    """
    side = len(matrix)
    if not isinstance(count, int):
        count = _reaching(matrix, float(count), total)
    # One more than was asked for: its distance says how well the last one is known.
    values, vectors = largest(matrix, min(count + 1, side))
    values = np.maximum(values, 0.0)
    following = float(values[count]) if count < side else 0.0
    return values[:count], np.ascontiguousarray(vectors[:, :count]), following


def _reaching(matrix: Array, share: float, total: float) -> int:
    """Say how many of the largest eigenvalues reach a share of their sum; twice as many at each attempt."""
    side, count = len(matrix), 64
    while True:
        few = count * _FEW < side and side >= _LARGE
        values = largest(matrix, count)[0] if few else np.linalg.eigvalsh(matrix)[::-1]
        reached = np.cumsum(np.maximum(values, 0.0)) / total if total > 0 else np.ones(len(values))
        found = int(np.searchsorted(reached, share, side="right")) + 1
        if found <= len(values) or not few:
            return min(found, side)
        count *= 2


def largest(matrix: Array, count: int) -> tuple[Array, Array]:
    """Give the `count` largest eigenvalues (count,), falling, and their vectors (side, count).

    For 50 of 4096: Lanczos 0.4 s, a LAPACK subset 2 s, everything 5 s (2 cores). Without scipy: everything.
    """
    side = len(matrix)
    if side >= _LARGE and count < side and has("scipy"):
        return _lanczos(matrix, count) if count * _FEW < side else _subset(matrix, count)
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1][:count], vectors[:, ::-1][:, :count]


def _lanczos(matrix: Array, count: int) -> tuple[Array, Array]:
    from scipy.sparse.linalg import ArpackError, eigsh

    if not matrix.any():
        return _subset(matrix, count)  # Lanczos has no direction to start in
    start = np.random.default_rng(0).standard_normal(len(matrix))  # fixed: the same matrix, the same bits
    try:
        values, vectors = eigsh(matrix, k=count, which="LA", v0=start)
    except ArpackError:  # many equal eigenvalues, as in a layer of low rank
        return _subset(matrix, count)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def _subset(matrix: Array, count: int) -> tuple[Array, Array]:
    from scipy.linalg import eigh

    side = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[side - count, side - 1])
    return values[::-1], vectors[:, ::-1]


def with_fixed_signs(components: Array) -> Array:
    """Turn each row of components (k, features) so that its largest loading is positive.

    An eigenvector is known up to its sign only; this makes it the same from run to run.
    """
    peaks = np.abs(components).argmax(axis=1)
    signs = np.where(components[np.arange(len(components)), peaks] < 0, -1.0, 1.0)
    return np.asarray(components * signs[:, None])
