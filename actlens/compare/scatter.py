"""Centred scatters of layers, and a loop over pairs that prepares each layer once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.shifting import pair_about, whole
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]
P = TypeVar("P")

_ROUNDING = 16 * float(np.finfo(np.float64).eps)
CONSTANT = "zero variance: all its rows are equal"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Spectrum:
    """The eigenvalues (rank,) of a layer's scatter, falling, with their vectors (features, rank).

    What is below the rounding of the largest is left out: dead and repeated units have no direction. With
    `scale` (features,) they are of the scatter of units divided by their scale.
    """

    values: Array
    vectors: Array
    scale: Array | None = None

    @classmethod
    def of(cls, scatter: Array) -> Spectrum:
        """Decompose a scatter (features, features)."""
        values, vectors = np.linalg.eigh(scatter)
        limit = values[-1] * len(values) * _ROUNDING
        kept = np.flatnonzero((values > limit) & (values > 0))[::-1]
        return cls(values[kept], vectors[:, kept])

    @classmethod
    def of_scaled(cls, scatter: Array) -> Spectrum:
        """Decompose the correlations: beside a massive unit, the others are not below its rounding.

        For what any invertible map of the units leaves as it is.
        """
        scale = np.sqrt(np.diagonal(scatter))
        scale = np.where(scale > 0, scale, 1.0)
        found = cls.of(scatter / scale / scale[:, None])
        return dataclasses.replace(found, scale=scale)

    @property
    def rank(self) -> int:
        """How many directions have variance."""
        return len(self.values)

    def first(self, count: int) -> Spectrum:
        """Give the largest of them."""
        return Spectrum(self.values[:count], self.vectors[:, :count], self.scale)

    @property
    def whitening(self) -> Array:
        """(features, rank): what makes the scatter the identity."""
        whitening: Array = self.vectors / np.sqrt(self.values)
        return whitening if self.scale is None else whitening / self.scale[:, None]

    @property
    def loadings(self) -> Array:
        """(features, rank): inner products of the units with the whitened directions."""
        loadings: Array = self.vectors * np.sqrt(self.values)
        return loadings if self.scale is None else loadings * self.scale[:, None]


class Scatters:
    """The scatters Σ x yᵀ of all layers, about their means, or about 0 where not `centred`."""

    def __init__(self, sums: Sums, *, centred: bool = True) -> None:
        self._sums = whole(sums)
        self.rows = int(self._sums.count[0])
        self._delta = -self._sums.total[0] / self.rows if centred else self._sums.shift
        self.free = self.rows - 1 if centred else self.rows  # directions that rows can have
        shape = self._sums.shape
        self.layers_a = range(len(shape.a))
        self.layers_b = self.layers_a if shape.same else range(len(shape.a), len(shape.widths))

    def own(self, layer: int) -> Array:
        """(features, features)."""
        return pair_about(self._sums, (layer, layer), self._delta)

    def cross(self, a: int, b: int) -> Array:
        """(features_a, features_b)."""
        if (a, b) in self._sums.products:
            return pair_about(self._sums, (a, b), self._delta)
        return pair_about(self._sums, (b, a), self._delta).T


def over_pairs(
    scatters: Scatters,
    prepare: Callable[[Array], P | str],
    value: Callable[[P, P, Array], float | str],
    *,
    symmetric: bool,
) -> Cells:
    """Compute a measure for all pairs: `prepare` once a layer, `value` of two and the scatter between them.

    A text in place of either is why there is no value.
    """
    ready = {number: prepare(scatters.own(number)) for number in {*scatters.layers_a, *scatters.layers_b}}
    cells = Cells(np.full((len(scatters.layers_a), len(scatters.layers_b)), np.nan))
    same = scatters.layers_a is scatters.layers_b
    for i, a in enumerate(scatters.layers_a):
        for j, b in enumerate(scatters.layers_b):
            if same and symmetric and j < i:
                cells.values[i, j] = cells.values[j, i]
                if (j, i) in cells.reasons:
                    cells.reasons[i, j] = cells.reasons[j, i]
                continue
            _fill(cells, (i, j), ready[a], ready[b], lambda x, y, a=a, b=b: value(x, y, scatters.cross(a, b)))  # type: ignore[misc]
    return cells


def _fill(
    cells: Cells, pair: tuple[int, int], a: Any, b: Any, value: Callable[[Any, Any], float | str]
) -> None:
    for side, ready in (("a", a), ("b", b)):
        if isinstance(ready, str):
            cells.refuse_pair(pair, f"{side}: {ready}")
            return
    found = value(a, b)
    if isinstance(found, str):
        cells.refuse_pair(pair, found)
    else:
        cells.values[pair] = found
