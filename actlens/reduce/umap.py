"""UMAP (McInnes, Healy & Melville 2018, arXiv 1802.03426) through umap-learn."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import knn, neighbors
from actlens.reduce.aligning.aligned_umap import aligned_umap
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.fitted import Fitted
from actlens.reduce.kept import kept
from actlens.reduce.optional import need
from actlens.reduce.progress import line
from actlens.reduce.source import Framed, Rows, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.umap"
PACKAGES = ("umap-learn", "numba", "pynndescent", "scikit-learn", "scipy")
"""What computes a UMAP, for those who ask whether it is the same again."""

# Warnings that say nothing a user can act on, by their first words; every other one is passed on.
_EXPECTED = (
    ("Tensorflow not installed; ParametricUMAP", ImportWarning),  # we do not use it
    ("gradient function is not yet implemented for", UserWarning),  # of the inverse, which we do not offer
    ("Spectral initialisation failed", UserWarning),  # a random start follows, which the seed fixes
    ("Graph is not fully connected, spectral embedding", UserWarning),  # separate clusters are no fault
    (r"precomputed_knn\[2\] \(knn_search_index\)", UserWarning),  # new rows have an exact search of ours
)
_compiled = False  # in this process


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
    nan: str = "raise",
    by: str | None = None,
    align: bool | str | None = None,
    progress: bool | None = None,
    cache: bool = True,
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
        A name that umap-learn knows: "euclidean", "cosine", "correlation", "manhattan" and others. Up to
        100,000 samples the neighbours in the first two are searched exactly, once for this and reduce.tsne.
    random_state
        A whole number: the same points again on the same versions and processor, on one thread. None: faster,
        and different from run to run.
    n_jobs
        Threads; with a random_state always 1, as umap-learn would else not be reproducible. None: all cores.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics (PCA moves the origin, which changes angles). None: never.
    nan
        "raise": rows with NaN or inf are an error that lists their ids. "drop": they are left out, and
        `parameters["dropped"]` says how many there were.
    by
        A column, mostly "step": the rows of each of its values are a frame, and samples are joined by id. Or
        "layer", with a recording or a dict of layers of the same samples.
    align
        How frames are brought into one picture. True or "aligned-umap": fitted at once, each sample pulled to
        itself in the frames beside (umap.AlignedUMAP). "joint": one fit of all rows. "procrustes": fitted
        apart, turned afterwards. False: fitted apart. `z.alignment` says how far samples move, and how far
        where nothing changed.
    progress
        None: a line of progress in a terminal or a notebook. True or False: always or never.
    cache
        Read the result where it lies with the recording of `layer`, and put it there. False, or with
        random_state=None: neither.

    Returns
    -------
    Embedding
        `points` (samples, n_components); axes have no units. `transform(new)` places new rows among them.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; as many neighbours as samples; rows that are all equal;
        a metric that umap-learn does not know.
    MissingDependency
        umap-learn is not installed. The first fit in a process compiles for about half a minute.
    """
    options = dict(locals())  # every parameter under its name
    del options["layer"], options["cache"]
    if by is not None or align is not None:
        compute = functools.partial(aligned_umap, umap, layer, cache=False, **options)
    else:
        compute = functools.partial(_umap, layer, **options)
    return kept(layer, "umap", compute, options=options, packages=PACKAGES, cache=cache)


def _umap(
    layer: Framed,
    *,
    pca_components: int | str | None,
    nan: str,
    progress: bool | None,
    **options: Any,
) -> Embedding:
    rows = rows_of(layer, _FEATURE, nan=nan)
    del options["by"], options["align"]
    return embed(rows, "umap", checked(rows, **options), pca_components, progress)


