"""Nearest neighbours, searched once and shared by t-SNE, UMAP and the quality of an embedding."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.reduce.optional import need

Array = npt.NDArray[Any]

EXACT_ROWS = 100_000  # up to here exact search takes no longer than approximate, and has a recall of 1
SHARED = 91  # what a t-SNE of perplexity 30 needs, and more than UMAP's 15 or the 10 of a quality
_ENTRIES, _BYTES = 4, 256 << 20  # of the cache: four layers, or two of 100,000 rows
_PAIRS = 1 << 20  # values of differences at a time
_NEAR = 1e-5  # of the largest norm: nearer pairs lose figures in |a|² + |b|² − 2ab, so they are subtracted


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest rows of each row, nearest first; read-only.

    >>> found = search(np.array([[0.0], [1.0], [3.0]]), 1)
    >>> found.indices.tolist(), found.distances.tolist(), found.exact
    ([[1], [0], [1]], [[1.0], [1.0], [2.0]], True)

    Attributes
    ----------
    indices
        (samples, k), int32. A row is never its own neighbour; an equal row is.
    distances
        (samples, k), float32.
    exact
        False where an approximate search was used, which may miss some.
    metric
        What was measured.
    """

    indices: Array
    distances: Array
    exact: bool
    metric: str

    def first(self, k: int) -> Neighbors:
        """Give the k nearest of them, as views."""
        return dataclasses.replace(self, indices=self.indices[:, :k], distances=self.distances[:, :k])


def search(x: Array, k: int, *, metric: Any = "euclidean", seed: int | None = None) -> Neighbors:
    """Find the k nearest other rows of each row of x (samples, features); k below the number of samples.

    Exact up to 100,000 rows. Above, Annoy or pynndescent through openTSNE, from `seed`. The last few results
    are kept in the process, so that a second request for the same numbers costs a slice.
    Raises what scikit-learn raises for a metric that it does not know.
    """
    samples = len(x)
    exact = samples <= EXACT_ROWS
    if not isinstance(metric, str):
        return _found(x, k, metric, exact, seed)
    key = _key(x, metric, None if exact else seed)
    with _LOCK:  # a search takes every core: a second one beside it would only wait in other places
        known = _cache.get(key)
        if known is None or known.indices.shape[1] < k:
            known = _found(x, min(max(k, SHARED), samples - 1), metric, exact, seed)
            _remember(key, known)
        else:
            _cache.move_to_end(key)
    return known.first(k)


def of_rows(x: Array, rows: Array, k: int, *, metric: Any = "euclidean") -> Neighbors:
    """Find the k nearest rows of x to some of its rows, by their numbers; always exact.

    It takes them from a search that was made, or searches for these rows only.
    """
    if isinstance(metric, str):
        with _LOCK:
            known = _cache.get(_key(x, metric, None))
        if known is not None and known.exact and known.indices.shape[1] >= k:
            known = known.first(k)
            return dataclasses.replace(known, indices=known.indices[rows], distances=known.distances[rows])
    return _without_self(*_exact(x, x[rows], k + 1, metric), rows, metric=metric, exact=True)


def to(x: Array, queries: Array, k: int, *, metric: str = "euclidean") -> tuple[Array, Array]:
    """Find the k nearest rows of x to new rows: indices int32 and distances float32, (queries, k); exact."""
    indices, distances = _exact(x, queries, min(k, len(x)), metric)
    return indices.astype(np.int32), distances.astype(np.float32)


def forget() -> None:
    """Empty the cache: the memory of at most four searches."""
    with _LOCK:
        _cache.clear()


_LOCK = threading.Lock()
_cache: OrderedDict[tuple[Any, ...], Neighbors] = OrderedDict()


def _key(x: Array, metric: str, seed: int | None) -> tuple[Any, ...]:
    return xxhash.xxh3_128_digest(np.ascontiguousarray(x).data), x.shape, x.dtype.str, metric, seed


