"""The values of a measure for pairs of layers, and why some of them are missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclasses.dataclass(eq=False)
class Cells:
    """Values (layers_a, layers_b); where one is NaN, `reasons` has a text under its place."""

    values: Array
    reasons: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)

    def refuse(self, side: int, layer: int, why: str) -> None:
        """Leave out all pairs of a layer of side 0 (a) or 1 (b)."""
        rows, columns = self.values.shape
        pairs = [(layer, j) for j in range(columns)] if side == 0 else [(i, layer) for i in range(rows)]
        for pair in pairs:
            self.refuse_pair(pair, f"{'ab'[side]}: {why}")

    def refuse_pair(self, pair: tuple[int, int], why: str) -> None:
        """Leave out one pair; the first reason stays."""
        self.values[pair] = np.nan
        self.reasons.setdefault(pair, why)

    def put(self, other: Cells, first_a: int, first_b: int) -> None:
        """Take over the cells of some layers of both sides."""
        rows, columns = other.values.shape
        self.values[first_a : first_a + rows, first_b : first_b + columns] = other.values
        self.reasons |= {(i + first_a, j + first_b): why for (i, j), why in other.reasons.items()}
