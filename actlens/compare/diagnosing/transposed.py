"""The values of b are those of a with axes in another order, flattened in another order, or back to front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, relative

Array = npt.NDArray[Any]

_MOST_AXES = 4
_LEAST = 4  # values of a sample; two are in another order by chance
_MOST_FACTORS = 20  # ways to take an axis apart
_PROBED = 3  # rows that an order is tried on first
_NEAR = 0.1  # relative: how near it must come there


def transposed(evidence: Evidence) -> Diagnosis | None:
    """Take a sample apart along axes that are known or possible, and try every order of them."""
    a, b = evidence.a, evidence.b
    values = math.prod(a.shape[1:])
    if values < _LEAST or values != math.prod(b.shape[1:]):
        return None
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    same = evidence.explained(flat_a, flat_b, instead=np.zeros(1)) if a.shape != b.shape else None
    if same is not None:
        return Diagnosis(
            f"another shape: the same values, as {a.shape[1:]} in a and {b.shape[1:]} in b. Name the axes "
            "with an einops pattern in record(), or reshape one side",
            same,
        )
    for sizes, names in _ways(evidence):
        for order in itertools.permutations(range(len(sizes))):
            left = _left(evidence, (flat_a, flat_b), np.arange(values).reshape(sizes).transpose(order))
            if left is not None:
                return _said(sizes, names, order, left)
    return None


def factors_exchanged(evidence: Evidence) -> Diagnosis | None:
    """Take the last axis as p × q, and exchange the two: heads and their units."""
    last, name = evidence.a.shape[-1], evidence.layer.axes[-1]
    flat_a, flat_b = (side.reshape(-1, last) for side in (evidence.a, evidence.b))
    for p in factors_of(last):
        q = last // p
        left = _left(evidence, (flat_a, flat_b), np.arange(last).reshape(p, q).T)
        if left is not None:
            return Diagnosis(
                f"transposed: the {last} values of {name} are {p} × {q} in a and {q} × {p} in b. Look at the "
                "order of heads and their units",
                left,
            )
    return None


def _left(evidence: Evidence, flat: tuple[Array, Array], order: Array) -> float | None:
    """Give what is left of b if its values (rows, values) are those of a in an order."""
    a, b = flat
    picked = order.reshape(-1)
    if relative(a[:_PROBED, picked], b[:_PROBED]) > _NEAR:
        return None
    return evidence.explained(a[:, picked], b, instead=a)


def back_to_front(evidence: Evidence) -> Diagnosis | None:
    """Turn one axis around, or two: channels RGB and BGR, images upside down, sequences from their end."""
    axes = [number for number in range(1, evidence.a.ndim) if evidence.a.shape[number] > 1]
    for turned in (*((axis,) for axis in axes), *itertools.combinations(axes, 2)):
        left = evidence.explained(np.flip(evidence.a, turned), evidence.b)
        if left is not None:
            names = " and ".join(evidence.layer.axes[axis - 1] for axis in turned)
            return Diagnosis(
                f"back to front: b is a with {names} turned around. Look for channels in the order RGB on "
                "one side and BGR on the other, a flipped image, or a sequence that is read from its end",
                left,
            )
    return None


def _ways(evidence: Evidence) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Give sizes and names of the axes that a sample may have: the layer's own, and its input's."""
    values = math.prod(evidence.a.shape[1:])
    known = [evidence.layer] if evidence.x is None else [evidence.layer, evidence.x]
    for each in known:
        sizes = each.a.shape[1:]
        if 1 < len(sizes) <= _MOST_AXES and math.prod(sizes) == values:
            for stored in itertools.permutations(range(len(sizes))):
                yield tuple(sizes[i] for i in stored), tuple(each.axes[i] for i in stored)


def factors_of(size: int) -> list[int]:
    """Give the numbers p with p · q = size, other than 1 and size itself; not all of a size that has many.

    >>> factors_of(12), factors_of(7)
    ([2, 3, 6, 4], [])
    """
    small = [p for p in range(2, math.isqrt(size) + 1) if size % p == 0][:_MOST_FACTORS]
    return [*small, *(size // p for p in small if p * p != size)]


def _said(sizes: tuple[int, ...], names: tuple[str, ...], order: tuple[int, ...], left: float) -> Diagnosis:
    before = ", ".join(f"{name} {size}" for name, size in zip(names, sizes, strict=True))
    after = ", ".join(names[axis] for axis in order)
    return Diagnosis(
        f"transposed or flattened in another order: b has the values of a, which lie there as ({before}), "
        f"in the order ({after}). Name the axes with an einops pattern in record(), or reorder one side",
        left,
    )
