"""Canonical correlations, plain, of principal components, and weighted."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.measure import Measure
from actlens.compare.scatter import CONSTANT, Scatters, Spectrum, over_pairs
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]

_FORCED = (
    "{} + {} directions in {} rows: {} of the canonical correlations are 1 whatever the data. Record more "
    "samples, or keep fewer directions: compare.svcca.with_options(variance=0.9)"
)


@dataclasses.dataclass(frozen=True)
class CCA(Measure):
    """The mean canonical correlation ρ of two layers (Hotelling 1936): 1 for any invertible linear map.

    The mean is over as many as the smaller rank; ρ are the singular values of Cxx^−½ Cxy Cyy^−½.

    Parameters
    ----------
    squared
        The mean of ρ², which is R²_CCA of Kornblith et al. 2019 (table 1).
    centred
        False leaves the means in, as Kornblith's demo does.
    """

    squared: bool = False
    centred: bool = True

    name: ClassVar[str] = "cca"

    def __post_init__(self) -> None:
        self.allowed("squared", (True, False))
        self.allowed("centred", (True, False))

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return "mean CCA ρ²" if self.squared else "mean CCA ρ"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        scatters = Scatters(sums, centred=self.centred)

        def value(a: Spectrum, b: Spectrum, cross: Array) -> float | str:
            found = correlations(a, b, cross, scatters.free)
            if isinstance(found, str):
                return found
            rho = found[1]
            return float(np.mean(rho**2 if self.squared else rho))

        return over_pairs(scatters, spectrum, value, symmetric=True)


@dataclasses.dataclass(frozen=True)
class SVCCA(Measure):
    """The mean canonical correlation of the leading principal components (Raghu et al. 2017).

    Parameters
    ----------
    variance
        How much of each layer the components hold, above 0 and at most 1.
    of
        What that is a share of: "variance", Σσ²; or "singular values", Σσ, as in Google's tutorial, which
        keeps more.
    """

    variance: float = 0.99
    of: str = "variance"

    name: ClassVar[str] = "svcca"

    def __post_init__(self) -> None:
        self.number("variance", above=0, to=1)
        self.allowed("of", ("variance", "singular values"))

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"SVCCA ({self.variance:.0%} of {self.of})"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        scatters = Scatters(sums)

        def prepare(scatter: Array) -> Spectrum | str:
            found = Spectrum.of(scatter)
            return self._leading(found) if found.rank else CONSTANT

        def value(a: Spectrum, b: Spectrum, cross: Array) -> float | str:
            found = correlations(a, b, cross, scatters.free)
            return found if isinstance(found, str) else float(np.mean(found[1]))

        return over_pairs(scatters, prepare, value, symmetric=True)

    def _leading(self, found: Spectrum) -> Spectrum:
        parts = found.values if self.of == "variance" else np.sqrt(found.values)
        share = np.cumsum(parts) / parts.sum()
        reached = share >= self.variance - 1e-12
        return found.first(int(reached.argmax()) + 1 if reached.any() else found.rank)


@dataclasses.dataclass(frozen=True)
class PWCCA(Measure):
    """Canonical correlations weighted by how much of a's units each accounts for (Morcos et al. 2018).

    Σ αᵢ ρᵢ / Σ αᵢ with αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|, hᵢ the canonical variables of a and xⱼ its units. The weights are
    of a, so that a and b cannot be exchanged; and of units, so that a rotation changes it.
    """

    name: ClassVar[str] = "pwcca"
    symmetric: ClassVar[bool] = False
    rotates: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return "PWCCA"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        scatters = Scatters(sums)

        def value(a: Spectrum, b: Spectrum, cross: Array) -> float | str:
            found = correlations(a, b, cross, scatters.free)
            if isinstance(found, str):
                return found
            left, rho = found
            weights = np.abs(a.loadings @ left).sum(axis=0)
            return float(weights @ rho / weights.sum())

        return over_pairs(scatters, spectrum, value, symmetric=False)


def spectrum(scatter: Array) -> Spectrum | str:
    """Decompose a layer's scatter, its units of equal scale; why not, where it has no variance."""
    found = Spectrum.of_scaled(scatter)
    return found if found.rank else CONSTANT


def correlations(a: Spectrum, b: Spectrum, cross: Array, free: int) -> tuple[Array, Array] | str:
    """Give the canonical directions of a (rank_a, k), in its whitened basis, and ρ (k,), falling."""
    forced = a.rank + b.rank - free
    if forced > 0:
        return _FORCED.format(a.rank, b.rank, free + 1, min(forced, a.rank, b.rank))
    left, rho, _ = np.linalg.svd(a.whitening.T @ cross @ b.whitening, full_matrices=False)
    return left, rho
