"""A power of two for each layer that brings its numbers near 1: no measure here depends on a layer's scale.

Measures are made of fourth powers, which float32 holds only of numbers between 1e-9 and 1e9, and float64 of
those between 1e-75 and 1e75.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined, JoinedLayer

Array = npt.NDArray[Any]

_PLACES = 16  # rows that are looked at, all over a layer
_USUAL = 2.0**-10, 2.0**10  # nearer to 1 than this, nothing is gained


def scales(joined: Joined) -> list[float]:
    """Give the factor of each layer; 1 for most."""
    found = {id(layer): _scale(layer, joined.rows) for layer in joined.layers}
    return [found[id(layer)] for layer in joined.layers]


def power_of_two(rows: Array) -> float:
    """Give the factor that brings the largest deviation from the mean to between ½ and 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.abs(rows - rows.mean(axis=0)).max(initial=0.0))
    if not np.isfinite(largest) or largest == 0:
        return 1.0
    exponent = int(np.clip(-np.frexp(largest)[1], -1000, 1000))
    return float(np.ldexp(1.0, exponent))


def _scale(layer: JoinedLayer, rows: int) -> float:
    places = np.unique(np.linspace(0, rows - 1, _PLACES).astype(int)).tolist()
    blocks = [block for place in places for block in layer.reader.blocks(place, place + 1, 1)]
    factor = power_of_two(np.concatenate([np.asarray(block).astype(np.float64) for block in blocks]))
    low, high = _USUAL
    return 1.0 if low <= factor <= high else factor
