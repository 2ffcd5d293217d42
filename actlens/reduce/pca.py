"""Principal components of any number of rows: one pass for the sums, one for the points."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.aligning.aligned_pca import aligned_pca
from actlens.reduce.components.axes import Axes, project
from actlens.reduce.components.covariance import from_covariance
from actlens.reduce.components.gram import from_gram
from actlens.reduce.components.krylov import from_krylov
from actlens.reduce.embedding import Embedding, versions_of
from actlens.reduce.kept import kept
from actlens.reduce.optional import has
from actlens.reduce.source import Framed, LayerLike, Rows, rows_of
from actlens.table import bytes_text

Array = npt.NDArray[Any]

_FEATURE = "reduce.pca"
_SOLVERS = ("auto", "covariance_eigh", "gram", "randomized")
_WIDEST = 1 << 14  # side of a square matrix: two of it, in float64, are 4 GiB
_LIMIT_BYTES = 4 << 30  # of the square matrix, in float64: a side of about 23,000


def pca(  # noqa: PLR0913  scikit-learn's own parameters, and ours
    layer: Framed,
    *,
    n_components: int | float | None = 2,
    whiten: bool = False,
    svd_solver: str = "auto",
    random_state: int | None = None,
    nan: str = "raise",
    by: str | None = None,
    align: bool | str | None = None,
    executor: Executor | None = None,
    cache: bool = True,
) -> Embedding:
    """Project activations on their directions of largest variance, out of core.

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
        as many as have variance.
    whiten
        Scale the points of each component to unit variance.
    svd_solver
        "auto" chooses by shape, and `solution` says which it was and why: "covariance_eigh", one pass that
        sums up the covariance, for up to 16,384 features; "gram", the matrix of the samples, where they are
        fewer; else "randomized", a block Krylov method in several passes, whose error is known.
    random_state
        Of "randomized" alone: where it starts. Nothing else here is random.
    nan
        "raise": rows with NaN or inf are an error that lists their ids. "drop": they are left out, and
        `parameters["dropped"]` says how many there were.
    by
        A column, mostly "step": the rows of each of its values are a frame, and samples are joined by id. Or
        "layer", with a recording or a dict of layers of the same samples (then align="procrustes").
    align
        True or "joint": the axes of all rows. "reference": those of the last frame. "procrustes": each
        frame's own, turned onto the next one's. False: each frame's own, which cannot be compared.
    executor
        Where the passes are made: an executor of concurrent.futures, of Dask (`client.get_executor()`) or
        MPI. Its workers open the recording themselves. None: here, with all cores.
    cache
        Read the result where it lies with the recording of `layer`, and put it there. False: neither.

    Returns
    -------
    Embedding
        `points` (samples, n_components); `components` (n_components, features) and `mean` (features,) in
        float64; `explained_variance` and `explained_variance_ratio` (n_components,). The largest loading
        of each component is positive. `solution` says how they were found, and the estimated error.
        `transform(new)` and `inverse(points)` work.

    Raises
    ------
    ReduceError
        Not (samples, features) of finite numbers; fewer than 2 samples; more components than the rows span,
        or rows that are all equal; a share of the variance where both sides are above 16,384; values whose
        squares, or whose points in float32, are not finite.
    WorkerError
        A worker cannot read the recording.

    The covariance is summed about a first estimate of the mean and decomposed (Jolliffe 2002, ch. 3). The
    products of values that are float32 are of float32, all sums of them of float64; the error that this makes
    is measured, and where it could be seen, the products are computed again in float64. The result does not
    depend on the number of workers.
    """
    options = dict(locals())  # every parameter under its name
    del options["layer"], options["cache"]
    if by is not None or align is not None:
        compute = functools.partial(aligned_pca, pca, layer, cache=False, **options)
    else:
        compute = functools.partial(_pca, layer, **options)
    packages = ["scipy"] if has("scipy") else []
    return kept(layer, "pca", compute, options=options, packages=packages, cache=cache)


def _pca(
    layer: Framed,
    *,
    n_components: int | float | None,
    whiten: bool,
    svd_solver: str,
    random_state: int | None,
    nan: str,
    executor: Executor | None,
    **_: object,
) -> Embedding:
    from actlens.reduce.neighbors import seed_of  # which imports this room

    seed_of(_FEATURE, random_state)
    if not isinstance(whiten, (bool, np.bool_)):
        raise ReduceError.parameter(_FEATURE, "whiten", whiten, "True or False")
    rows = rows_of(layer, _FEATURE, nan=nan)
    if len(rows.ids) < 2:
        raise ReduceError.too_few_samples(_FEATURE, len(rows.ids), 2)
    wanted = _checked(n_components, min(rows.shape))
    axes = fit_axes(rows, wanted, executor, svd_solver=svd_solver, random_state=random_state)
    axes = _within_rank(rows, axes, n_components)
    axes = axes.whitened() if whiten else axes
    parameters = {
        "n_components": n_components,
        "whiten": whiten,
        "svd_solver": svd_solver,
        "random_state": random_state,
    }
    return Embedding(
        points=project(rows, axes, executor),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method="pca",
        parameters=parameters | rows.left_out,
        versions=versions_of("numpy"),
        explained_variance=axes.variance,
        explained_variance_ratio=axes.ratio,
        components=axes.components,
        mean=axes.mean,
        solution=axes.solution,
        rows=rows,
    )


def transform(fitted: Embedding, layer: LayerLike) -> Embedding:
    """Map new rows into the axes of a PCA: `Embedding.transform`."""
    rows = rows_of(layer, "Embedding.transform")
    axes = _axes_of(fitted, "transform")
    if rows.shape[1] != len(axes.mean):
        raise ReduceError.other_features(len(axes.mean), rows.shape[1])
    points = project(rows, axes)
    return dataclasses.replace(
        fitted, points=points, ids=rows.ids, columns=rows.columns, layer=rows.name, alignment=None
    )


def inverse(fitted: Embedding, points: npt.ArrayLike) -> Array:
    """Map points back to activations: `Embedding.inverse`."""
    axes = _axes_of(fitted, "inverse")
    try:
        given = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ReduceError.not_an_array("Embedding.inverse", points, error) from error
    if given.ndim != 2 or given.shape[1] != len(axes.components):
        raise ReduceError.wrong_points("points", given.shape, f"(samples, {len(axes.components)})")
    return np.asarray((given * axes.scale) @ axes.components + axes.mean)


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
        fitted.solution,
    )
    return axes.whitened() if fitted.parameters.get("whiten") else axes


def _within_rank(rows: Rows, axes: Axes, asked: object) -> Axes:
    """Refuse components that would point anywhere: there is no variance left for them."""
    rank = axes.rank
    if not rank:
        raise ReduceError.no_variance(_FEATURE, rows.name, rows.shape[0])
    if rank < len(axes.variance) and isinstance(asked, (int, np.integer)):  # else: as many as there are
        raise ReduceError.over_rank(_FEATURE, rows.name, asked, rank, rows.shape)
    return axes.first(rank)


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


def fit_axes(
    rows: Rows,
    wanted: int | float,
    executor: Executor | None = None,
    *,
    svd_solver: str = "auto",
    random_state: int | None = None,
) -> Axes:
    """Find the components: a number of them, or as many as explain a share of the variance."""
    samples, features = rows.shape
    solver = _solver(rows, svd_solver)
    if solver == "gram":
        return from_gram(rows, wanted, executor)
    if solver == "covariance_eigh":
        return from_covariance(rows, wanted, executor)
    if not isinstance(wanted, int):
        raise ReduceError.share_of_wide(rows.feature, wanted, samples, features)
    return from_krylov(rows, wanted, executor, random_state=random_state)


def _solver(rows: Rows, asked: str) -> str:
    """Choose by shape: the smaller square matrix, while it is one that memory holds twice."""
    samples, features = rows.shape
    if asked not in _SOLVERS:
        raise ReduceError.parameter(rows.feature, "svd_solver", asked, " or ".join(map(repr, _SOLVERS)))
    if asked == "auto":
        asked = "gram" if samples < features else "covariance_eigh"
        return asked if min(samples, features) <= _WIDEST else "randomized"
    side = {"gram": samples, "covariance_eigh": features}.get(asked, 0)
    if 8 * side**2 > _LIMIT_BYTES:
        raise ReduceError.too_wide(rows.name, side, bytes_text(8 * side**2), bytes_text(_LIMIT_BYTES))
    return asked
