"""PaCMAP (Wang, Huang, Rudin & Shaposhnik 2021, JMLR 22(201)) through the package pacmap."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.fitted import Fitted
from actlens.reduce.kept import kept
from actlens.reduce.optional import need
from actlens.reduce.progress import line
from actlens.reduce.source import LayerLike, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.pacmap"
_METRICS = {"euclidean": "euclidean", "manhattan": "manhattan", "cosine": "angular"}  # ours → its
_LOCK = threading.Lock()  # the package keeps its seed in a variable of the module


def pacmap(  # noqa: PLR0913  the package's own parameters
    layer: LayerLike,
    *,
    n_components: int = 2,
    n_neighbors: int = 10,
    mn_ratio: float = 0.5,
    fp_ratio: float = 2.0,
    metric: str = "euclidean",
    random_state: int | None = None,
    pca_components: int | str | None = "auto",
    nan: str = "raise",
    progress: bool | None = None,
    cache: bool = True,
) -> Embedding:
    """Place samples by near, mid-near and further pairs: more of the large distances than t-SNE or UMAP keep.

    >>> z = pacmap(run["fc1"], random_state=0)
    >>> ax = plot.scatter(z, color="label")

    Parameters
    ----------
    layer
        (samples, features): a numpy array or a layer of a recording.
    n_components
        1 up to what the rows span.
    n_neighbors
        Near pairs of each sample, from 1 to samples − 1.
    mn_ratio, fp_ratio
        Mid-near and further pairs, for each near one.
    metric
        "euclidean", "manhattan" or "cosine".
    random_state
        A whole number: the same points again on the same versions and processor. None: different ones.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics. None: never.
    nan
        "raise": rows with NaN or inf are an error that lists their ids. "drop": they are left out, and
        `parameters["dropped"]` says how many there were.
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
        Not (samples, features) of finite numbers; fewer than 8 samples; as many neighbours as samples; rows
        that are all equal; a metric or number out of range.
    MissingDependency
        pacmap is not installed.
    """
    options = dict(locals())  # every parameter under its name
    del options["layer"], options["cache"]
    compute = functools.partial(_pacmap, layer, **options)
    packages = ["pacmap", "numba", "scikit-learn", "faiss-cpu"]
    return kept(layer, "pacmap", compute, options=options, packages=packages, cache=cache)


def _pacmap(  # noqa: PLR0913  those of pacmap
    layer: LayerLike,
    *,
    n_components: int,
    n_neighbors: int,
    mn_ratio: float,
    fp_ratio: float,
    metric: str,
    random_state: int | None,
    pca_components: int | str | None,
    nan: str,
    progress: bool | None,
) -> Embedding:
    rows = rows_of(layer, _FEATURE, nan=nan)
    samples = rows.shape[0]
    seed = neighbors.seed_of(_FEATURE, random_state)
    if samples < 8:
        raise ReduceError.too_few_samples(_FEATURE, samples, 8)
    if neighbors.count_of(_FEATURE, "n_neighbors", n_neighbors, 1) >= samples:
        raise ReduceError.neighbors(n_neighbors, samples, _FEATURE)
    if metric not in _METRICS:
        raise ReduceError.parameter(_FEATURE, "metric", metric, f"one of: {', '.join(_METRICS)}")
    options = {
        "n_components": neighbors.count_of(_FEATURE, "n_components", n_components, 1, min(rows.shape)),
        "n_neighbors": int(n_neighbors),
        "mn_ratio": neighbors.number_of(_FEATURE, "mn_ratio", mn_ratio),
        "fp_ratio": neighbors.number_of(_FEATURE, "fp_ratio", fp_ratio),
        "metric": metric,
        "random_state": seed,
    }
    with line(_FEATURE, progress) as shown:
        library = need("pacmap", feature=_FEATURE, package="pacmap", extra="pacmap")
        shown.say("principal components")
        ready = neighbors.prepare(rows, metric, pca_components)
        shown.say(f"PaCMAP of {samples:,} samples")
        model = _Model(library, ready.x, options)
    return Embedding(
        points=neighbors.finite(_FEATURE, model.points),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method="pacmap",
        parameters=plain(options | {"pca_components": ready.pca_components} | rows.left_out),
        versions=versions_of("numpy", "pacmap"),
        fitted=Fitted(rows.shape[1], ready, model.place),
        rows=rows,
    )


class _Model:
    """A fitted PaCMAP."""

    def __init__(self, library: Any, x: Array, options: dict[str, Any]) -> None:
        # It works in float32, which a far origin would cost figures.
        self._middle = 0.0 if options["metric"] == "cosine" else x.mean(axis=0, dtype=np.float64)
        self._seed = options["random_state"]
        with _LOCK, _alone():
            self._model = library.PaCMAP(
                n_components=options["n_components"],
                n_neighbors=options["n_neighbors"],
                MN_ratio=options["mn_ratio"],
                FP_ratio=options["fp_ratio"],
                distance=_METRICS[options["metric"]],
                random_state=self._seed,
                apply_pca=False,  # ours is before it
                save_tree=True,
            )
            self.points: Array = np.asarray(self._model.fit_transform(x - self._middle, save_pairs=False))

    def place(self, x: Array) -> Array:
        """Give points of new rows (samples, n_components)."""
        with _LOCK, _alone():
            return np.asarray(self._model.transform(x - self._middle, save_pairs=False))


@contextmanager
def _alone() -> Iterator[None]:
    """Keep its notes from the screen, and undo what it does to the whole process: faiss on one thread."""
    import faiss  # type: ignore[import-not-found, import-untyped, unused-ignore]

    logger = logging.getLogger("pacmap.pacmap")
    level, threads = logger.level, faiss.omp_get_max_threads()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        faiss.omp_set_num_threads(threads)
