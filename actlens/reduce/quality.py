"""How much of a layer a picture of it keeps, in numbers, each beside that of a PCA."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import NeighborError, ReduceError
from actlens.reduce import knn, neighbors
from actlens.reduce.components.axes import project
from actlens.reduce.embedding import Embedding
from actlens.reduce.optional import need
from actlens.reduce.pca import fit_axes
from actlens.reduce.source import LayerLike, Rows, is_layer, rows_of

Array = npt.NDArray[Any]

_FEATURE = "Embedding.quality"
_LANDMARKS = 1_000  # whose distances are compared: half a million pairs
_OURS = {"tsne", "umap", "densmap", "pacmap"}
_LOW = 0.1  # of recall: nine of ten neighbours in the picture are none in the layer


@dataclasses.dataclass(frozen=True)
class Measures:
    """The four numbers of one picture; 1 is best.

    Attributes
    ----------
    recall
        Of the k nearest neighbours in the layer, the share that is among the k nearest in the picture;
        sampled rows against all rows. 0 to 1; k / samples is chance.
    trustworthiness
        Neighbours in the picture are neighbours in the layer (Venna & Kaski 2001). Near 1 for most pictures.
    continuity
        Neighbours in the layer are neighbours in the picture.
    distance_correlation
        Spearman's, of the distances between sampled rows in the layer and in the picture: the large order.
    """

    recall: float
    trustworthiness: float
    continuity: float
    distance_correlation: float


@dataclasses.dataclass(frozen=True, repr=False)
class Quality:
    """What `Embedding.quality` gives: read as one line, or by its fields.

    >>> q = z.quality(run["fc1"], k=5)
    >>> q.measures.recall, q.baseline.recall, q.warning
    (..., ..., '...')

    Attributes
    ----------
    measures, baseline
        The four numbers of the picture, and of the first 2 principal components of the same rows.
    k, queries, landmarks, samples, random_state
        Neighbours; rows that were asked, and whose trustworthiness and continuity among each other is
        measured; rows whose distances were compared; all rows; the seed that chose.
    method
        Of the embedding.
    space, metric
        What the layer's side was measured in: "50 principal components" or "12 features", by which metric.
    """

    measures: Measures
    baseline: Measures
    k: int
    queries: int
    landmarks: int
    samples: int
    random_state: int
    method: str
    space: str
    metric: str

    @property
    def warning(self) -> str:
        """What the picture must not be used for; "" where nothing stands out."""
        here, linear = self.measures.recall, self.baseline.recall
        if here < _LOW:
            return (
                f"Of {self.k} neighbours in this picture {here * self.k:.1f} on average are neighbours in "
                "the layer: do not read single points or small groups from it."
            )
        if self.method != "pca" and here <= linear:
            return (
                f"It keeps no more neighbours than two principal components do ({here:.2f} and "
                f"{linear:.2f}): look at reduce.pca, whose axes mean something."
            )
        return ""

    def __str__(self) -> str:
        parts = [
            f"{self.k}-NN recall {self._pair('recall', 2)}",
            f"trustworthiness {self._pair('trustworthiness', 3)}",
            f"distance correlation {self._pair('distance_correlation', 2)}",
            f"{self.queries:,} of {self.samples:,} samples",
        ]
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"Quality({self})"

    def _pair(self, name: str, digits: int) -> str:
        here, linear = getattr(self.measures, name), getattr(self.baseline, name)
        if self.method == "pca":  # it would stand beside itself
            return f"{here:.{digits}f}"
        known = "PCA " if name == "recall" else ""
        return f"{here:.{digits}f} ({known}{linear:.2f})"


def measure(
    embedding: Embedding, layer: LayerLike | None, *, k: int, samples: int, random_state: int
) -> Quality:
    """Measure an embedding against the layer it is of: `Embedding.quality`."""
    rows = _joined(embedding, layer)
    count = rows.shape[0]
    k = neighbors.count_of(_FEATURE, "k", k, 1)
    if 2 * k >= count:
        raise NeighborError.too_many_neighbors(k, count, (count - 1) // 2)
    most = neighbors.count_of(_FEATURE, "samples", samples, 2 * k + 1)
    seed = neighbors.seed_of(_FEATURE, random_state) or 0
    metric, width = _space(embedding)
    ready = neighbors.prepare(rows, metric, width)
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.choice(count, min(most, count), replace=False))
    marks = asked if len(asked) <= _LANDMARKS else np.sort(rng.choice(asked, _LANDMARKS, replace=False))
    plain = rows_of(ready.x, _FEATURE)
    linear = project(plain, fit_axes(plain, min(2, *ready.x.shape)))
    try:
        side = _Side(ready.x, metric, asked, marks, k)
    except (ValueError, TypeError, KeyError) as error:
        if metric == "euclidean":
            raise
        raise ReduceError.metric(_FEATURE, metric, error) from error
    kept = ready.pca_components
    return Quality(
        measures=side.against(embedding.points),
        baseline=side.against(linear),
        k=k,
        queries=len(asked),
        landmarks=len(marks),
        samples=count,
        random_state=seed,
        method=embedding.method,
        space=f"{rows.shape[1]} features" if kept is None else f"{kept} principal components",
        metric=metric,
    )


def _space(embedding: Embedding) -> tuple[str, str | None]:
    """Give the metric, and the width of the PCA before it: of our own methods as recorded, else the usual."""
    recorded = embedding.parameters
    if embedding.method not in _OURS or "metric" not in recorded:
        return "euclidean", "auto"
    # A narrower PCA was part of the way to the picture, and may have lost what is asked for here.
    return str(recorded["metric"]), None if recorded.get("pca_components") is None else "auto"


class _Side:
    """The layer's side of the measures, computed once for the picture and for the PCA."""

    def __init__(self, x: Array, metric: str, asked: Array, marks: Array, k: int) -> None:
        self._asked, self._marks, self._k = asked, marks, k
        self._near = knn.of_rows(x, asked, k, metric=metric).indices
        self._among = _distances(x[asked], metric)
        self._large = _pairs(_distances(x[marks], metric))

    def against(self, points: Array) -> Measures:
        """Compare with points (samples, n_components)."""
        stats = need("scipy.stats", feature=_FEATURE, package="scipy", extra="look")
        near = knn.of_rows(points, self._asked, self._k).indices
        among = _distances(points[self._asked], "euclidean")
        large = _pairs(_distances(points[self._marks], "euclidean"))
        return Measures(
            recall=float(np.mean([np.isin(a, b).mean() for a, b in zip(near, self._near, strict=True)])),
            trustworthiness=_trust(self._among, among, self._k),
            continuity=_trust(among, self._among, self._k),
            distance_correlation=_spearman(stats, self._large, large),
        )


