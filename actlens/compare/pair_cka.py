"""1 − debiased CKA of two layers, to many digits: for layers that are nearly the same.

Debiased CKA is the cosine of the angle θ between two U-centred Gram matrices (Székely and Rizzo 2014; it is
Song et al.'s HSIC_1 in Kornblith et al. 2019). Near 1 the cosine itself has no digits left: a relative error
of 1e-7 is a gap of 1e-14. So θ is found from the part of one matrix that is orthogonal to the other, which
may be small, and 1 − cos θ = 2 sin²(θ/2).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LEAST_ROWS = 4  # below, U-centring divides by zero
_COLUMNS = 4096  # features that are widened to float64 at once


class Blocks(Protocol):
    """A layer that is read in blocks (rows, features)."""

    def blocks(self, start: int, stop: int, rows: int) -> Any:
        """Read rows [start, stop)."""


def gap_of_rows(x: Array, y: Array) -> float:
    """Give 1 − debiased CKA of (rows, features) each, by Gram matrices; NaN where one is constant.

    Rows with NaN or inf on either side are left out.

    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> y = x + 1e-7 * np.random.default_rng(1).normal(size=(50, 8))
    >>> 1e-15 < gap_of_rows(x, y) < 1e-13
    True
    """
    good = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1))
    if len(good) < LEAST_ROWS:
        return math.nan
    gram, other = (unit_gram(side[good]) for side in (x, y))
    if gram is None or other is None:
        return math.nan
    cosine = float(np.vdot(gram, other))
    other -= cosine * gram
    return _one_minus_cosine(float(np.linalg.norm(other)), cosine)


def unit_gram(x: Array) -> Array | None:
    """Give the U-centred Gram matrix (rows, rows) of (rows, features), divided by its norm; None of a
    constant layer.

    Its inner product with that of another layer of the same rows is their debiased CKA.
    """
    rows = len(x)
    gram = np.zeros((rows, rows))
    largest = float(np.abs(x).max(initial=0).astype(np.float64))
    scale = 2.0 ** -math.frexp(largest)[1] if largest else 1.0
    for start in range(0, x.shape[1], _COLUMNS):
        part = x[:, start : start + _COLUMNS].astype(np.float64) * scale
        part -= part.mean(axis=0)
        gram += part @ part.T
    np.fill_diagonal(gram, 0)
    sums = gram.sum(axis=0)
    gram -= (sums[:, None] + sums[None, :]) / (rows - 2) - sums.sum() / ((rows - 1) * (rows - 2))
    np.fill_diagonal(gram, 0)
    norm = float(np.linalg.norm(gram))
    if not norm > 16 * x.size * np.finfo(np.float64).eps ** 2:
        return None  # what centring leaves of equal rows is rounding, and has no direction
    gram /= norm
    return gram


def gap_of_layers(a: Blocks, b: Blocks, rows: int, features: int, block: int) -> float:
    """Give the same of layers with the same features and more rows than features, from products of features.

    Two passes; `block` rows are read at once. Rows with NaN or inf are left out; NaN where a is constant.
    """
    total_a, total_b, good = np.zeros(features), np.zeros(features), 0
    for x, y in _both(a, b, rows, block):
        total_a += x.sum(axis=0)
        total_b += y.sum(axis=0)
        good += len(x)
    if good < LEAST_ROWS:
        return math.nan
    sums = _Sums(features)
    for x, y in _both(a, b, rows, block):
        centred = x - total_a / good
        sums.add(centred, y - total_b / good - centred)
    return sums.gap(good)


def _both(a: Blocks, b: Blocks, rows: int, block: int) -> Any:
    """Read blocks of both, without the rows in which a value is not finite."""
    for x, y in zip(a.blocks(0, rows, block), b.blocks(0, rows, block), strict=True):
        finite = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
        yield x[finite].astype(np.float64), y[finite].astype(np.float64)


class _Sums:
    """Of centred rows x and differences d = y − x: what the Gram matrices K = xxᵀ and E = yyᵀ − K meet in.

    E = xdᵀ + dxᵀ + ddᵀ, so that nothing that is small is the difference of two that are large.
    """

    def __init__(self, features: int) -> None:
        self.xx, self.xd, self.dd = (np.zeros((features, features)) for _ in range(3))
        self.diagonal = np.zeros((2, 2))  # Σ of products of the diagonals of K and E
        self.traces = np.zeros(2)

    def add(self, x: Array, d: Array) -> None:
        self.xx += x.T @ x
        self.xd += x.T @ d
        self.dd += d.T @ d
        squares = np.einsum("ij,ij->i", d, d) + 2 * np.einsum("ij,ij->i", x, d)
        diagonals = np.stack([np.einsum("ij,ij->i", x, x), squares])
        self.diagonal += diagonals @ diagonals.T
        self.traces += diagonals.sum(axis=1)

    def gap(self, rows: int) -> float:
        xx, xd, dd = self.xx, self.xd, self.dd
        kk = float(np.vdot(xx, xx))
        ke = float(2 * np.vdot(xx, xd) + np.vdot(xd, xd))
        ee = float(2 * np.vdot(xx, dd) + 2 * np.vdot(xd, xd.T) + 4 * np.vdot(xd, dd) + np.vdot(dd, dd))
        products = np.array([[kk, ke], [ke, ee]])
        # Song et al. 2012, eq. 5, for centred rows: every sum of a row of K or E is 0.
        products -= self.diagonal * (rows / (rows - 2))
        products += np.outer(self.traces, self.traces) / ((rows - 1) * (rows - 2))
        kk, ke, ee = products[0, 0], products[0, 1], products[1, 1]
        if not kk > 0:
            return math.nan
        apart = math.sqrt(max(0.0, ee - ke * ke / kk))
        return _one_minus_cosine(apart / math.sqrt(kk), 1 + ke / kk)


def _one_minus_cosine(across: float, along: float) -> float:
    """Give 1 − cos of the angle of a right triangle."""
    return 2 * math.sin(math.atan2(across, along) / 2) ** 2
