"""t-SNE with the defaults of those who study it (van der Maaten & Hinton 2008; Kobak & Berens 2019)."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors
from actlens.reduce.aligned_tsne import aligned_tsne
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.optional import need
from actlens.reduce.source import Framed, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.tsne"
_SKLEARN, _OPENTSNE = "scikit-learn", "openTSNE"
_LARGE = 10_000  # rows; up to here both take as long; at 30,000 openTSNE takes 40 s, scikit-learn 100
_FEW = 1_000  # rows; the threads of each step wait for each other longer than they work
_EARLY = 250  # iterations with early exaggeration, in both
_EXACT_NEIGHBORS = 100_000  # rows; up to here exact search is as fast as approximate, and has a recall of 1


def tsne(  # noqa: PLR0913  scikit-learn's own parameters
    layer: Framed,
    *,
    n_components: int = 2,
    perplexity: float = 30.0,
    early_exaggeration: float = 12.0,
    learning_rate: float | str = "auto",
    max_iter: int | None = None,
    metric: str = "euclidean",
    init: str | Array = "pca",
    random_state: int | None = None,
    n_jobs: int | None = None,
    pca_components: int | str | None = "auto",
    engine: str | None = None,
    by: str | None = None,
    align: bool | str | None = None,
) -> Embedding:
    """Place samples so that near neighbours stay near. Distances between clusters mean nothing.

    >>> z = tsne(run["fc1"], random_state=0)
    >>> ax = plot.scatter(z, color="label")

    Parameters
    ----------
    layer
        (samples, features): a numpy array or a layer of a recording.
    n_components
        1, 2 or 3.
    perplexity
        About how many neighbours each sample keeps; below (samples − 1) / 3.
    early_exaggeration, learning_rate
        "auto" is samples / early_exaggeration, at least 50 / 4 in scikit-learn's units (Belkina et al. 2019).
    max_iter
        All iterations, the 250 early ones included. None: 1000 in scikit-learn, 750 in openTSNE, which with
        their learning rates arrive at the same place.
    metric
        Of the neighbour search; both engines know scikit-learn's names.
    init
        "pca" (the first components with a spread of 1e-4; Kobak & Linderman 2021), "random", or an array
        (samples, n_components).
    random_state
        A whole number: the same numbers again, on the same versions and processor. None: nearly so, as only
        the "random" start and approximate neighbours (above 100,000 samples) draw lots.
    n_jobs
        Threads, in both engines; the points do not depend on it. None: all cores, and one up to 1,000
        samples, where threads cost more than they bring.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics (PCA moves the origin, which changes angles). None: never.
    engine
        None chooses by one rule: scikit-learn up to 10,000 samples and for 3 components, openTSNE for more
        samples. Never by what happens to be installed. `parameters["engine"]` says which it was.
    by
        A column, mostly "step": the rows of each of its values are a frame, and samples are joined by id. Or
        "layer", with a recording or a dict of layers of the same samples.
    align
        How frames are brought into one picture. True or "warm": the last is fitted, each other begins where
        the next ended and is turned onto it. "joint": one fit of all rows. "reference": the others are placed
        on the map of the last. "procrustes": fitted apart, turned afterwards. False: fitted apart.
        `z.alignment` says how far samples move, and how far where nothing changed.

    Returns
    -------
    Embedding
        `points` (samples, n_components); axes have no units.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; a perplexity too large for the samples; equal rows; a
        metric that the engine does not know or that needs more than rows; an init that is not finite.
    MissingDependency
        The engine is not installed.
    """
    if by is not None or align is not None:
        return aligned_tsne(tsne, **locals())  # every parameter under its name
    rows = rows_of(layer, _FEATURE)
    seed = neighbors.seed_of(_FEATURE, random_state)
    options = {
        "n_components": neighbors.count_of(_FEATURE, "n_components", n_components, 1, 3),
        "perplexity": _perplexity(perplexity, rows.shape[0]),
        "early_exaggeration": neighbors.number_of(_FEATURE, "early_exaggeration", early_exaggeration),
        "learning_rate": learning_rate
        if learning_rate == "auto"
        else neighbors.number_of(_FEATURE, "learning_rate", learning_rate),
        "metric": metric,
        "random_state": seed,
        "n_jobs": _threads(n_jobs, rows.shape[0]),
    }
    chosen = _engine(engine, rows.shape[0], n_components)
    if metric == "precomputed":
        raise ReduceError.metric(_FEATURE, metric, "distances are not (samples, features).")
    iterations = chosen.iterations if max_iter is None else max_iter
    iterations = neighbors.count_of(_FEATURE, "max_iter", iterations, _EARLY)
    library = chosen.library(rows.shape[0], engine)  # missed before the work, not after it
    ready = neighbors.prepare(rows, metric, pca_components)
    beginning = _start(init, ready.x, n_components, seed)
    try:
        points = chosen.run(library, ready.x, beginning, iterations, options)
    except (ValueError, TypeError, KeyError) as error:
        if metric == "euclidean":
            raise
        # All else is checked above: the engine is the one who knows its metrics.
        raise ReduceError.metric(_FEATURE, metric, error) from error
    recorded = {
        "max_iter": iterations,
        "init": init,
        "pca_components": ready.pca_components,
        "engine": chosen.name,
    }
    return Embedding(
        points=neighbors.finite(_FEATURE, points),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method="tsne",
        parameters=plain(options | recorded),
        versions=versions_of("numpy", chosen.name),
    )


@dataclasses.dataclass(frozen=True)
class _Engine:
    """One library: its name for pip, its module, its iterations, and how it is called."""

    name: str
    module: str
    iterations: int
    run: Callable[[Any, Array, Array, int, dict[str, Any]], Array]

    def library(self, samples: int, asked: str | None) -> Any:
        large = self.name == _OPENTSNE and asked is None
        feature = (
            f"{_FEATURE} of {samples:,} samples (engine='scikit-learn' is slower)" if large else _FEATURE
        )
        return need(self.module, feature=feature, package=self.name, extra="tsne")


def _sklearn(manifold: Any, x: Array, beginning: Array, iterations: int, options: dict[str, Any]) -> Array:
    # scikit-learn itself needs threadpoolctl.
    threads = need("threadpoolctl", feature=_FEATURE, package="threadpoolctl", extra="tsne")
    model = manifold.TSNE(init=beginning, max_iter=iterations, method="barnes_hut", **options)
    # Its gradient does not ask n_jobs and takes every core (scikit-learn issue 18990).
    with threads.threadpool_limits(options["n_jobs"], user_api="openmp"):
        return np.asarray(model.fit_transform(x))


def _opentsne(library: Any, x: Array, beginning: Array, iterations: int, options: dict[str, Any]) -> Array:
    exact = len(x) <= _EXACT_NEIGHBORS
    model = library.TSNE(
        initialization=beginning,
        early_exaggeration_iter=_EARLY,
        n_iter=iterations - _EARLY,
        neighbors="exact" if exact else "approx",
        # Interpolation is for one and two dimensions; below 10,000 rows the tree is the faster.
        negative_gradient_method="fft" if len(x) > _LARGE and beginning.shape[1] < 3 else "bh",
        **options,
    )
    return np.asarray(model.fit(x))


_ENGINES = {
    _SKLEARN: _Engine(_SKLEARN, "sklearn.manifold", 1000, _sklearn),
    _OPENTSNE: _Engine(_OPENTSNE, "openTSNE", 750, _opentsne),
}


def _engine(asked: str | None, samples: int, n_components: int) -> _Engine:
    if asked is None:
        return _ENGINES[_OPENTSNE if samples > _LARGE and n_components < 3 else _SKLEARN]
    if asked not in _ENGINES:
        raise ReduceError.parameter(_FEATURE, "engine", asked, f"None or one of: {', '.join(_ENGINES)}")
    return _ENGINES[asked]


def _start(init: str | Array, x: Array, n_components: int, seed: int | None) -> Array:
    shape = (len(x), n_components)
    if isinstance(init, np.ndarray):
        if init.shape != shape:
            raise ReduceError.wrong_points("init", init.shape, str(shape))
        if init.dtype.kind not in "biuf":
            raise ReduceError.bad_start(_FEATURE, f"has dtype {init.dtype}")
        with np.errstate(over="ignore"):
            points = init.astype(np.float32)
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        if bad:  # the tree of scikit-learn would read beyond its memory
            raise ReduceError.bad_start(_FEATURE, f"has NaN, inf or more than 3.4e38 in {bad} of its rows")
        return points
    if init == "pca":
        return neighbors.start(x, n_components, seed, _FEATURE)
    if init == "random":
        return np.random.default_rng(seed).normal(0.0, 1e-4, shape).astype(np.float32)
    shown: object = init if type(init) is str else type(init)  # a list of 10,000 rows is no message
    allowed = "'pca', 'random' or an array of numpy (samples, n_components)"
    raise ReduceError.parameter(_FEATURE, "init", shown, allowed)


def _threads(n_jobs: int | None, samples: int) -> int:
    if n_jobs is not None:
        return neighbors.count_of(_FEATURE, "n_jobs", n_jobs, 1)
    return 1 if samples <= _FEW else len(os.sched_getaffinity(0))


def _perplexity(given: float, samples: int) -> float:
    if samples < 4:
        raise ReduceError.too_few_samples(_FEATURE, samples, 4)
    value = neighbors.number_of(_FEATURE, "perplexity", given)
    largest = (samples - 1) / 3  # it looks at 3 × perplexity neighbours
    if value > largest:
        raise ReduceError.perplexity(value, samples, math.floor(largest))
    return value
