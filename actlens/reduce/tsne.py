"""t-SNE with the defaults of those who study it (van der Maaten & Hinton 2008; Kobak & Berens 2019)."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors, opentsne
from actlens.reduce.aligning.aligned_tsne import aligned_tsne
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.fitted import Fitted
from actlens.reduce.kept import kept
from actlens.reduce.opentsne import Model
from actlens.reduce.optional import need
from actlens.reduce.progress import Line, line
from actlens.reduce.source import Framed, rows_of

Array = npt.NDArray[Any]

_FEATURE = "reduce.tsne"
_SKLEARN, _OPENTSNE = "scikit-learn", "openTSNE"
_FEW = 1_000  # rows; scikit-learn's threads wait for each other longer than they work


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
    nan: str = "raise",
    by: str | None = None,
    align: bool | str | None = None,
    progress: bool | None = None,
    cache: bool = True,
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
        "auto" is samples / exaggeration (Belkina et al. 2019): in openTSNE of each phase, in scikit-learn of
        the early one, at least 50 in its units, throughout.
    max_iter
        All iterations, the 250 early ones included. None: 1000 in scikit-learn, 750 in openTSNE, which with
        their learning rates arrive at the same place.
    metric
        Of the neighbour search, by scikit-learn's names. The search is exact up to 100,000 samples, and
        shared with reduce.umap and Embedding.quality.
    init
        "pca" (the first components with a spread of 1e-4; Kobak & Linderman 2021), "random", or an array
        (samples, n_components).
    random_state
        A whole number: the same numbers again, on the same versions and processor. None: nearly so, as only
        the "random" start and approximate neighbours (above 100,000 samples) draw lots.
    n_jobs
        Threads, in both engines; the points do not depend on it. None: all cores; in scikit-learn one up to
        1,000 samples, where its threads cost more than they bring.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics (PCA moves the origin, which changes angles). None: never.
    engine
        None chooses by one rule: openTSNE for 1 and 2 components, scikit-learn for 3. Never by what happens
        to be installed. `parameters["engine"]` says which it was. openTSNE uses a tree below 5,000 samples
        and interpolation (Linderman et al. 2019) from there on.
    nan
        "raise": rows with NaN or inf are an error that lists their ids. "drop": they are left out, and
        `parameters["dropped"]` says how many there were.
    by
        A column, mostly "step": the rows of each of its values are a frame, and samples are joined by id. Or
        "layer", with a recording or a dict of layers of the same samples.
    align
        How frames are brought into one picture. True or "warm": the last is fitted, each other begins where
        the next ended and is turned onto it. "joint": one fit of all rows. "reference": the others are placed
        on the map of the last. "procrustes": fitted apart, turned afterwards. False: fitted apart.
        `z.alignment` says how far samples move, and how far where nothing changed.
    progress
        None: a line of progress in a terminal or a notebook. True or False: always or never.
    cache
        Read the result where it lies with the recording of `layer`, and put it there. False, or with
        random_state=None: neither.

    Returns
    -------
    Embedding
        `points` (samples, n_components); axes have no units. With openTSNE, `transform(new)` places new rows
        among them, each by itself, by its nearest fitted rows.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; a perplexity too large for the samples; equal rows; a
        metric that the engine does not know or that needs more than rows; an init that is not finite.
    MissingDependency
        The engine is not installed.
    """
    options = dict(locals())  # every parameter under its name
    del options["layer"], options["cache"]
    if by is not None or align is not None:
        compute = functools.partial(aligned_tsne, tsne, layer, cache=False, **options)
    else:
        compute = functools.partial(_tsne, layer, **options)
    chosen = _engine(engine, neighbors.count_of(_FEATURE, "n_components", n_components, 1, 3))
    packages = [chosen.name, "scikit-learn", "scipy"]
    return kept(layer, "tsne", compute, options=options, packages=packages, cache=cache)