def _trust(truth: Array, picture: Array, k: int) -> float:
    """Penalise each of the k nearest in the picture by how far beyond the k nearest in truth it is.

    Both are distances (rows, rows) with inf on the diagonal (Venna & Kaski 2001,
    doi 10.1007/3-540-44668-0_68).
    """
    count = len(truth)
    order = np.argsort(truth, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, count + 1)[None, :], axis=1)
    near = np.argsort(picture, axis=1, kind="stable")[:, :k]
    beyond = np.maximum(np.take_along_axis(ranks, near, axis=1) - k, 0).sum()
    return float(1 - beyond * 2 / (count * k * (2 * count - 3 * k - 1)))


def _distances(x: Array, metric: str) -> Array:
    """Give float64 distances (rows, rows), inf on the diagonal: no row is its own neighbour."""
    pairwise = need("sklearn.metrics", feature=_FEATURE, package="scikit-learn", extra="look")
    wide = x.astype(np.float64)
    if metric == "euclidean":  # it multiplies rows: a far origin would take their figures
        wide -= wide.mean(axis=0)
    found = np.array(pairwise.pairwise_distances(wide, metric=metric))
    np.fill_diagonal(found, np.inf)
    return found


def _pairs(distances: Array) -> Array:
    return np.asarray(distances[np.triu_indices(len(distances), 1)])


def _spearman(stats: Any, a: Array, b: Array) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0  # all distances are equal: their order says nothing
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def _joined(embedding: Embedding, layer: LayerLike | None) -> Rows:
    """Give the layer's rows in the order of the points, by id; an array has positions and no ids.

    Raises NeighborError where ids are the same by accident: of another layer, another step, another array.
    """
    if layer is None and embedding.rows is None:
        raise NeighborError.needs_layer()
    rows = embedding.rows if layer is None else rows_of(layer, _FEATURE)
    assert rows is not None  # noqa: S101  said above
    rows = dataclasses.replace(rows, feature=_FEATURE)
    wanted = embedding.ids
    if layer is not None:
        _check_same(embedding, rows, named=is_layer(layer))
    if len(wanted) == len(rows.ids) and np.array_equal(wanted, rows.ids):
        _check_columns(embedding, rows)
        return rows
    place = {key: at for at, key in enumerate(rows.ids.tolist())}
    keys = wanted.tolist()
    missing = [key for key in keys if key not in place]
    if missing:
        raise NeighborError.ids_not_in_layer(len(missing), len(keys), rows.name, missing)
    for whose, ids in (("the layer", rows.ids), ("the embedding", wanted)):
        if len({*ids.tolist()}) < len(ids):
            raise NeighborError.ids_repeat(whose)
    positions = np.array([place[key] for key in keys])
    order = np.argsort(positions)
    some = rows.at(positions[order])
    back = np.argsort(order)
    picked = rows_of(some.load()[back], _FEATURE)
    columns = {name: column[back] for name, column in some.columns.items()}
    joined = dataclasses.replace(picked, name=rows.name, ids=wanted, columns=columns)
    _check_columns(embedding, joined)
    return joined


def _check_same(embedding: Embedding, rows: Rows, *, named: bool) -> None:
    if not named and len(rows.ids) != len(embedding.ids):
        raise NeighborError.other_array(len(rows.ids), len(embedding.ids))
    if embedding.layer and rows.name and embedding.layer != rows.name:
        raise NeighborError.other_layer(embedding.layer, rows.name)
    known = embedding.components if embedding.components is not None else None
    features = known.shape[1] if known is not None else embedding.rows and embedding.rows.shape[1]
    if features and features != rows.shape[1]:
        raise ReduceError.other_features(features, rows.shape[1])


def _check_columns(embedding: Embedding, rows: Rows) -> None:
    """The same ids with another step, or another label, are other rows."""
    for name, values in embedding.columns.items():
        theirs = rows.columns.get(name)
        if theirs is not None and not np.array_equal(values, theirs, equal_nan=values.dtype.kind == "f"):
            raise NeighborError.other_rows(name)
