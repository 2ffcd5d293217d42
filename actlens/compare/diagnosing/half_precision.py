"""One side is stored in fewer bits, and the difference is that of rounding to them."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, is_float, relative

_COMPUTED = 32  # units of the last place: what a layer that also computes in the narrow dtype may lose


def half_precision(evidence: Evidence) -> Diagnosis | None:
    """Hold every difference to the spacing of the narrower dtype at that value."""
    kinds = [np.dtype(side.layer.values.dtype) for side in (evidence.pair.a, evidence.pair.b)]
    if kinds[0] == kinds[1] or not all(is_float(kind) for kind in kinds) or not evidence.a.size:
        return None
    narrow = 0 if kinds[0].itemsize <= kinds[1].itemsize else 1
    info = ml_dtypes.finfo(kinds[narrow])  # type: ignore[no-untyped-call]
    eps, least = float(info.eps), float(info.smallest_subnormal)
    apart, size = np.abs(evidence.b - evidence.a), np.abs(evidence.a)
    said = f"precision: {'ab'[narrow]} is stored as {kinds[narrow].name}"
    if bool((apart <= eps * size + least).all()):
        wide, small = (evidence.b, evidence.a) if narrow == 0 else (evidence.a, evidence.b)
        return Diagnosis(
            f"{said}, and the difference is that of rounding to it. Record both in one dtype, or raise rtol",
            relative(wide.astype(kinds[narrow]).astype(np.float64), small) if small.any() else 0.0,
        )
    norm = float(np.linalg.norm(size))
    if np.isfinite(norm) and float(np.linalg.norm(apart)) <= _COMPUTED * eps * norm:
        return Diagnosis(
            f"{said}, and was computed in it too: the difference is some units of its last place. Run both "
            "models in one dtype, or raise rtol"
        )
    return None
