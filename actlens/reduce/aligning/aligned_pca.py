"""PCA over frames: one set of axes for all, as the axes of two fits mean different things."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.aligning.aligned import JOINT, PROCRUSTES, Fit, Placed, apart, begin, finish, jittered
from actlens.reduce.aligning.frames import Frame, Frames
from actlens.reduce.aligning.picked import Picked
from actlens.reduce.aligning.procrustes import motion
from actlens.reduce.embedding import Embedding
from actlens.reduce.progress import shown
from actlens.reduce.source import Framed, is_layer, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.pca"
_REFERENCE = "reference"
_CHOICES = (JOINT, _REFERENCE, PROCRUSTES)
_AXES = ("components", "mean", "explained_variance", "explained_variance_ratio", "solution")
_MEASURED = 10_000  # rows of a frame that the noise floor is measured on: the frame may not fit in memory


def aligned_pca(
    fit: Fit, layer: Framed, *, by: str | None, align: bool | str | None, **options: Any
) -> Embedding:
    """Project the frames of a layer with PCA: `reduce.pca(by=…, align=…)`.

    "joint" and "reference" are out of core and keep their axes, so that `transform` works.
    """
    k = options["n_components"]
    whole = isinstance(k, (int, np.integer)) and not isinstance(k, bool)
    frames, method = begin(
        layer,
        by,
        align,
        nan=options["nan"],
        feature=_FEATURE,
        choices=_CHOICES,
        least=int(k) + 1 if whole else 3,
    )
    fit = functools.partial(fit, **options)
    if method in (JOINT, _REFERENCE):
        return finish(frames, _in_one_space(frames, fit, method))
    if not whole:  # a share of variance is another number of components in each frame
        raise ReduceError.n_components(_FEATURE, k, f"a whole number with align={align!r}")
    layers = [frame.layer for frame in frames.frames]
    placed = apart(frames, layers, fit, method=method, sample=_head(frames.frames[-1]))
    # Each frame has axes of its own, and they were turned: none is that of the result.
    without: dict[str, Any] = dict.fromkeys(_AXES)
    return finish(frames, dataclasses.replace(placed, how=dataclasses.replace(placed.how, **without)))


def _in_one_space(frames: Frames, fit: Fit, method: str) -> Placed:
    """Find the axes in all rows, or in those of the last frame, and project all on them."""
    if method == JOINT:
        assert frames.whole is not None  # noqa: S101  begin refuses layers, which share no space
        how = fit(frames.whole)
        points = frames.parted(how.points)
    else:
        with frames.naming(len(frames.frames) - 1):
            how = fit(frames.frames[-1].layer)
        earlier = frames.frames[:-1]
        points = [how.transform(frame.layer).points for frame in shown(earlier, _FEATURE, total=len(earlier))]
        points.append(how.points)
    x = _head(frames.frames[-1])
    again = how.transform(jittered(x)).points
    return Placed(points, how, method, motion(how.transform(x).points, again))


def _head(frame: Frame) -> Array:
    """Read the first rows of a frame, (samples, features)."""
    layer = frame.layer
    count = np.arange(min(_MEASURED, len(frame.ids)))
    return rows_of(Picked(layer, count) if is_layer(layer) else np.asarray(layer)[count], _FEATURE).load()
