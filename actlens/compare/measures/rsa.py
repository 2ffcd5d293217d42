"""Representational similarity analysis."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from actlens.compare.cells import Cells
from actlens.compare.joining import Joined
from actlens.compare.kernels import ranks
from actlens.compare.measure import Measure
from actlens.compare.products import Products
from actlens.compare.shifting import centred_products
from actlens.compare.sums import Sums
from actlens.compare.whole import inner_products


@dataclasses.dataclass(frozen=True)
class RSA(Measure):
    """Compare the dissimilarities of all pairs of samples (Kriegeskorte et al. 2008), squared Euclidean.

    Parameters
    ----------
    comparison
        "pearson" (−1 to 1) or "cosine" (0 to 1) of the squared distances, which need no matrix of them; or
        "spearman", of their ranks, which does: n(n − 1)/2 numbers for each layer.
    """

    comparison: str = "pearson"

    name: ClassVar[str] = "rsa"

    def __post_init__(self) -> None:
        self.allowed("comparison", ("pearson", "cosine", "spearman"))

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"RSA ({self.comparison})"

    @property
    def signed(self) -> bool:
        """See Measure."""
        return self.comparison != "cosine"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "rows" if self.comparison == "spearman" else "products"

    def of_products(self, products: Products) -> Cells:
        """See Measure."""
        return products.rdm(centred=self.comparison == "pearson")

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        return self.of_products(centred_products(sums))

    def of_rows(self, joined: Joined, feature: str) -> Cells:
        """See Measure."""
        count = joined.rows * (joined.rows - 1) // 2
        inner = inner_products(
            joined, lambda layer: ranks(joined, layer, feature), numbers=count, name="Spearman RSA"
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = Cells(inner.both / np.sqrt(inner.own_a)[:, None] / np.sqrt(inner.own_b)[None])
        for side, own in enumerate((inner.own_a, inner.own_b)):
            for number in np.flatnonzero(own == 0):
                cells.refuse(side, int(number), "all its dissimilarities are equal")
        return cells
