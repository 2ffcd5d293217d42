"""b is a times one number, and perhaps plus one."""

from __future__ import annotations

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, constant

_LEAST = 16  # values; two numbers fit any two


def scale(evidence: Evidence) -> Diagnosis | None:
    """Fit b = s·a, then b = s·a + t, by least squares over all values."""
    a, b = evidence.a.reshape(-1), evidence.b.reshape(-1)
    squares = float(a @ a)
    if a.size < _LEAST or not squares or constant(b):
        return None
    factor = float(a @ b) / squares
    left = evidence.explained(factor * evidence.a, evidence.b)
    if left is not None and factor:
        return Diagnosis(
            f"scale: b is a × {shown(factor)}. Look for inputs that were divided by a number (255) on one "
            "side only, or for a factor that is missing",
            left,
        )
    if constant(a):
        return None
    centred = a - a.mean()
    factor = float(centred @ b) / float(centred @ centred)
    shift = float(b.mean() - factor * a.mean())
    left = evidence.explained(factor * evidence.a + shift, evidence.b)
    if left is None or not factor:
        return None
    times = "" if abs(factor - 1) <= evidence.tolerance else f" × {shown(factor)}"
    return Diagnosis(
        f"scale: b is a{times} {'−' if shift < 0 else '+'} {abs(shift):.6g}. Look for inputs that were "
        "scaled to another range, as −1…1 and 0…1",
        left,
    )


def shown(factor: float) -> str:
    """Write a factor as a person would: as a fraction where it is that of a whole number.

    >>> shown(255.00001), shown(1 / 255), shown(0.37)
    ('255', '1/255', '0.37')
    """
    inverse = 1 / factor
    for value, text in ((factor, "{}"), (inverse, "1/{}")):
        whole = round(value)
        if abs(whole) > 1 and abs(value - whole) <= 1e-6 * abs(whole):
            return text.format(whole)
    return f"{factor:.6g}"
