"""All values of one side are the same number."""

from __future__ import annotations

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, constant

_LEAST = 16  # values


def one_number(evidence: Evidence) -> Diagnosis | None:
    """See whether one side is constant and the other is not."""
    if evidence.a.size < _LEAST:
        return None
    for side, other, values, varies in (
        ("b", "a", evidence.b, evidence.a),
        ("a", "b", evidence.a, evidence.b),
    ):
        if constant(values) and not constant(varies):
            return Diagnosis(
                f"constant: every value of {side} is {values.reshape(-1)[0]:.6g}, those of {other} differ. "
                "Look for weights that were not loaded, an activation that is dead, or a layer that is not "
                "connected",
                0.0,
            )
    return None
