"""First and second moments of two sets of layers, summed row by row about a fixed shift.

With x the rows of one layer less its shift, and s = |x|²: Σ x, Σ x yᵀ, Σ s, Σ s s', Σ s x, apart for each
fold. All that measures need of the rows; how the sums about another point follow from them is in shifting.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.streaming.threads import single_threaded_blas, threads_here

Array = npt.NDArray[Any]

_PANEL = 512  # features; products are made panel by panel, whoever makes them


@dataclasses.dataclass(frozen=True)
class Shape:
    """Which layers there are: `a` and `b` are their numbers of features; b is () for a with itself.

    `units` are the features as recorded, where layers were rotated into fewer (images.py).
    """

    a: tuple[int, ...]
    b: tuple[int, ...] = ()
    folds: int = 1
    units: tuple[int, ...] = ()

    @property
    def same(self) -> bool:
        """Whether a's layers are compared with each other."""
        return not self.b

    @property
    def widths(self) -> tuple[int, ...]:
        """The features of all layers."""
        return self.a + self.b

    @property
    def recorded(self) -> tuple[int, ...]:
        """The units of all layers."""
        return self.units or self.widths

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each layer begins among all features; and where the last one ends."""
        return tuple(np.cumsum([0, *self.widths]).tolist())

    def span(self, layer: int) -> slice:
        """Give the place of a layer among all features."""
        return slice(self.starts[layer], self.starts[layer + 1])

    def panels(self) -> list[tuple[int, int, slice, slice]]:
        """Give the products to make: two layers, and the panels of their features."""
        count = len(self.a)
        pairs = [(i, i) for i in range(len(self.widths))]
        if self.same:
            pairs += [(i, j) for i in range(count) for j in range(i + 1, count)]
        else:
            pairs += [(i, count + j) for i in range(count) for j in range(len(self.b))]
        return [
            (i, j, left, right)
            for i, j in pairs
            for left in _panels(self.widths[i])
            for right in _panels(self.widths[j])
            if i != j or right.start >= left.start
        ]


def _panels(width: int) -> list[slice]:
    return [slice(first, min(first + _PANEL, width)) for first in range(0, width, _PANEL)]


@dataclasses.dataclass(eq=False)
class Sums:
    """The sums, all float64; arrays begin with the folds.

    Attributes:
        shift: (features of all layers,).
        count: (folds,) rows.
        total: (folds, features) Σ x.
        norms: (folds, layers) Σ s; `norm_products` (folds, layers, layers) Σ s s'.
        weighted: (folds, layers, features) Σ s x.
        products: pair of layers → (folds, features, features) Σ x yᵀ.
    """

    shape: Shape
    shift: Array
    count: Array
    total: Array
    norms: Array
    norm_products: Array
    weighted: Array
    products: dict[tuple[int, int], Array]

    @classmethod
    def zero(cls, shape: Shape, shift: Array) -> Sums:
        """Give the sums of no rows."""
        features, layers, folds = len(shift), len(shape.widths), shape.folds
        pairs = {(i, j) for i, j, _, _ in shape.panels()}
        return cls(
            shape,
            shift,
            np.zeros(folds, np.int64),
            np.zeros((folds, features)),
            np.zeros((folds, layers)),
            np.zeros((folds, layers, layers)),
            np.zeros((folds, layers, features)),
            {(i, j): np.zeros((folds, shape.widths[i], shape.widths[j])) for i, j in sorted(pairs)},
        )

    def add(self, other: Sums) -> Sums:
        """Add sums about the same shift, in place."""
        for name in ("count", "total", "norms", "norm_products", "weighted"):
            getattr(self, name)[...] += getattr(other, name)
        for pair, product in self.products.items():
            product[...] += other.products[pair]
        return self


class Adder:
    """Adds rows to sums; products are of `dtype`, sums of products of float64."""

    def __init__(self, sums: Sums, dtype: np.dtype[Any], scales: Sequence[float] | None = None) -> None:
        self.sums = sums
        self._dtype = dtype
        self._scales = scales or [1.0] * len(sums.shape.widths)  # of rows less their shift
        self._panels = sums.shape.panels()
        self._shifts = [sums.shift[sums.shape.span(layer)] for layer in range(len(sums.shape.widths))]

    def add(self, blocks: Sequence[Array], folds: Array | None = None) -> None:
        """Add (rows, features) of every layer; `folds` (rows,) says which fold each row belongs to."""
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):  # looked for at the end
            rows = [self._shifted(*each) for each in zip(blocks, self._shifts, self._scales, strict=True)]
            if folds is None:
                self._add(rows, 0)
                return
            for fold in np.unique(folds).tolist():
                self._add([each[folds == fold] for each in rows], fold)

    def _shifted(self, block: Array, shift: Array, scale: float) -> Array:
        wide = block.astype(np.float32) if block.dtype.kind == "V" else block
        rows: Array = np.empty(wide.shape, self._dtype)
        np.subtract(wide, shift, out=rows, casting="unsafe")
        if scale != 1:
            rows *= scale
        return rows

    def _add(self, rows: list[Array], fold: int) -> None:
        sums, shape = self.sums, self.sums.shape
        norms = np.stack([np.einsum("nd,nd->n", each, each) for each in rows])
        wide = norms.astype(np.float64)
        sums.count[fold] += len(rows[0])
        sums.norms[fold] += wide.sum(axis=1)
        sums.norm_products[fold] += wide @ wide.T
        for layer, each in enumerate(rows):
            sums.weighted[fold][:, shape.span(layer)] += norms @ each
            sums.total[fold][shape.span(layer)] += np.ones(len(each), self._dtype) @ each
        multiply = functools.partial(self._multiply, rows, fold)
        if len(self._panels) == 1 or threads_here() == 1:
            for panel in self._panels:
                multiply(panel)
            return
        # A panel is one thread's: what a sum is made of is added in the order of the rows.
        with ThreadPoolExecutor(threads_here(), thread_name_prefix="actlens") as team:
            for _ in team.map(multiply, self._panels):
                pass

    def _multiply(self, rows: list[Array], fold: int, panel: tuple[int, int, slice, slice]) -> None:
        i, j, left, right = panel
        with np.errstate(over="ignore", invalid="ignore"):
            product = rows[i][:, left].T @ rows[j][:, right]
            self.sums.products[i, j][fold, left, right] += product
            if i == j and left != right:
                self.sums.products[i, i][fold, right, left] += product.T
