"""t-SNE over frames: each begins where the next one ended.

Where nothing changes but 2 % of jitter, independent fits move a tenth of the radius, and a warm start a
hundredth, with nearly as many neighbours kept (benchmarks/align.py). One joint fit is still too, but hides
small changes and sets steps apart that differ much; the map of the last step is wrong about the first.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import AlignmentError
from actlens.reduce import neighbors
from actlens.reduce.aligning.aligned import (
    JOINT,
    NONE,
    PROCRUSTES,
    Fit,
    Placed,
    apart,
    begin,
    finish,
    jittered,
    joint,
)
from actlens.reduce.aligning.frames import Frames
from actlens.reduce.aligning.procrustes import motion, similarity
from actlens.reduce.embedding import Embedding
from actlens.reduce.optional import need
from actlens.reduce.progress import shown
from actlens.reduce.source import Framed, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.tsne"
_WARM, _REFERENCE = "warm", "reference"
_CHOICES = (_WARM, JOINT, _REFERENCE, PROCRUSTES)
# No exaggeration: it would tear the start apart. 250 iterations settle what changed; 500 keep a few more
# neighbours in a frame that differs much, and invent twice the motion.
_ON: dict[str, Any] = {"early_exaggeration": 1.0, "max_iter": 250}
_NEAREST = 5  # samples that say where a new one begins
_BLOCK = 1024


def aligned_tsne(
    fit: Fit, layer: Framed, *, by: str | None, align: bool | str | None, **options: Any
) -> Embedding:
    """Place the frames of a layer, or the layers of a recording, with t-SNE: `reduce.tsne(by=…, align=…)`.

    `fit` is reduce.tsne itself; `options` are its own.
    """
    k = neighbors.count_of(_FEATURE, "n_components", options["n_components"], 1, 3)
    frames, method = begin(
        layer, by, align, nan=options["nan"], feature=_FEATURE, choices=_CHOICES, least=k + 1
    )
    if isinstance(options["init"], np.ndarray):
        raise AlignmentError.start_given(_FEATURE)
    if method == _REFERENCE:
        need("openTSNE", feature=f"{_FEATURE}(align='reference')", package="openTSNE", extra="tsne")
    metric, width = options["metric"], options.pop("pca_components")
    fit = functools.partial(fit, pca_components=None, **options)
    if method in (JOINT, _REFERENCE) and frames.whole is not None:  # one space for all frames
        ready = neighbors.prepare(rows_of(frames.whole, _FEATURE), metric, width)
        layers, kept = frames.parted(ready.x), ready.pca_components
    else:
        layers, kept = prepared(frames, metric, width)
    if method == JOINT:
        placed = joint(frames, layers, fit)
    elif method in (PROCRUSTES, NONE):
        placed = apart(frames, layers, fit, method=method)
    else:
        placed = (_warm if method == _WARM else _on_reference)(frames, layers, fit)
    return finish(frames, placed, pca_components=kept)


def prepared(frames: Frames, metric: str, width: int | str | None) -> tuple[list[Array], int | None]:
    """Reduce each frame to its own principal components; give also how many, None for all features."""
    ready = []
    for number, frame in enumerate(frames.frames):
        with frames.naming(number):
            ready.append(neighbors.prepare(rows_of(frame.layer, frames.feature), metric, width))
    return [each.x for each in ready], ready[-1].pca_components


def _warm(frames: Frames, layers: list[Array], fit: Fit) -> Placed:
    last = len(layers) - 1
    points: list[Array] = [np.empty(0)] * len(layers)
    for number in shown(range(last, -1, -1), frames.feature, total=len(layers)):
        with frames.naming(number):
            if number == last:
                how = fit(layers[last])
                points[last] = how.points
                continue
            mine, theirs = frames.shared(number)
            points[number] = _go_on(layers[number], mine, points[number + 1][theirs], fit)
    again = _go_on(jittered(layers[last]), np.arange(len(points[last])), points[last], fit)
    return Placed(points, how, _WARM, motion(points[last], again))


def _go_on(x: Array, known: Array, places: Array, fit: Fit) -> Array:
    """Fit x (samples, features) from where its rows `known` were placed (known, k), and turn it onto them."""
    with _wide_start():
        moved = fit(x, init=_beginning(x, known, places), **_ON).points
    return similarity(moved[known], places)(moved)


@contextlib.contextmanager
def _wide_start() -> Iterator[None]:
    """Keep openTSNE from warning that the start is a layout of full size: it is meant to be."""
    log = logging.getLogger("openTSNE.tsne")

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Standard deviation of embedding")

    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def _beginning(x: Array, known: Array, places: Array) -> Array:
    """Give a start (samples, k): samples that were not there begin among the nearest that were."""
    start = np.empty((len(x), places.shape[1]), np.float32)
    start[known] = places
    new = np.setdiff1d(np.arange(len(x)), known, assume_unique=True)
    there = x[known]
    squares = np.square(there).sum(axis=1)
    nearest = min(_NEAREST, len(known))
    for first in range(0, len(new), _BLOCK):
        some = new[first : first + _BLOCK]
        distances = squares - 2 * x[some] @ there.T  # less what is the same for all of `there`
        close = np.argpartition(distances, nearest - 1, axis=1)[:, :nearest]
        start[some] = places[close].mean(axis=1)
    return start


def _on_reference(frames: Frames, layers: list[Array], fit: Fit) -> Placed:
    """Fit the last frame, and place the others on its map without moving it (openTSNE)."""
    import openTSNE

    last = len(layers) - 1
    with frames.naming(last):
        how = fit(layers[last])
    asked = how.parameters
    affinities = openTSNE.affinity.PerplexityBasedNN(
        layers[last],
        perplexity=asked["perplexity"],
        metric=asked["metric"],
        random_state=asked["random_state"],
        n_jobs=asked["n_jobs"],
    )
    fitted = openTSNE.TSNEEmbedding(
        how.points.astype(np.float64),
        affinities,
        random_state=asked["random_state"],
        n_jobs=asked["n_jobs"],
    )

    def place(x: Array) -> Array:
        return neighbors.finite(_FEATURE, np.asarray(fitted.transform(x)))

    points = [place(x) for x in shown(layers[:last], frames.feature, total=last)]
    again = place(jittered(layers[last]))
    return Placed([*points, how.points], how, _REFERENCE, motion(how.points, again))
