"""UMAP (McInnes, Healy & Melville 2018, arXiv 1802.03426) through umap-learn."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors
from actlens.reduce.aligned_umap import aligned_umap
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.optional import need
from actlens.reduce.source import Framed, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.umap"

# Warnings that say nothing a user can act on, by their first words; every other one is passed on.
_EXPECTED = (
    ("Tensorflow not installed; ParametricUMAP", ImportWarning),  # we do not use it
    ("gradient function is not yet implemented for", UserWarning),  # of the inverse, which we do not offer
    ("Spectral initialisation failed", UserWarning),  # a random start follows, which the seed fixes
    ("Graph is not fully connected, spectral embedding", UserWarning),  # separate clusters are no fault
)


def umap(  # noqa: PLR0913  umap-learn's own parameters
    layer: Framed,
    *,
    n_components: int = 2,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    metric: str = "euclidean",
    random_state: int | None = None,
    n_jobs: int | None = None,
    pca_components: int | str | None = "auto",
    by: str | None = None,
    align: bool | str | None = None,
) -> Embedding:
    """Place samples by the graph of their neighbours. Distances between clusters mean nothing.

    >>> z = umap(run["fc1"], n_components=2, random_state=0)
    >>> ax = plot.scatter(z, color="label")

    Parameters
    ----------
    layer
        (samples, features): a numpy array or a layer of a recording.
    n_components
        1 up to samples − 2.
    n_neighbors
        From 2 to samples − 1: small keeps detail, large keeps the whole.
    min_dist
        0 to 1: how tightly points may be packed in the picture. It changes the looks, not the graph.
    metric
        A name that umap-learn knows: "euclidean", "cosine", "correlation", "manhattan" and others.
    random_state
        A whole number: the same points again on the same versions and processor, on one thread. None: faster,
        and different from run to run.
    n_jobs
        Threads; with a random_state always 1, as umap-learn would else not be reproducible. None: all cores.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics (PCA moves the origin, which changes angles). None: never.
    by
        A column, mostly "step": the rows of each of its values are a frame, and samples are joined by id. Or
        "layer", with a recording or a dict of layers of the same samples.
    align
        How frames are brought into one picture. True or "aligned-umap": fitted at once, each sample pulled to
        itself in the frames beside (umap.AlignedUMAP). "joint": one fit of all rows. "procrustes": fitted
        apart, turned afterwards. False: fitted apart. `z.alignment` says how far samples move, and how far
        where nothing changed.

    Returns
    -------
    Embedding
        `points` (samples, n_components); axes have no units.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; as many neighbours as samples; rows that are all equal;
        a metric that umap-learn does not know.
    MissingDependency
        umap-learn is not installed. The first fit in a process compiles for about half a minute.
    """
    if by is not None or align is not None:
        return aligned_umap(umap, **locals())  # every parameter under its name
    rows = rows_of(layer, _FEATURE)
    samples = rows.shape[0]
    seed = neighbors.seed_of(_FEATURE, random_state)
    if samples < 4:
        raise ReduceError.too_few_samples(_FEATURE, samples, 4)
    if neighbors.count_of(_FEATURE, "n_neighbors", n_neighbors, 2) >= samples:
        raise ReduceError.neighbors(n_neighbors, samples)
    options = {
        "n_components": neighbors.count_of(_FEATURE, "n_components", n_components, 1, samples - 2),
        "n_neighbors": int(n_neighbors),
        "min_dist": neighbors.number_of(_FEATURE, "min_dist", min_dist, 1),
        "metric": metric,
        "random_state": seed,
        "n_jobs": 1 if seed is not None else n_jobs or len(os.sched_getaffinity(0)),
    }
    with warnings.catch_warnings():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message, category)
        library = need("umap", feature=_FEATURE, package="umap-learn", extra="umap")
        if isinstance(metric, str) and metric not in library.distances.named_distances:
            raise ReduceError.metric(_FEATURE, metric, "umap-learn does not know it for (samples, features).")
        ready = neighbors.prepare(rows, metric, pca_components)
        points = library.UMAP(init=_init(samples, n_components), **options).fit_transform(ready.x)
    return Embedding(
        points=neighbors.finite(_FEATURE, np.asarray(points)),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method="umap",
        parameters=plain(options | {"pca_components": ready.pca_components}),
        versions=versions_of("numpy", "umap-learn"),
    )


def _init(samples: int, n_components: int) -> str:
    """Spectral, but where there are too few samples for that many eigenvectors."""
    return "spectral" if samples > n_components + 2 else "random"
