"""Principal components of any number of rows, exactly: one pass for the sums, one for the points."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce import eigen, moments
from actlens.reduce.embedding import Embedding, versions_of
from actlens.reduce.source import LayerLike, Rows, rows_of
from actlens.table import bytes_text

Array = npt.NDArray[Any]

_FEATURE = "reduce.pca"
_LARGEST = 1e150  # variance; beyond it the eigensolver's own squares overflow
_LIMIT_BYTES = 4 << 30  # of the square matrix, in float64: a side of about 23,000


def pca(
    layer: LayerLike,
    *,
    n_components: int | float | None = 2,
    whiten: bool = False,
    random_state: int | None = None,
) -> Embedding:
    """Project activations on their directions of largest variance; exact, and out of core.

    >>> z = pca(np.random.default_rng(0).standard_normal((100, 16)), n_components=3)
    >>> z.points.shape, z.explained_variance_ratio.shape
    ((100, 3), (3,))

    Parameters
    ----------
    layer
        (samples, features): a numpy array or a layer of a recording, read twice, chunk by chunk; nothing
        that grows with the rows is kept but the points. Centred, never scaled.
    n_components
        A number of components; or a share 0 < f < 1: as few as explain that share of the variance; or None:
        min(samples, features).
    whiten
        Scale the points of each component to unit variance.
    random_state
        Accepted so that all reducers are called alike. Nothing here is random.

    Returns
    -------
    Embedding
        `points` (samples, n_components); `components` (n_components, features) and `mean` (features,) in
        float64; `explained_variance` and `explained_variance_ratio` (n_components,). The largest loading
        of each component is positive. `transform(new)` and `inverse(points)` work.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; fewer than 2 samples; more components than
        min(samples, features); min(samples, features) above about 23,000; values whose squares, or whose
        points in float32, are not finite.

    The covariance is summed about a first estimate of the mean, in float64 whatever the input, and
    decomposed (Jolliffe 2002, ch. 3). With fewer samples than features the Gram matrix of the samples,
    which has the same eigenvalues, is smaller.
    """
    rows = rows_of(layer, _FEATURE)
    if len(rows.ids) < 2:
        raise ReduceError.too_few_samples(_FEATURE, len(rows.ids), 2)
    axes = fit_axes(rows, _checked(n_components, min(rows.shape)))
    axes = axes.whitened() if whiten else axes
    parameters = {"n_components": n_components, "whiten": whiten, "random_state": random_state}
    return Embedding(
        points=project(rows, axes),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method="pca",
        parameters=parameters,
        versions=versions_of("numpy"),
        explained_variance=axes.variance,
        explained_variance_ratio=axes.ratio,
        components=axes.components,
        mean=axes.mean,
    )


def transform(fitted: Embedding, layer: LayerLike) -> Embedding:
    """Map new rows into the axes of a PCA: `Embedding.transform`."""
    rows = rows_of(layer, "Embedding.transform")
    axes = _axes_of(fitted, "transform")
    if rows.shape[1] != len(axes.mean):
        raise ReduceError.other_features(len(axes.mean), rows.shape[1])
    points = project(rows, axes)
    return dataclasses.replace(fitted, points=points, ids=rows.ids, columns=rows.columns, layer=rows.name)


def inverse(fitted: Embedding, points: npt.ArrayLike) -> Array:
    """Map points back to activations: `Embedding.inverse`."""
    axes = _axes_of(fitted, "inverse")
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != len(axes.components):
        raise ReduceError.wrong_points("points", given.shape, f"(samples, {len(axes.components)})")
    return np.asarray((given * axes.scale) @ axes.components + axes.mean)


@dataclasses.dataclass(frozen=True, eq=False)
class Axes:
    """Where the components point, all in float64. Points are divided by `scale` (k,), 1 unless whitened."""

    mean: Array  # (features,)
    components: Array  # (k, features)
    variance: Array  # (k,)
    ratio: Array  # (k,)
    scale: Array  # (k,)

    def whitened(self) -> Axes:
        """Give the same axes with points of unit variance."""
        # A component without variance has points that are rounding alone: they stay as they are.
        floor = 1e-12 * self.variance.max(initial=0.0)
        return dataclasses.replace(self, scale=np.sqrt(np.where(self.variance > floor, self.variance, 1.0)))


def _axes_of(fitted: Embedding, verb: str) -> Axes:
    if fitted.components is None or fitted.mean is None or fitted.explained_variance is None:
        raise ReduceError.not_linear(fitted.method, verb)
    ratio = fitted.explained_variance_ratio
    axes = Axes(
        fitted.mean,
        fitted.components,
        fitted.explained_variance,
        np.empty(0) if ratio is None else ratio,
        np.ones(len(fitted.components)),
    )
    return axes.whitened() if fitted.parameters.get("whiten") else axes


def _checked(n_components: object, most: int) -> int | float:
    if n_components is None:
        return most
    if isinstance(n_components, (int, np.integer)) and not isinstance(n_components, bool):
        if 1 <= n_components <= most:
            return int(n_components)
    elif isinstance(n_components, (float, np.floating)) and 0 < n_components < 1:
        return float(n_components)
    allowed = f"1 to {most} (min(samples, features)), a share of variance between 0 and 1, or None"
    raise ReduceError.n_components(_FEATURE, n_components, allowed)


def fit_axes(rows: Rows, wanted: int | float) -> Axes:
    """Find the components: a number of them, or as many as explain a share of the variance."""
    samples, features = rows.shape
    side = min(samples, features)
    if 8 * side**2 > _LIMIT_BYTES:
        raise ReduceError.too_wide(rows.name, side, bytes_text(8 * side**2), bytes_text(_LIMIT_BYTES))
    with np.errstate(over="ignore", invalid="ignore"):  # looked for below, and said in our words
        return _from_gram(rows, wanted) if samples < features else _from_covariance(rows, wanted)


def _from_covariance(rows: Rows, wanted: int | float) -> Axes:
    """Samples ≥ features: memory is one (features, features) matrix and a chunk."""
    sums: moments.Moments | None = None
    for chunk in rows.chunks():
        sums = (sums or moments.empty(moments.first_mean(chunk))).add(chunk)
    assert sums is not None  # noqa: S101  rows_of refuses an empty layer
    mean, covariance = sums.finish()
    values, vectors, ratio = _decompose(rows, covariance, wanted)
    return Axes(mean, eigen.with_fixed_signs(vectors.T), values, ratio, np.ones(len(values)))


def _from_gram(rows: Rows, wanted: int | float) -> Axes:
    """Samples < features: the (samples, samples) matrix of inner products, block by block of rows."""
    gram = np.empty((rows.shape[0], rows.shape[0]))
    mean = np.zeros(rows.shape[1])
    shift: Array | None = None
    start = 0
    for chunk in rows.chunks():
        shift = moments.first_mean(chunk) if shift is None else shift
        centred = chunk - shift
        mean += centred.sum(axis=0)
        stop = start + len(chunk)
        gram[start:stop, start:stop] = centred @ centred.T
        begin = 0
        for earlier in rows.chunks() if start else ():
            if begin >= start:
                break
            end = begin + len(earlier)
            block = centred @ (earlier - shift).T
            gram[start:stop, begin:end], gram[begin:end, start:stop] = block, block.T
            begin = end
        start = stop
    assert shift is not None  # noqa: S101  rows_of refuses an empty layer
    mean = shift + mean / rows.shape[0]
    gram -= gram.mean(axis=0)  # about the mean, once along each axis
    gram -= gram.mean(axis=1, keepdims=True)
    gram /= rows.shape[0] - 1
    values, vectors, ratio = _decompose(rows, gram, wanted)
    return Axes(mean, _gram_components(rows, mean, vectors), values, ratio, np.ones(len(values)))


def _gram_components(rows: Rows, mean: Array, vectors: Array) -> Array:
    """Turn vectors over samples (samples, k) into components over features (k, features)."""
    loadings = np.zeros((rows.shape[1], vectors.shape[1]))
    start = 0
    for chunk in rows.chunks():
        loadings += (chunk - mean).T @ vectors[start : start + len(chunk)]
        start += len(chunk)
    # Their columns are orthogonal already; QR gives unit length, and directions where the variance is 0.
    return eigen.with_fixed_signs(np.linalg.qr(loadings)[0].T)


def _decompose(rows: Rows, matrix: Array, wanted: int | float) -> tuple[Array, Array, Array]:
    """Give variances (k,), vectors (side, k) and shares of the total variance (k,)."""
    total = float(np.trace(matrix))
    if not total < _LARGEST:  # the diagonal bounds all the others
        raise ReduceError.too_large(rows.feature, rows.name)
    count = wanted if isinstance(wanted, int) else len(matrix)
    values, vectors = eigen.largest(matrix, count)
    values = np.maximum(values, 0.0)  # rounding may leave −1e-17
    ratio = values / total if total > 0 else np.zeros_like(values)
    if not isinstance(wanted, int):
        kept = min(int(np.searchsorted(np.cumsum(ratio), wanted, side="right")) + 1, len(values))
        values, vectors, ratio = values[:kept], vectors[:, :kept], ratio[:kept]
    return values, vectors, ratio


def project(rows: Rows, axes: Axes) -> Array:
    """Give float32 points (samples, k), a chunk at a time. Raises ReduceError where they overflow."""
    points = np.empty((rows.shape[0], len(axes.components)), np.float32)
    start = 0
    for chunk in rows.chunks():
        with np.errstate(over="ignore", invalid="ignore"):
            block = ((chunk - axes.mean) @ axes.components.T / axes.scale).astype(np.float32)
        if not np.isfinite(block).all():
            raise ReduceError.too_large(rows.feature, rows.name)
        points[start : start + len(chunk)] = block
        start += len(chunk)
    return points