def _remember(key: tuple[Any, ...], found: Neighbors) -> None:
    _cache[key] = found
    _cache.move_to_end(key)
    while len(_cache) > _ENTRIES or sum(_size(each) for each in _cache.values()) > _BYTES:
        _cache.popitem(last=False)


def _size(found: Neighbors) -> int:
    return found.indices.nbytes + found.distances.nbytes


def _found(x: Array, k: int, metric: str, exact: bool, seed: int | None) -> Neighbors:
    pairs = _exact(x, x, k + 1, metric) if exact else _approximate(x, k + 1, metric, seed)
    found = _without_self(*pairs, np.arange(len(x)), metric=metric, exact=exact)
    for array in (found.indices, found.distances):
        array.setflags(write=False)  # they are shared
    return found


def _without_self(indices: Array, distances: Array, rows: Array, *, metric: str, exact: bool) -> Neighbors:
    """Leave out each row itself; where its equals stand before it and push it out, the last of them."""
    own = indices == rows[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), indices.shape[1] - 1)
    return Neighbors(
        indices[~own].reshape(shape).astype(np.int32),
        distances[~own].reshape(shape).astype(np.float32),
        exact,
        metric,
    )


def _exact(x: Array, queries: Array, k: int, metric: str) -> tuple[Array, Array]:
    neighbors = need("sklearn.neighbors", feature="a neighbour search", package="scikit-learn", extra="look")
    if metric not in ("euclidean", "cosine"):
        model = neighbors.NearestNeighbors(algorithm="brute", metric=metric).fit(x)
        distances, indices = model.kneighbors(queries, k)
        return indices, distances
    base, asked = (_comparable(each, metric) for each in (x, queries))
    middle = base.mean(axis=0)  # a far origin would cost figures; in float64, as a float32 sum loses some
    base -= middle
    asked -= middle
    model = neighbors.NearestNeighbors(algorithm="brute").fit(base)
    distances, indices = model.kneighbors(asked, k)
    _mend(base, asked, indices, distances)
    return indices, distances**2 / 2 if metric == "cosine" else distances


def _comparable(x: Array, metric: str) -> Array:
    """Give float64 rows whose euclidean distances are those asked for, or, for cosine, have their order."""
    values = x.astype(np.float64)
    if metric == "euclidean":
        return values
    # Scaled first, so that no square is 0 or inf. A row of zeros has no angle: an axis of its own puts it at
    # a distance of 1 from all others, and of 0 from its equals.
    values /= np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    nothing = norms == 0
    return np.hstack([values / np.where(nothing, 1.0, norms), nothing])


def _mend(x: Array, queries: Array, indices: Array, distances: Array) -> None:
    """Measure near pairs again, as differences, and put each row in order: nearest first, then as in x."""
    largest = np.sqrt(max(np.square(each).sum(axis=1).max(initial=0.0) for each in (x, queries)))
    rows, places = np.nonzero(distances <= _NEAR * largest)
    step = max(1, _PAIRS // x.shape[1])
    for start in range(0, len(rows), step):
        a, b = rows[start : start + step], places[start : start + step]
        distances[a, b] = np.linalg.norm(queries[a] - x[indices[a, b]], axis=1)
    loose = np.flatnonzero((np.diff(distances, axis=1) <= 0).any(axis=1))
    order = np.lexsort((indices[loose], distances[loose]), axis=1)
    for array in (indices, distances):
        array[loose] = np.take_along_axis(array[loose], order, axis=1)


def _approximate(x: Array, k: int, metric: str, seed: int | None) -> tuple[Array, Array]:
    affinity = need("openTSNE.affinity", feature="a neighbour search", package="openTSNE", extra="tsne")
    index = affinity.get_knn_index(x, "approx", k, metric=metric, n_jobs=-1, random_state=seed)
    indices, distances = index.build()
    return np.asarray(indices), np.asarray(distances)
