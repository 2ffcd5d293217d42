"""Frames in one picture: what all methods share. Each has its own way of aligning in a room of its own.

Independent fits invent motion, and Procrustes does not mend that: a non-linear fit is not another one turned
(Rauber, Falcão & Telea 2016, "Visualizing time-dependent data using dynamic t-SNE").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import AlignmentError
from actlens.reduce.aligning.alignment import Alignment
from actlens.reduce.aligning.frames import Frames, frames_of
from actlens.reduce.aligning.procrustes import motion, similarity
from actlens.reduce.embedding import Embedding
from actlens.reduce.progress import shown
from actlens.reduce.source import Framed

Array = npt.NDArray[Any]
Fit = Callable[..., Embedding]

NONE, JOINT, PROCRUSTES = "none", "joint", "procrustes"
_JITTER = 0.02
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Where a method put each frame; `how` is one of its embeddings, for the provenance."""

    points: list[Array]  # of each frame, (samples, k)
    how: Embedding
    method: str
    noise_floor: float


def begin(
    layer: Framed,
    by: str | None,
    align: object,
    *,
    nan: str,
    feature: str,
    choices: Sequence[str],
    least: int,
) -> tuple[Frames, str]:
    """Check `by=`, `align=` and `nan=`, and part the rows. `choices[0]` is what True means.

    Raises AlignmentError, before anything is fitted.
    """
    if by is None:
        raise AlignmentError.no_by(feature)
    if align is None:
        raise AlignmentError.no_choice(feature, by, choices)
    if isinstance(align, (bool, np.bool_)):
        method = choices[0] if align else NONE
    elif isinstance(align, str) and align in choices:
        method = align
    else:
        raise AlignmentError.unknown(feature, align, choices)
    if nan == "drop":
        raise AlignmentError.nan(feature)
    frames = frames_of(layer, by, feature)
    if frames.whole is None and method in (JOINT, "reference"):
        raise AlignmentError.no_common_features(
            feature, method, [c for c in choices if c not in (JOINT, "reference")]
        )
    frames.check_overlap(least)
    return frames, method


def finish(frames: Frames, placed: Placed, **recorded: Any) -> Embedding:
    """Make the one Embedding of all rows, in the order of the layer's; `recorded` are more parameters."""
    moved = []
    for number in range(len(frames.frames) - 1):
        mine, theirs = frames.shared(number)
        moved.append(motion(placed.points[number][mine], placed.points[number + 1][theirs]))
    values = tuple(frame.value for frame in frames.frames)
    return dataclasses.replace(
        placed.how,
        points=frames.joined(placed.points),
        ids=frames.ids,
        columns=frames.columns,
        layer=frames.name,
        parameters=placed.how.parameters | recorded | {"by": frames.by, "align": placed.method},
        fitted=None,
        rows=None,
        alignment=Alignment(frames.by, values, placed.method, tuple(moved), placed.noise_floor),
    )


def apart(
    frames: Frames, layers: Sequence[Any], fit: Fit, *, method: str, sample: Array | None = None
) -> Placed:
    """Fit each frame by itself; with "procrustes" turn each onto the next, from the last to the first.

    The noise floor is measured on `sample` (samples, features), or on all of the last frame.
    """
    turned = method == PROCRUSTES
    last = len(layers) - 1
    points: list[Array] = [np.empty(0)] * len(layers)
    for number in shown(range(last, -1, -1), frames.feature, total=len(layers)):
        with frames.naming(number):
            how = fit(layers[number])
        points[number] = how.points
        if turned and number < last:
            mine, theirs = frames.shared(number)
            points[number] = similarity(how.points[mine], points[number + 1][theirs])(how.points)
    x, before = (layers[last], points[last]) if sample is None else (sample, fit(sample).points)
    again = fit(jittered(x)).points
    again = similarity(again, before)(again) if turned else again
    return Placed(points, how, method, motion(before, again))


def joint(frames: Frames, layers: Sequence[Array], fit: Fit) -> Placed:
    """Fit all rows at once; layers (samples, features) share their features."""
    how = fit(np.concatenate(layers))
    again = fit(np.concatenate([layers[-1], jittered(layers[-1])])).points
    half = len(again) // 2
    return Placed(frames.parted(how.points), how, JOINT, motion(again[:half], again[half:]))


def jittered(x: Array) -> Array:
    """Give x (samples, features) with noise of 2 % of each feature's spread: nothing that means anything."""
    noise = np.random.default_rng(_SEED).standard_normal(x.shape)
    return np.asarray(x + _JITTER * x.std(axis=0) * noise, x.dtype)
