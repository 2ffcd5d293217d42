"""Orthogonal Procrustes."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.measure import Measure
from actlens.compare.scatter import CONSTANT, Scatters, over_pairs
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Procrustes(Measure):
    """How near the best rotation brings one layer to the other (Schönemann 1966; Ding et al. 2021).

    Both are centred and scaled to a Frobenius norm of 1. With f = ‖Xᵀ Y‖₁, the sum of the singular values,
    which is the fidelity (1: alike up to rotation, scale and offset), the normalised distance is 2 − 2f (0:
    alike).

    Parameters
    ----------
    form
        "distance" or "fidelity".
    """

    form: str = "distance"

    name: ClassVar[str] = "procrustes"

    def __post_init__(self) -> None:
        self.allowed("form", ("distance", "fidelity"))

    @property
    def similarity(self) -> bool:  # type: ignore[override]
        """See Measure."""
        return self.form == "fidelity"

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return f"Procrustes {self.form}"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        return over_pairs(Scatters(sums), _size, self._value, symmetric=True)

    def _value(self, a: float, b: float, cross: Array) -> float:
        fidelity = float(np.linalg.svd(cross, compute_uv=False).sum()) / (a * b)
        return fidelity if self.form == "fidelity" else 2.0 - 2.0 * fidelity


def _size(scatter: Array) -> float | str:
    """Give the Frobenius norm of the centred rows."""
    size = float(np.trace(scatter))
    return float(np.sqrt(size)) if size > 0 else CONSTANT
