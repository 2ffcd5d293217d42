"""Centred kernel alignment."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from actlens.compare.cells import Cells
from actlens.compare.joining import Joined
from actlens.compare.kernels import rbf_products
from actlens.compare.measure import Measure
from actlens.compare.products import Products
from actlens.compare.shifting import centred_products
from actlens.compare.sums import Sums


@dataclasses.dataclass(frozen=True)
class CKA(Measure):
    """Centred kernel alignment (Kornblith et al. 2019), by default of the unbiased estimate of HSIC.

    1: alike up to rotation, scale and offset. Unrelated layers give 0 on average where `debiased`; without,
    the value rises with features over samples, up to nearly 1. It hardly sees small errors: a relative error
    of 1e-4 moves it by 1e-8 (use `compare.diff` to check a port), and one outlying sample may move it far
    (Davari et al. 2022, arXiv 2210.16156).

    Parameters
    ----------
    debiased
        HSIC₁ of Song et al. 2012 (equation 5) in place of HSIC₀.
    kernel
        "linear"; or "rbf", exp(−D / 2s²) of squared distances D, with s² = bandwidth² × the median of D, the
        diagonal included (Kornblith's demo).
    bandwidth
        Of "rbf".
    """

    debiased: bool = True
    kernel: str = "linear"
    bandwidth: float = 1.0

    name: ClassVar[str] = "cka"

    def __post_init__(self) -> None:
        self.allowed("debiased", (True, False))
        self.allowed("kernel", ("linear", "rbf"))
        self.number("bandwidth", above=0)

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"{'' if self.debiased else 'biased '}{'RBF ' if self.kernel == 'rbf' else ''}CKA"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "products" if self.kernel == "linear" else "rows"

    def of_products(self, products: Products) -> Cells:
        """See Measure."""
        return products.debiased() if self.debiased else products.biased()

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        return self.of_products(centred_products(sums))

    def of_rows(self, joined: Joined, feature: str) -> Cells:
        """See Measure."""
        return self.of_products(rbf_products(joined, self.bandwidth, feature))
