"""Dropout is on in one side: some values are 0, and the others are larger by one factor."""

from __future__ import annotations

import numpy as np

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence

_LEAST = 100  # values, for a share of zeros that means something
_NEAR = 0.1  # of the share that the factor says: how near the share of zeros must be
_CHANCE = 4  # standard deviations of the share


def dropout(evidence: Evidence) -> Diagnosis | None:
    """Fit one factor to the values that are not 0, and hold the share of zeros to it: 1/(1 − p)."""
    for first, plain, dropped in (("b", evidence.a, evidence.b), ("a", evidence.b, evidence.a)):
        there = plain != 0
        kept = there & (dropped != 0)
        count = int(there.sum())
        if count < _LEAST or not kept.any():
            continue
        factor = float(plain[kept] @ dropped[kept] / (plain[kept] @ plain[kept]))
        share = 1 - int(kept.sum()) / count
        if factor <= 1:
            continue
        said = 1 - 1 / factor
        if abs(share - said) > _NEAR * said + _CHANCE * np.sqrt(share * (1 - share) / count):
            continue
        left = evidence.explained(np.where(kept, factor * plain, 0), dropped, instead=plain)
        if left is not None:
            return Diagnosis(
                f"dropout is on in {first}: {share:.0%} of its values are 0, the others are those of the "
                f"other side × {factor:.4g}. Put the model into evaluation mode (model.eval(), "
                "deterministic=True, training=False)",
                left,
            )
    return None
