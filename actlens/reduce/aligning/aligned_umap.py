"""UMAP over frames: AlignedUMAP, which fits all of them at once and pulls each sample to itself."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors
from actlens.reduce.aligning.aligned import (
    JOINT,
    PROCRUSTES,
    Fit,
    Placed,
    apart,
    begin,
    finish,
    jittered,
    joint,
)
from actlens.reduce.aligning.aligned_tsne import prepared
from actlens.reduce.aligning.frames import Frames
from actlens.reduce.aligning.procrustes import motion
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.optional import need
from actlens.reduce.source import Framed, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.umap"
_ALIGNED = "aligned-umap"
_CHOICES = (_ALIGNED, JOINT, PROCRUSTES)
_EXPECTED = (
    ("Tensorflow not installed; ParametricUMAP", ImportWarning),  # we do not use it
    ("n_jobs value", UserWarning),  # with a seed it takes one thread; its own default is more
    ("Graph is not fully connected, spectral embedding", UserWarning),  # separate clusters are no fault
)


def aligned_umap(
    fit: Fit, layer: Framed, *, by: str | None, align: bool | str | None, **options: Any
) -> Embedding:
    """Place the frames of a layer, or the layers of a recording: `reduce.umap(by=…, align=…)`.

    `fit` is reduce.umap itself; `options` are its own.
    """
    k = neighbors.count_of(_FEATURE, "n_components", options["n_components"], 1)
    frames, method = begin(
        layer, by, align, nan=options["nan"], feature=_FEATURE, choices=_CHOICES, least=k + 1
    )
    metric, width = options["metric"], options.pop("pca_components")
    fit = functools.partial(fit, pca_components=None, **options)
    if method == JOINT and frames.whole is not None:
        ready = neighbors.prepare(rows_of(frames.whole, _FEATURE), metric, width)
        return finish(frames, joint(frames, frames.parted(ready.x), fit), pca_components=ready.pca_components)
    checked = _checked(frames, options) if method == _ALIGNED else {}
    layers, kept = prepared(frames, metric, width)
    if method == _ALIGNED:
        placed = _aligned(frames, layers, checked)
    else:
        placed = apart(frames, layers, fit, method=method)
    return finish(frames, placed, pca_components=kept)


def _checked(frames: Frames, options: dict[str, Any]) -> dict[str, Any]:
    """Check what AlignedUMAP would fail on, frame by frame, before it starts."""
    k, nearest = (
        options["n_components"],
        neighbors.count_of(_FEATURE, "n_neighbors", options["n_neighbors"], 2),
    )
    for number, frame in enumerate(frames.frames):
        with frames.naming(number):
            if len(frame.ids) < k + 3:  # its start is spectral
                raise ReduceError.too_few_samples(_FEATURE, len(frame.ids), k + 3)
            if nearest >= len(frame.ids):
                raise ReduceError.neighbors(nearest, len(frame.ids))
    return {
        "n_components": k,
        "n_neighbors": nearest,
        "min_dist": neighbors.number_of(_FEATURE, "min_dist", options["min_dist"], 1),
        "metric": options["metric"],
        "random_state": neighbors.seed_of(_FEATURE, options["random_state"]),
    }


def _aligned(frames: Frames, layers: list[Array], options: dict[str, Any]) -> Placed:
    pairs = [frames.shared(number) for number in range(len(layers) - 1)]
    with warnings.catch_warnings():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message, category)
        library = need("umap", feature=_FEATURE, package="umap-learn", extra="umap")
        metric = options["metric"]
        if isinstance(metric, str) and metric not in library.distances.named_distances:
            raise ReduceError.metric(_FEATURE, metric, "umap-learn does not know it for (samples, features).")
        points = _fitted(library, layers, pairs, options)
        every = np.arange(len(layers[-1]))
        before, after = _fitted(library, [layers[-1], jittered(layers[-1])], [(every, every)], options)
    how = Embedding(
        points=points[-1],
        ids=frames.frames[-1].ids,
        columns={},
        layer="",
        method="umap",
        parameters=plain(options),
        versions=versions_of("numpy", "umap-learn"),
    )
    return Placed(points, how, _ALIGNED, motion(before, after))


def _fitted(
    library: Any, layers: list[Array], pairs: list[tuple[Array, Array]], options: dict[str, Any]
) -> list[Array]:
    """Run AlignedUMAP on x (samples, features) of each frame; `pairs` are the shared rows of neighbours."""
    # Its tables are as long as the last row that is shared, and it reads beyond them where a frame has more
    # (umap-learn 0.5.12): so in each frame the shared rows stand last.
    orders = [_shared_last(len(x), number, pairs) for number, x in enumerate(layers)]
    places = [np.argsort(order) for order in orders]  # where each row stands then
    relations = [
        dict(zip(places[number][mine].tolist(), places[number + 1][theirs].tolist(), strict=True))
        for number, (mine, theirs) in enumerate(pairs)
    ]
    model = library.AlignedUMAP(**options)
    model.fit([x[order] for x, order in zip(layers, orders, strict=True)], relations=relations)
    return [
        neighbors.finite(_FEATURE, np.asarray(points)[place])
        for points, place in zip(model.embeddings_, places, strict=True)
    ]


def _shared_last(count: int, number: int, pairs: list[tuple[Array, Array]]) -> Array:
    shared = np.zeros(count, bool)
    if number > 0:
        shared[pairs[number - 1][1]] = True
    if number < len(pairs):
        shared[pairs[number][0]] = True
    return np.argsort(shared, kind="stable")
