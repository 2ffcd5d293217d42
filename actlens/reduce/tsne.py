"""t-SNE with the defaults of those who study it (van der Maaten & Hinton 2008; Kobak & Berens 2019)."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import neighbors
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.optional import need
from actlens.reduce.source import LayerLike

Array = npt.NDArray[Any]

_FEATURE = "reduce.tsne"
_SKLEARN, _OPENTSNE = "scikit-learn", "openTSNE"
_LARGE = 10_000  # rows; up to here both take the same time, at 30,000 openTSNE takes 40 s and scikit-learn 100
_EARLY = 250  # iterations with early exaggeration, in both
_EXACT_NEIGHBORS = 100_000  # rows; up to here exact search is as fast as approximate, and has a recall of 1


def tsne(  # noqa: PLR0913  scikit-learn's own parameters
    layer: LayerLike,
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
) -> Embedding:
    """Place samples so that near neighbours stay near. Distances between clusters mean nothing.

    >>> z = tsne(run["fc1"], random_state=0)
    >>> plot.scatter(z, color="label")

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
    init
        "pca" (the first components with a spread of 1e-4; Kobak & Linderman 2021), "random", or an array
        (samples, n_components).
    random_state
        A whole number: the same numbers again, on the same versions and processor. None: nearly so, as only
        the "random" start and approximate neighbours (above 100,000 samples) draw lots.
    n_jobs
        Threads: None is all cores. The gradient of scikit-learn uses all cores whatever this says.
    pca_components
        Width of the PCA before it: "auto" is 50 for the euclidean metric where there are more features,
        none for other metrics (PCA moves the origin, which changes angles). None: never.
    engine
        None chooses by one rule: scikit-learn up to 10,000 samples and for 3 components, openTSNE for more
        samples. Never by what happens to be installed. `parameters["engine"]` says which it was.

    Returns
    -------
    Embedding
        `points` (samples, n_components); axes have no units.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; a perplexity too large for the samples; equal rows.
    MissingDependency
        The engine is not installed.
    """
    samples = _samples(layer)
    kind = _engine(engine, samples, n_components)
    seed = neighbors.seed_of(_FEATURE, random_state)
    options = {
        "n_components": neighbors.count_of(_FEATURE, "n_components", n_components, 1, 3),
        "perplexity": _perplexity(perplexity, samples),
        "early_exaggeration": _positive("early_exaggeration", early_exaggeration),
        "learning_rate": learning_rate if learning_rate == "auto" else _positive("learning_rate", learning_rate),
        "metric": metric,
        "random_state": seed,
        "n_jobs": n_jobs if n_jobs is not None else _cores(),
    }
    iterations = max_iter if max_iter is not None else {_SKLEARN: 1000, _OPENTSNE: 750}[kind]
    iterations = neighbors.count_of(_FEATURE, "max_iter", iterations, _EARLY)
    ready = neighbors.prepare(layer, _FEATURE, metric, pca_components)
    beginning = _start(init, ready.x, n_components, seed)
    run = _sklearn if kind == _SKLEARN else _opentsne
    points = run(ready.x, beginning, iterations, options)
    recorded = {"max_iter": iterations, "init": init, "pca_components": ready.pca_components, "engine": kind}
    return Embedding(
        points=neighbors.finite(_FEATURE, points),
        ids=ready.rows.ids,
        columns=ready.rows.columns,
        layer=ready.rows.name,
        method="tsne",
        parameters=plain(options | recorded),
        versions=versions_of("numpy", kind),
    )
