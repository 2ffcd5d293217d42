"""Batch normalization with another eps, or with running mean and variance exchanged.

In evaluation it is a line in each channel, y = γ·(x − μ)/√(σ² + ε) + β: from the lines of both sides μ and σ²
follow under each hypothesis. A hypothesis holds if they are what they should be: near the mean and the
variance of x.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.channels import Lines, lines
from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence, relative

Array = npt.NDArray[Any]

EPS = (1e-3, 1e-5, 1e-6, 1e-12)  # Keras; PyTorch and Flax; Flax's LayerNorm; BERT
_FACTOR = 4.0  # the running variance may be so many times that of the rows at hand, or a part of it
_DEVIATIONS = 1.0  # the running mean may be so far from that of the rows
_LEAST = 2  # channels
_SEEN = 1e-6  # relative: slopes are known to about as much
_AS_GOOD = 0.1  # of the logarithm of the variances


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Norm:
    """The lines of both sides over the channels that are used, and mean and variance of x in each."""

    a: Lines
    b: Lines
    mean: Array
    variance: Array
    left: float

    def of(self, channels: Array) -> _Norm:
        """Give some of the channels."""
        a, b = (
            Lines(each.slope[channels], each.shift[channels], each.predicted) for each in (self.a, self.b)
        )
        return dataclasses.replace(self, a=a, b=b, mean=self.mean[channels], variance=self.variance[channels])

    def plausible(self, mean: Array, variance: Array) -> bool:
        """Say whether these may be the running statistics of x."""
        if not ((variance > 0).all() and np.isfinite(variance).all()):
            return False
        ratio = np.abs(np.log(variance / self.variance))
        apart = np.abs(mean - self.mean) / np.sqrt(self.variance)
        return bool(np.median(ratio) <= np.log(_FACTOR) and np.median(apart) <= _DEVIATIONS)


def batch_norm(evidence: Evidence) -> Diagnosis | None:
    """Fit the lines of both sides, and try: another eps; mean and variance exchanged."""
    found = _norm(evidence)
    return None if found is None else _another_eps(found) or _exchanged(found, "")


def not_finite(evidence: Evidence) -> Diagnosis | None:
    """See whether b is NaN in whole channels, those whose mean is negative: it stands where a variance
    should be.
    """
    if evidence.x is None or evidence.x.a.shape != evidence.a.shape:
        return None
    channels = evidence.a.shape[-1]
    a, b, x = (side.reshape(-1, channels) for side in (evidence.a, evidence.b, evidence.x.a))
    lost = ~np.isfinite(b)
    all_lost = lost.all(axis=0)
    if not all_lost.any() or (lost != all_lost).any() or not (np.isfinite(a).all() and np.isfinite(x).all()):
        return None
    kept = np.flatnonzero(~all_lost)
    if len(kept) < _LEAST or (x[:, all_lost].mean(axis=0) > 0).any():
        return None
    some = dataclasses.replace(
        evidence,
        layer=dataclasses.replace(evidence.layer, a=evidence.a[..., kept], b=evidence.b[..., kept]),
        x=dataclasses.replace(evidence.x, a=evidence.x.a[..., kept], b=evidence.x.b[..., kept]),
    )
    found = _norm(some)
    said = f", and NaN in the {int(all_lost.sum())} channels whose mean is negative"
    return None if found is None else _exchanged(found, said)


def likely_eps(evidence: Evidence) -> Diagnosis | None:
    """Say what is likely where x is not known: lines whose slopes are all on one side of 1."""
    if evidence.x is not None:
        return None
    if not any("norm" in kind.lower() for kind in evidence.kinds):
        return None
    found = lines(evidence.a, evidence.b)
    if found is None or evidence.explained(found.predicted, evidence.b) is None:
        return None
    slope = found.slope[found.slope != 0]
    if len(slope) < _LEAST or (slope <= 0).any() or not ((slope < 1).all() or (slope > 1).all()):
        return None
    return Diagnosis(
        f"another norm eps: channel by channel b is a times {slope.min():.6g} to {slope.max():.6g}. Keras "
        "has eps 1e-3, PyTorch and Flax 1e-5. Record the input on both sides to be sure: layers=[…, "
        f"'{evidence.input_name}']"
    )


def _norm(evidence: Evidence) -> _Norm | None:
    x = evidence.x
    if x is None or x.a.shape != evidence.a.shape:
        return None
    a, b = lines(x.a, evidence.a), lines(x.b, evidence.b)
    if a is None or b is None or relative(a.predicted, evidence.a) > evidence.tolerance:
        return None
    left = evidence.explained(b.predicted, evidence.b)
    flat = x.a.reshape(-1, x.a.shape[-1])
    used = np.flatnonzero((a.slope != 0) & (b.slope != 0) & (flat.var(axis=0) > 0))
    if left is None or len(used) < _LEAST:
        return None
    first, second = (Lines(each.slope[used], each.shift[used], each.predicted) for each in (a, b))
    return _Norm(first, second, flat.mean(axis=0)[used], flat.var(axis=0)[used], left)


def _another_eps(norm: _Norm) -> Diagnosis | None:
    # Where the variance is large nothing is seen of eps.
    norm = norm.of(np.flatnonzero(np.abs(norm.b.slope / norm.a.slope - 1) > _SEEN))
    ratio = norm.b.slope / norm.a.slope
    if len(ratio) < _LEAST or (ratio <= 0).any() or not ((ratio < 1).all() or (ratio > 1).all()):
        return None
    mean = (norm.a.shift - norm.b.shift) / (norm.b.slope - norm.a.slope)  # shift = β − slope·μ, β the same
    found = []
    for eps_a, eps_b in itertools.permutations(EPS, 2):
        if (eps_b > eps_a) is not bool(ratio[0] < 1):
            continue
        # ratio² = (σ² + ε of a) / (σ² + ε of b)
        variance = (ratio**2 * eps_b - eps_a) / (1 - ratio**2)
        if norm.plausible(mean, variance):
            apart = float(np.median(np.abs(np.log(variance / norm.variance))))
            found.append((apart, eps_a, eps_b))
    if not found:
        return None
    least = min(found)[0]
    _, eps_a, eps_b = next(
        each for each in found if each[0] <= least + _AS_GOOD
    )  # the more usual of those as good
    return Diagnosis(
        f"another norm eps: {eps_a:g} in a and {eps_b:g} in b, or near that. Keras has 1e-3 where PyTorch "
        "and Flax have 1e-5: give the number",
        norm.left,
    )


def _exchanged(norm: _Norm, said: str) -> Diagnosis | None:
    """Take b as γ·(x − σ²)/√(μ + ε) + β.

    With r = slope of a / slope of b and u² = σ² + ε: μ + ε = r²·u², and the difference of the shifts gives
    u².
    """
    ratio = norm.a.slope / norm.b.slope
    if (ratio <= 0).any():
        return None
    for eps in EPS:
        with np.errstate(divide="ignore", invalid="ignore"):
            shifts = (norm.a.shift - norm.b.shift) / norm.a.slope
            variance = (shifts + eps * (1 / ratio - 1)) / (1 / ratio - ratio**2) - eps
        mean = ratio**2 * (variance + eps) - eps
        if norm.plausible(mean, variance):
            return Diagnosis(
                f"running mean and variance are exchanged in b{said}. Keras keeps gamma, beta, moving mean, "
                "moving variance in this order",
                norm.left,
            )
    return None
