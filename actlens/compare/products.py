"""Inner products of centred Gram matrices: all that linear CKA and RSA need of two layers.

With K = Xc Xcᵀ of a layer X (samples, features), Xc its columns centred: ⟨K, L⟩ = ‖Xcᵀ Yc‖², aᵢ = Kᵢᵢ, and
the trace. They are sums over rows or over tiles of K, so that parts of them are added. Any other kernel does
as well, once its Gram matrix is centred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells

Array = npt.NDArray[Any]

_ROUNDING = 1e-13  # of the terms that the unbiased estimate is the difference of
_NOTHING = 64 * float(np.finfo(np.float64).tiny)
ZERO_VARIANCE = "zero variance: all rows of {} are equal"


@dataclasses.dataclass(frozen=True, eq=False)
class Products:
    """Sums over n rows, for layers a (layers_a,) and b (layers_b,), all float64.

    Attributes:
        rows: n.
        inner: (layers_a, layers_b) ⟨K, L⟩; `inner_a`, `inner_b` ⟨K, K⟩ and ⟨L, L⟩.
        diagonal: (layers_a, layers_b) Σ aᵢ bᵢ; `diagonal_a`, `diagonal_b` of a layer with itself.
        trace_a, trace_b: Σ aᵢ, Σ bᵢ.
    """

    rows: int
    inner: Array
    inner_a: Array
    inner_b: Array
    diagonal: Array
    diagonal_a: Array
    diagonal_b: Array
    trace_a: Array
    trace_b: Array

    def __add__(self, other: Products) -> Products:
        fields = [field.name for field in dataclasses.fields(self)]
        return Products(*(getattr(self, name) + getattr(other, name) for name in fields))

    def mirrored(self) -> Products:
        """Give what was summed above the diagonal alone, of layers with themselves, on both sides."""
        whole = {}
        for name in ("inner", "diagonal"):
            half = np.triu(getattr(self, name))
            whole[name] = half + np.triu(half, 1).T
            # The same sums, rounded alike: so that a layer is compared with itself to exactly 1.
            whole |= {f"{name}_a": np.diag(half).copy(), f"{name}_b": np.diag(half).copy()}
        return dataclasses.replace(self, **whole)

    def biased(self) -> Cells:
        """Linear CKA = ⟨K, L⟩ / (‖K‖ ‖L‖) (Kornblith et al. 2019, equation 3)."""
        scale = np.sqrt(self.inner_a)[:, None] * np.sqrt(self.inner_b)[None]
        return self._quotient(self.inner, scale)

    def debiased(self) -> Cells:
        """CKA of the unbiased estimate HSIC₁ (Song et al. 2012, equation 5; Székely and Rizzo 2014)."""
        own_a = self._hsic(self.inner_a, self.diagonal_a, self.trace_a**2)
        own_b = self._hsic(self.inner_b, self.diagonal_b, self.trace_b**2)
        both = self._hsic(self.inner, self.diagonal, self.trace_a[:, None] * self.trace_b[None])
        with np.errstate(invalid="ignore"):
            scale = np.sqrt(own_a)[:, None] * np.sqrt(own_b)[None]
        cells = self._quotient(both, scale)
        for side, own in enumerate((own_a, own_b)):
            limit = _ROUNDING / self.rows**2 * (self.inner_a, self.inner_b)[side]
            for number in np.flatnonzero(own <= limit):
                why = f"the unbiased estimate of its own HSIC is {own[number]:.3g}, not positive"
                cells.refuse(side, int(number), f"{why}: {self.rows} rows are too few")
        self._constant(cells)
        return cells

    def rdm(self, *, centred: bool) -> Cells:
        """Compare squared-Euclidean dissimilarity matrices: their cosine, or with `centred` Pearson's r.

        ⟨D, E⟩ over ordered pairs is 2n Σ aᵢbᵢ + 4⟨K, L⟩ + 2 tr K tr L; the mean of D is 2n tr K / n(n − 1).
        """
        n = self.rows

        def inner(products: Array, diagonal: Array, traces: Array) -> Array:
            whole: Array = 2 * n * diagonal + 4 * products + 2 * traces
            return whole - 4 * n * traces / (n - 1) if centred else whole

        own_a = inner(self.inner_a, self.diagonal_a, self.trace_a**2)
        own_b = inner(self.inner_b, self.diagonal_b, self.trace_b**2)
        both = inner(self.inner, self.diagonal, self.trace_a[:, None] * self.trace_b[None])
        limits = [
            1e-12 * (2 * n * d + 4 * i)
            for d, i in ((self.diagonal_a, self.inner_a), (self.diagonal_b, self.inner_b))
        ]
        with np.errstate(invalid="ignore"):
            cells = self._quotient(both, np.sqrt(own_a)[:, None] * np.sqrt(own_b)[None])
        for side, (own, limit) in enumerate(zip((own_a, own_b), limits, strict=True)):
            for number in np.flatnonzero(own <= limit):
                cells.refuse(side, int(number), "all its dissimilarities are equal")
        self._constant(cells)
        return cells

    def _hsic(self, inner: Array, diagonal: Array, traces: Array) -> Array:
        n = self.rows
        return np.asarray((inner - n / (n - 2) * diagonal + traces / ((n - 1) * (n - 2))) / (n * (n - 3)))

    def _quotient(self, above: Array, below: Array) -> Cells:
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = Cells(above / below)
        self._constant(cells)
        return cells

    def _constant(self, cells: Cells) -> None:
        for side, traces in enumerate((self.trace_a, self.trace_b)):
            for number in np.flatnonzero(traces <= _NOTHING):
                cells.refuse(side, int(number), "zero variance: all its rows are equal")


def empty(rows: int, layers_a: int, layers_b: int) -> Products:
    """Give sums of nothing over n rows."""
    both, a, b = (layers_a, layers_b), (layers_a,), (layers_b,)
    shapes: Sequence[tuple[int, ...]] = (both, a, b, both, a, b, a, b)
    return Products(rows, *(np.zeros(shape) for shape in shapes))
