"""densMAP (Narayan, Berger & Cho 2021, doi 10.1038/s41587-020-00801-7) through umap-learn."""

from __future__ import annotations

import functools
from typing import Any

from actlens.reduce import neighbors
from actlens.reduce.embedding import Embedding
from actlens.reduce.kept import kept
from actlens.reduce.source import LayerLike, rows_of
from actlens.reduce.umap import PACKAGES, checked, embed

_FEATURE = "reduce.densmap"


def densmap(  # noqa: PLR0913  umap-learn's own parameters
    layer: LayerLike,
    *,
    n_components: int = 2,
    n_neighbors: int = 30,
    min_dist: float = 0.1,
    dens_lambda: float = 2.0,
    metric: str = "euclidean",
    random_state: int | None = None,
    n_jobs: int | None = None,
    pca_components: int | str | None = "auto",
    nan: str = "raise",
    progress: bool | None = None,
    cache: bool = True,
) -> Embedding:
    """Place samples as UMAP does, and keep how dense each neighbourhood is: wide clusters are drawn wide.

    >>> z = densmap(run["fc1"], random_state=0)
    >>> ax = plot.scatter(z, color="label")

    Parameters
    ----------
    layer, n_components, min_dist, metric, random_state, n_jobs, pca_components, nan, progress, cache
        As in `umap`.
    n_neighbors
        From 2 to samples − 1. Densities need more of them than a UMAP does.
    dens_lambda
        0 or more: how much the densities count; 0 is UMAP.

    Returns
    -------
    Embedding
        `points` (samples, n_components). Its axes have no units, and distances between clusters mean nothing;
        sizes of clusters do. It has no `transform`: umap-learn has none for densMAP.

    Raises
    ------
    ReduceError, MissingDependency
        As `umap`.
    """
    options = dict(locals())  # every parameter under its name
    del options["layer"], options["cache"]
    compute = functools.partial(_densmap, layer, **options)
    return kept(layer, "densmap", compute, options=options, packages=PACKAGES, cache=cache)


def _densmap(
    layer: LayerLike,
    *,
    dens_lambda: float,
    pca_components: int | str | None,
    nan: str,
    progress: bool | None,
    **options: Any,
) -> Embedding:
    rows = rows_of(layer, _FEATURE, nan=nan)
    given = checked(rows, **options)
    given["dens_lambda"] = neighbors.number_of(_FEATURE, "dens_lambda", dens_lambda, 1e6)
    return embed(rows, "densmap", given, pca_components, progress)