def checked(rows: Rows, *, n_neighbors: int, min_dist: float, metric: str, **others: Any) -> dict[str, Any]:
    """Check what umap and densmap are called with. Raises ReduceError."""
    samples, feature = rows.shape[0], rows.feature
    seed = neighbors.seed_of(feature, others["random_state"])
    if samples < 4:
        raise ReduceError.too_few_samples(feature, samples, 4)
    if neighbors.count_of(feature, "n_neighbors", n_neighbors, 2) >= samples:
        raise ReduceError.neighbors(n_neighbors, samples, feature)
    components = neighbors.count_of(feature, "n_components", others["n_components"], 1, samples - 2)
    return {
        "n_components": components,
        "n_neighbors": int(n_neighbors),
        "min_dist": neighbors.number_of(feature, "min_dist", min_dist, 1),
        "metric": metric,
        "random_state": seed,
        "n_jobs": 1 if seed is not None else others["n_jobs"] or len(os.sched_getaffinity(0)),
    }


def embed(
    rows: Rows,
    method: str,
    options: dict[str, Any],
    pca_components: int | str | None,
    progress: bool | None,
) -> Embedding:
    """Fit umap-learn on rows, as UMAP or as densMAP, whose options hold dens_lambda."""
    global _compiled  # noqa: PLW0603  numba compiles once a process
    feature, metric = rows.feature, options["metric"]
    dense = method == "densmap"
    with quiet(), line(feature, progress) as shown:
        library = need("umap", feature=feature, package="umap-learn", extra="umap")
        if isinstance(metric, str) and metric not in library.distances.named_distances:
            raise ReduceError.metric(feature, metric, "umap-learn does not know it for (samples, features).")
        shown.say("principal components")
        ready = neighbors.prepare(rows, metric, pca_components)
        model = library.UMAP(init=_init(rows.shape[0], options["n_components"]), densmap=dense, **options)
        ours = _searched(model, ready.x)
        first = "" if _compiled else " (umap-learn compiles once per process, about half a minute)"
        shown.say(f"{'densMAP' if dense else 'UMAP'} of {rows.shape[0]:,} samples{first}")
        points = np.array(model.fit_transform(ready.x))
        _compiled = True
        if ours:
            model._knn_search_index = _Exact(model)  # None after neighbours that it was given
    return Embedding(
        points=neighbors.finite(feature, points),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method=method,
        parameters=plain(options | {"pca_components": ready.pca_components} | rows.left_out),
        versions=versions_of("numpy", "umap-learn"),
        fitted=None if dense else Fitted(rows.shape[1], ready, lambda x: _placed(model, x)),
        rows=rows,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings that are expected."""
    with warnings.catch_warnings():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message, category)
        yield


def _searched(model: Any, x: Array) -> bool:
    """Give the model its neighbours, where ours are exact; False where it searches by itself."""
    if model.metric not in ("euclidean", "cosine") or len(x) > knn.EXACT_ROWS:
        return False
    found = knn.search(x, model.n_neighbors - 1, metric=model.metric)
    # Its own search counts each row as its first neighbour. Copies: it writes into what it is given.
    own = np.arange(len(x), dtype=np.int32)[:, None]
    indices = np.hstack([own, found.indices])
    distances = np.hstack([np.zeros((len(x), 1), np.float32), found.distances])
    model.precomputed_knn = (indices, distances)
    return True


class _Exact:
    """What UMAP.transform asks for the neighbours of new rows, as pynndescent's index would answer."""

    _angular_trees = False

    def __init__(self, model: Any) -> None:
        self._rows, self._metric = model._raw_data, model.metric

    def query(self, x: Array, k: int, epsilon: float) -> tuple[Array, Array]:  # noqa: ARG002  of its search
        return knn.to(self._rows, x, k, metric=self._metric)


def _placed(model: Any, x: Array) -> Array:
    with quiet():
        return np.asarray(model.transform(x))


def _init(samples: int, n_components: int) -> str:
    """Spectral, but where there are too few samples for that many eigenvectors."""
    return "spectral" if samples > n_components + 2 else "random"
