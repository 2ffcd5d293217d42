"""What t-SNE and UMAP share: fewer features first, and a start that keeps the large distances."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.components.axes import Axes, project
from actlens.reduce.pca import fit_axes
from actlens.reduce.source import Rows, rows_of

Array = npt.NDArray[Any]

WIDTH = 50  # principal components that neighbours are looked for in


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """x (samples, features or fewer) in memory, ready for a neighbour search."""

    x: Array
    pca_components: int | None  # None: x holds the features themselves
    axes: Axes | None = None  # of the components, for new rows

    def again(self, rows: Rows) -> Array:
        """Give new rows (samples, features) in the same axes."""
        return rows.load() if self.axes is None else project(rows, self.axes)


def prepare(rows: Rows, metric: str, pca_components: int | str | None) -> Prepared:
    """Reduce wide rows to principal components, where that keeps what the metric measures.

    "auto" means 50 for the euclidean metric, which PCA keeps, and none for the others: PCA moves the
    origin, and with it every angle. Raises ReduceError for rows that are all equal.
    """
    samples, features = rows.shape
    wanted = _width(rows.feature, metric, pca_components)
    if wanted is None or wanted >= features:
        ready, floor = Prepared(rows.load(), None), 0.0
    else:
        kept = min(wanted, samples)
        axes = fit_axes(rows, kept)
        ready = Prepared(project(rows, axes), kept, axes)
        # Equal rows are not exactly at 0 here: what the mean lacks in figures is left.
        floor = 8 * float(np.finfo(np.float64).eps) * float(np.abs(axes.mean).max())
    if np.ptp(ready.x, axis=0).max() <= floor:
        raise ReduceError.no_variance(rows.feature, rows.name, samples)
    return ready


def start(x: Array, n_components: int, seed: int | None, feature: str) -> Array:
    """Give the first principal components of x, (samples, n_components) float32, with a spread of 1e-4.

    A random start makes the place of clusters arbitrary (Kobak & Linderman 2021,
    doi 10.1038/s41587-020-00809-z).
    A jitter of 1 % parts equal rows, which would feel the same forces for ever.
    """
    points = np.zeros((len(x), n_components))
    known = min(n_components, *x.shape)
    rows = rows_of(x, feature)
    points[:, :known] = project(rows, fit_axes(rows, known))
    spread = float(points[:, 0].std())
    points *= 1e-4 / spread
    points += np.random.default_rng(seed or 0).normal(0.0, 1e-6, points.shape)
    return points.astype(np.float32)


def count_of(feature: str, name: str, given: object, least: int, most: int | None = None) -> int:
    """Check a whole number. Raises ReduceError."""
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if whole and least <= given and (most is None or given <= most):  # type: ignore[operator]
        return int(given)  # type: ignore[call-overload,no-any-return]
    allowed = f"a whole number from {least} to {most}" if most is not None else f"a whole number ≥ {least}"
    raise ReduceError.parameter(feature, name, given, allowed)


def number_of(feature: str, name: str, given: object, most: float = math.inf) -> float:
    """Check a number from 0 to `most`, or, without `most`, any positive one. Raises ReduceError."""
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        value = float(given)
        if math.isfinite(value) and 0 <= value <= most and (value > 0 or math.isfinite(most)):
            return value
    allowed = f"a number from 0 to {most:g}" if math.isfinite(most) else "a positive number"
    raise ReduceError.parameter(feature, name, given, allowed)


def seed_of(feature: str, random_state: object) -> int | None:
    """Check a seed: it is written into the embedding, so it must be a number. Raises ReduceError."""
    if random_state is None:
        return None
    whole = isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool)
    if whole and 0 <= random_state < 2**32:  # type: ignore[operator]
        return int(random_state)  # type: ignore[call-overload,no-any-return]
    allowed = "None or a whole number from 0 to 2**32 − 1"
    raise ReduceError.parameter(feature, "random_state", random_state, allowed)


def finite(feature: str, points: Array) -> Array:
    """Give the points as float32 (samples, n_components). Raises ReduceError where the library gave NaN."""
    bad = int((~np.isfinite(points).all(axis=1)).sum())
    if bad:
        raise ReduceError.bad_points(feature, bad)
    return np.ascontiguousarray(points, np.float32)


def _width(feature: str, metric: str, pca_components: int | str | None) -> int | None:
    if pca_components == "auto":
        return WIDTH if metric == "euclidean" else None
    if pca_components is None:
        return None
    return count_of(feature, "pca_components", pca_components, 1)
