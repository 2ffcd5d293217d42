"""Shared nearest neighbours."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.joining import Joined
from actlens.compare.measure import Measure
from actlens.compare.whole import load
from actlens.errors import CompareError
from actlens.reduce.knn import search

Array = npt.NDArray[Any]

_ROWS = 4096  # whose neighbours are marked at once


@dataclasses.dataclass(frozen=True)
class MutualKNN(Measure):
    """The share of its k nearest samples that a sample has in both layers (Huh et al. 2024), on average.

    Unrelated layers share k / (n − 1). Neighbours are found once a layer, exactly up to 100,000 samples; a
    sample is never its own neighbour, an equal one is.

    Parameters
    ----------
    k
        Neighbours; fewer than the samples.
    """

    k: int = 10

    name: ClassVar[str] = "mutual_knn"

    def __post_init__(self) -> None:
        self.whole("k", least=1)

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"mutual {self.k}-NN"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "rows"

    def of_rows(self, joined: Joined, feature: str) -> Cells:
        """See Measure."""
        if self.k >= joined.rows:
            raise CompareError.option(self.name, "k", self.k, f"fewer than the {joined.rows} rows")
        found = neighbors(joined, self.k, feature)
        a = found[: len(joined.a)]
        b = a if joined.same else found[len(joined.a) :]
        cells = Cells(shared(a, b) / (self.k * joined.rows))
        offset = 0 if joined.same else len(a)
        for side, layers in enumerate((range(len(a)), range(offset, offset + len(b)))):
            for number, place in enumerate(layers):
                if found[place][0, 0] < 0:
                    cells.refuse(side, number, "zero variance: all its rows are equal")
        return cells


def neighbors(joined: Joined, k: int, feature: str) -> list[Array]:
    """Find the k nearest rows of each row, (rows, k), in every layer; −1 where all rows are equal."""
    found = []
    for layer in joined.layers:
        rows = load(joined, layer, feature)
        if (rows == rows[0]).all():
            found.append(np.full((len(rows), k), -1, np.int32))
        else:
            found.append(search(rows, k, seed=0).indices)
    return found


def shared(a: list[Array], b: list[Array]) -> Array:
    """Count neighbours (samples, k) that both have, for all pairs: (layers_a, layers_b)."""
    counts = np.zeros((len(a), len(b)))
    samples = len(a[0])
    for start in range(0, samples, _ROWS):
        rows = slice(start, min(start + _ROWS, samples))
        marked = np.zeros((rows.stop - start, samples), bool)
        numbers = np.arange(len(marked))[:, None]
        for i, own in enumerate(a):
            marked[numbers, own[rows]] = True
            for j, other in enumerate(b):
                counts[i, j] += np.count_nonzero(marked[numbers, other[rows]])
            marked[numbers, own[rows]] = False
    return counts
