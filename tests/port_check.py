"""How near two recordings are, in plain numpy and float64: rows joined by id, axes by name."""

from __future__ import annotations

import dataclasses

import numpy as np
from port_weights import Array

import actlens

IMAGE = ("sample", "height", "width", "channel")


@dataclasses.dataclass(frozen=True)
class Nearness:
    """`relative`: ‖y − x‖ / ‖x‖, of Frobenius; `largest`: max|y − x| / (1 + max|x|)."""

    relative: float
    largest: float
    beyond_cka: float  # 1 − debiased linear CKA


def canonical(run: actlens.Recording, layer: str) -> Array:
    """(samples, …) in float64, in the order of the ids, channels last."""
    array = run[layer]
    values = np.asarray(array[:], "f8")
    if set(array.axes) == set(IMAGE):
        values = values.transpose([array.axes.index(name) for name in IMAGE])
    else:
        assert array.axes[0] == "sample"
        assert {"channel", "height"}.isdisjoint(array.axes)
    assert len(set(run.ids.tolist())) == run.rows
    return values[np.argsort(run.ids)]


def nearness(x: Array, y: Array) -> Nearness:
    """Compare (samples, …) with (samples, …) of the same rows and axes."""
    difference = np.abs(y - x)
    return Nearness(
        float(np.linalg.norm(difference) / np.linalg.norm(x)),
        float(difference.max() / (1 + np.abs(x).max())),
        1 - debiased_cka(x.reshape(len(x), -1), y.reshape(len(y), -1)),
    )


def first_beyond(a: actlens.Recording, b: actlens.Recording, bound: float) -> str | None:
    """Name the first layer whose relative error is not below a bound."""
    layers = [key for key in a if "@" not in key]
    beyond = (key for key in layers if not nearness(canonical(a, key), canonical(b, key)).relative < bound)
    return next(beyond, None)


def debiased_cka(x: Array, y: Array) -> float:
    """Of (samples, features) each: Kornblith et al. 2019, with the HSIC of Song et al. 2012, eq. 5.

    That one needs no centring, but rounding does: without it, differences are lost in a large mean.
    """
    k, m = ((centred := z - z.mean(0)) @ centred.T for z in (x, y))
    return _hsic(k, m) / np.sqrt(_hsic(k, k) * _hsic(m, m))


def _hsic(k: Array, m: Array) -> float:
    """HSIC_1, from Gram matrices (samples, samples)."""
    n = len(k)
    k, m = (gram - np.diag(np.diag(gram)) for gram in (k, m))
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((np.sum(k * m) + sums - 2 / (n - 2) * (k.sum(0) @ m.sum(0))) / (n * (n - 3)))