def _tsne(  # noqa: PLR0913  those of tsne
    layer: Framed,
    *,
    n_components: int,
    perplexity: float,
    early_exaggeration: float,
    learning_rate: float | str,
    max_iter: int | None,
    metric: str,
    init: str | Array,
    random_state: int | None,
    n_jobs: int | None,
    pca_components: int | str | None,
    engine: str | None,
    nan: str,
    progress: bool | None,
    **_: object,
) -> Embedding:
    rows = rows_of(layer, _FEATURE, nan=nan)
    seed = neighbors.seed_of(_FEATURE, random_state)
    chosen = _engine(engine, n_components)
    options = {
        "n_components": n_components,
        "perplexity": _perplexity(perplexity, rows.shape[0]),
        "early_exaggeration": neighbors.number_of(_FEATURE, "early_exaggeration", early_exaggeration),
        "learning_rate": learning_rate
        if learning_rate == "auto"
        else neighbors.number_of(_FEATURE, "learning_rate", learning_rate),
        "metric": metric,
        "random_state": seed,
        "n_jobs": _threads(n_jobs, rows.shape[0], chosen),
    }
    if metric == "precomputed":
        raise ReduceError.metric(_FEATURE, metric, "distances are not (samples, features).")
    iterations = chosen.iterations if max_iter is None else max_iter
    iterations = neighbors.count_of(_FEATURE, "max_iter", iterations, opentsne.EARLY)
    library = chosen.library(engine)  # missed before the work, not after it
    with line(_FEATURE, progress) as shown:
        shown.say("principal components")
        ready = neighbors.prepare(rows, metric, pca_components)
        beginning = _start(init, ready.x, n_components, seed)
        try:
            points, model = chosen.run(
                library, ready.x, beginning, iterations=iterations, options=options, line=shown
            )
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
        parameters=plain(options | recorded | rows.left_out),
        versions=versions_of("numpy", chosen.name),
        fitted=None if model is None else Fitted(rows.shape[1], ready, model.place),
        rows=rows,
    )


@dataclasses.dataclass(frozen=True)
class _Engine:
    """One library: its name for pip, its module, its iterations, and how it is called."""

    name: str
    module: str
    iterations: int
    run: Callable[..., tuple[Array, Model | None]]

    def library(self, asked: str | None) -> Any:
        by_default = self.name == _OPENTSNE and asked is None
        feature = f"{_FEATURE} (engine='scikit-learn' is slower)" if by_default else _FEATURE
        return need(self.module, feature=feature, package=self.name, extra="tsne")


def _sklearn(
    manifold: Any, x: Array, beginning: Array, *, iterations: int, options: dict[str, Any], line: Line
) -> tuple[Array, None]:
    import threadpoolctl

    model = manifold.TSNE(init=beginning, max_iter=iterations, method="barnes_hut", **options)
    line.say(f"t-SNE of {len(x):,} samples by scikit-learn, which does not say how far it is")
    # Its gradient does not ask n_jobs and takes every core (scikit-learn issue 18990).
    with threadpoolctl.threadpool_limits(options["n_jobs"], user_api="openmp"):
        return np.asarray(model.fit_transform(x)), None


def _opentsne(
    library: Any, x: Array, beginning: Array, *, iterations: int, options: dict[str, Any], line: Line
) -> tuple[Array, Model]:
    model = opentsne.fit(library, x, beginning, iterations=iterations, options=options, line=line)
    return model.points, model


_ENGINES = {
    _SKLEARN: _Engine(_SKLEARN, "sklearn.manifold", 1000, _sklearn),
    _OPENTSNE: _Engine(_OPENTSNE, "openTSNE", 750, _opentsne),
}


def _engine(asked: str | None, n_components: int) -> _Engine:
    if asked is None:
        return _ENGINES[_OPENTSNE if n_components < 3 else _SKLEARN]
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


def _threads(n_jobs: int | None, samples: int, engine: _Engine) -> int:
    if n_jobs is not None:
        return neighbors.count_of(_FEATURE, "n_jobs", n_jobs, 1)
    return 1 if samples <= _FEW and engine.name == _SKLEARN else len(os.sched_getaffinity(0))


def _perplexity(given: float, samples: int) -> float:
    if samples < 4:
        raise ReduceError.too_few_samples(_FEATURE, samples, 4)
    value = neighbors.number_of(_FEATURE, "perplexity", given)
    largest = (samples - 1) / 3  # it looks at 3 × perplexity neighbours
    if value > largest:
        raise ReduceError.perplexity(value, samples, math.floor(largest))
    return value
