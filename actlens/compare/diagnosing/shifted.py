"""b is a moved by one position: a row of an image, or a token."""

from __future__ import annotations

import itertools
from typing import Any

import numpy.typing as npt

from actlens.compare.axes import FEATURES
from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence

Array = npt.NDArray[Any]

_LEAST = 3  # positions along an axis: with two, one is left


def shifted(evidence: Evidence) -> Diagnosis | None:
    """Move a by one along each axis of positions, and along two; look at what both have."""
    names = evidence.layer.axes
    axes = [i for i, name in enumerate(names) if name not in FEATURES and evidence.a.shape[i + 1] >= _LEAST]
    for moves in sorted(
        itertools.product((0, 1, -1), repeat=len(axes)), key=lambda move: sum(map(abs, move))
    ):
        if not 0 < sum(map(abs, moves)) <= 2:
            continue
        a, b, unmoved = evidence.a, evidence.b, evidence.a
        for axis, move in zip(axes, moves, strict=True):
            _, unmoved = _overlapping(a, unmoved, axis + 1, move)
            a, b = _overlapping(a, b, axis + 1, move)
        left = evidence.explained(a, b, instead=unmoved)
        if left is not None:
            along = " and ".join(
                f"{move:+d} along {names[axis]}" for axis, move in zip(axes, moves, strict=True) if move
            )
            return Diagnosis(
                f"shifted: b is a moved by {along}, but for the border. Look at the padding ('SAME' pads "
                "the odd one of an even kernel behind), or for a token more at the beginning",
                left,
            )
    return None


def _overlapping(a: Array, b: Array, axis: int, move: int) -> tuple[Array, Array]:
    """Cut off what only one has after the move: b[i] meets a[i − move]."""
    size = a.shape[axis]
    from_a, from_b = slice(max(0, -move), size - max(0, move)), slice(max(0, move), size + min(0, move))
    before = (slice(None),) * axis
    return a[(*before, from_a)], b[(*before, from_b)]
