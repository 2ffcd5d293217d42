"""How much of one layer a linear map of the other explains, in the same rows."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.measure import Measure
from actlens.compare.measures.correlation import spectrum
from actlens.compare.scatter import Scatters, Spectrum, over_pairs
from actlens.compare.sums import Sums

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class LinearR2(Measure):
    """The share of b's variance that the best linear map of a explains: tr(Cyx Cxx⁻¹ Cxy) / tr Cyy.

    x is a and y is b. In the rows it was fitted in, so that it rises with a's features; `ridge` leaves rows
    out.
    """

    name: ClassVar[str] = "linear_r2"
    symmetric: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What a picture calls it."""
        return "R² of b from a"

    @property
    def needs(self) -> str:
        """See Measure."""
        return "moments"

    def of_moments(self, sums: Sums) -> Cells:
        """See Measure."""
        scatters = Scatters(sums)

        def prepare(scatter: Array) -> tuple[Spectrum, float] | str:
            found = spectrum(scatter)
            return found if isinstance(found, str) else (found, float(np.trace(scatter)))

        def value(a: tuple[Spectrum, float], b: tuple[Spectrum, float], cross: Array) -> float | str:
            if a[0].rank >= scatters.free:
                return (
                    f"{a[0].rank} directions of a in {scatters.rows} rows: they fit any b whatever the data. "
                    "Record more samples, or use compare.ridge"
                )
            return float(np.square(a[0].whitening.T @ cross).sum()) / b[1]

        return over_pairs(scatters, prepare, value, symmetric=False)
