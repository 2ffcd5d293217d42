"""Layers with more features than rows, rotated into as few as they need.

The centred rows of X span at most rows − 1 directions. With K = Xc Xcᵀ = U Λ Uᵀ, the rows of U Λ^½ have the
same inner products, so that X is them up to a rotation: any measure that no rotation changes is the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined, JoinedLayer
from actlens.compare.scatter import Spectrum
from actlens.compare.whole import load
from actlens.errors import CompareError
from actlens.streaming.reader import ArrayReader

_MOST_BYTES = 4 << 30


def narrowed(joined: Joined, feature: str, *, centred: bool = True) -> Joined:
    """Rotate the layers that have more features than rows, less their means where `centred`."""
    a = tuple(_image(joined, layer, feature, centred) for layer in joined.a)
    b = a if joined.same else tuple(_image(joined, layer, feature, centred) for layer in joined.b)
    return dataclasses.replace(joined, a=a, b=b)


def _image(joined: Joined, layer: JoinedLayer, feature: str, centred: bool) -> JoinedLayer:
    if layer.features <= joined.rows:
        return layer
    size = 8 * joined.rows * layer.features
    if size > _MOST_BYTES:
        raise CompareError.too_wide(feature, layer.name, layer.features, size, _MOST_BYTES)
    rows = load(joined, layer, feature)
    if centred:
        rows -= rows.mean(axis=0)
    found = Spectrum.of(rows @ rows.T)
    image: npt.NDArray[Any] = found.vectors * np.sqrt(found.values)
    if not found.rank:  # a constant layer has to have a feature
        image = np.zeros((joined.rows, 1))
    return dataclasses.replace(
        layer, features=image.shape[1], dtype=np.dtype(np.float64), reader=ArrayReader(image)
    )
