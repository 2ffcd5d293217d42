"""t-SNE through openTSNE (Poličar, Stražar & Zupan 2024), on neighbours that were searched before."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce import knn
from actlens.reduce.optional import need
from actlens.reduce.progress import Line

Array = npt.NDArray[Any]

EARLY = 250  # iterations with early exaggeration
_TREE = 5_000  # rows; from here on interpolation takes no longer than the tree, on two cores
_EVERY = 50  # iterations between two looks: each evaluates the loss


class Model:
    """A fitted t-SNE that places new rows among its points."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding
        self._lock = threading.Lock()
        # openTSNE's transform moves its points to this centre, the caller's stay where they are.
        self.points: Array = np.array(embedding)
        self._centre = (self.points.max(axis=0) + self.points.min(axis=0)) / 2

    def place(self, x: Array) -> Array:
        """Give points of new rows (samples, n_components): each by its own neighbours among the fitted."""
        # openTSNE's own 5, or less where there are too few fitted rows for it.
        perplexity = min(5.0, max(1.0, len(self.points) / 3))
        with self._lock:
            placed = self._embedding.transform(x, perplexity=perplexity)
        return np.asarray(np.asarray(placed) + self._centre)


def fit(
    library: Any, x: Array, beginning: Array, *, iterations: int, options: dict[str, Any], line: Line
) -> Model:
    """Fit x (samples, features) from a beginning (samples, n_components)."""
    kept = dict(options)
    perplexity, metric = kept.pop("perplexity"), kept.pop("metric")
    line.say("nearest neighbours")
    found = knn.search(
        x, min(len(x) - 1, max(1, int(3 * perplexity))), metric=metric, seed=kept["random_state"]
    )
    line.say(f"t-SNE of {len(x):,} samples")
    affinities = _affinities(x, found, perplexity, kept["n_jobs"])
    done = [0]

    def look(_iteration: int, _error: float, _points: Array) -> None:
        done[0] += _EVERY
        line.count(min(done[0], iterations), iterations)

    tree = len(x) < _TREE or beginning.shape[1] > 2  # interpolation is for one and two dimensions
    embedding = library.TSNE(
        early_exaggeration_iter=EARLY,
        n_iter=iterations - EARLY,
        negative_gradient_method="bh" if tree else "fft",
        callbacks=look,
        callbacks_every_iters=_EVERY,
        **kept,
    ).fit(affinities=affinities, initialization=beginning)
    affinities.P = None  # of no use to new rows, and the largest thing here
    embedding.gradient_descent_params["callbacks"] = None
    return Model(embedding)


def _affinities(x: Array, found: knn.Neighbors, perplexity: float, n_jobs: int) -> Any:
    """Give openTSNE's affinities: P from the neighbours, and for new rows from an exact search."""
    affinity = need("openTSNE.affinity", feature="reduce.tsne", package="openTSNE", extra="tsne")
    indexes = need("openTSNE.nearest_neighbors", feature="reduce.tsne", package="openTSNE", extra="tsne")

    metric = found.metric  # not all of found, which would live as long as the model

    class Affinities(affinity.Affinities):  # type: ignore[misc, name-defined, unused-ignore]
        """Its own PrecomputedNeighbors cannot be asked for the neighbours of new rows."""

        def to_new(
            self, data: Array, perplexity: float = 5.0, return_distances: bool = False
        ) -> tuple[Any, ...] | Any:
            count = min(len(x), max(1, int(3 * perplexity)))
            indices, distances = knn.to(x, data, count, metric=metric)
            matrix = affinity.joint_probabilities_nn(
                indices.astype(np.int64),
                distances.astype(np.float64),
                [min(perplexity, count)],
                symmetrize=False,
                normalization="point-wise",
                n_reference_samples=len(x),
                n_jobs=n_jobs,
            )
            return (matrix, indices, distances) if return_distances else matrix

    index = indexes.PrecomputedNeighbors(found.indices.astype(np.int64), found.distances.astype(np.float64))
    ours = Affinities()
    ours.P = affinity.PerplexityBasedNN(perplexity=perplexity, n_jobs=n_jobs, knn_index=index).P
    return ours
