"""Any reducer that is not here: whatever has scikit-learn's fit_transform."""

from __future__ import annotations

from typing import Any

import numpy as np

from actlens.errors import ReduceError
from actlens.reduce.embedding import Embedding, plain, versions_of
from actlens.reduce.fitted import Fitted
from actlens.reduce.source import LayerLike, rows_of


def fit(estimator: Any, layer: LayerLike, *, nan: str = "raise") -> Embedding:
    """Fit an estimator on a layer, which is read into memory whole, and keep ids and columns.

    >>> from sklearn.manifold import Isomap
    >>> z = fit(Isomap(n_components=2), run["fc1"])
    >>> z.method
    'Isomap'

    `estimator` has `fit_transform(x)` for x (samples, features) and returns (samples, n_components), as
    scikit-learn, PaCMAP, PHATE and cuML have it. Raises ReduceError for anything else, for a result of
    another shape, and for a layer that is not (samples, features) of finite numbers; with nan="drop" rows
    with NaN or inf are left out. Where it has `transform`, the embedding has it too.
    """
    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_transform", None)):
        raise ReduceError.not_an_estimator(estimator)
    rows = rows_of(layer, "reduce.fit", nan=nan)
    x = rows.load()
    try:
        points = np.asarray(estimator.fit_transform(x))
    except Exception as error:  # its library's own words, after ours
        raise ReduceError.estimator_failed(type(estimator).__name__, *rows.shape, error) from error
    if points.ndim != 2 or len(points) != rows.shape[0]:
        expected = f"({rows.shape[0]}, n_components)"
        raise ReduceError.wrong_points(f"the result of {type(estimator).__name__}", points.shape, expected)
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return Embedding(
        points=np.ascontiguousarray(points, np.float32),
        ids=rows.ids,
        columns=rows.columns,
        layer=rows.name,
        method=type(estimator).__name__,
        parameters=plain(parameters) | rows.left_out,
        versions=versions_of("numpy"),
        fitted=Fitted(rows.shape[1], None, estimator.transform) if _transforms(estimator) else None,
        rows=rows,
    )


def _transforms(estimator: Any) -> bool:
    return callable(getattr(estimator, "transform", None))
