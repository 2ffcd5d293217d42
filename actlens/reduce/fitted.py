"""What an embedding keeps in memory of the model that made it, and new rows through that model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import NeighborError, ReduceError
from actlens.reduce import neighbors
from actlens.reduce.source import LayerLike, Rows, rows_of

if TYPE_CHECKING:
    from actlens.reduce.embedding import Embedding

Array = npt.NDArray[Any]

_FEATURE = "Embedding.transform"
# Our own methods that never have one, and what to do instead.
_WITHOUT = {
    "densmap": "umap-learn has none for densMAP. reduce.umap of the same layer has one.",
    "tsne": "scikit-learn has none for t-SNE. reduce.tsne(…, engine='openTSNE'), the default, has one.",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A model and the axes that rows go through before it: it is fitted on `features` of them."""

    features: int
    prepared: neighbors.Prepared | None  # None: the model takes the rows as they are
    place: Callable[[Array], Any]  # x (samples, width) → points (samples, n_components)

    def transform(self, rows: Rows) -> Array:
        """Map new rows: points (samples, n_components), float32."""
        if rows.shape[1] != self.features:
            raise ReduceError.other_features(self.features, rows.shape[1])
        x = rows.load() if self.prepared is None else self.prepared.again(rows)
        points = np.asarray(self.place(x))
        if points.ndim != 2 or len(points) != rows.shape[0]:
            raise ReduceError.wrong_points(
                "the result of transform", points.shape, f"({rows.shape[0]}, n_components)"
            )
        return neighbors.finite(rows.feature, points)


@dataclasses.dataclass(frozen=True, eq=False)
class Again:
    """The model of an embedding that was read and not computed: fitted once new rows come."""

    compute: Callable[[], Embedding]

    def transform(self, rows: Rows) -> Array:
        """Fit again, which gives the same points, and map new rows."""
        embedding = self.compute()
        if embedding.fitted is None:
            raise _why_not(embedding)
        points: Array = embedding.fitted.transform(rows)
        return points


def transform(embedding: Embedding, layer: LayerLike) -> Embedding:
    """Map new rows into the picture of an embedding: `Embedding.transform`."""
    if embedding.method == "pca":
        from actlens.reduce.pca import transform as linear

        # Its rows are the new ones: an id of theirs may be another sample's in the old.
        return dataclasses.replace(linear(embedding, layer), rows=rows_of(layer, _FEATURE))
    if embedding.fitted is None:
        raise _why_not(embedding)
    rows = rows_of(layer, _FEATURE)
    points = embedding.fitted.transform(rows)
    return dataclasses.replace(
        embedding, points=points, ids=rows.ids, columns=rows.columns, layer=rows.name, rows=rows
    )


def _why_not(embedding: Embedding) -> ReduceError:
    by_scikit_learn = embedding.parameters.get("engine") == "scikit-learn"
    if embedding.method in _WITHOUT and (embedding.method != "tsne" or by_scikit_learn):
        return NeighborError.no_transform(embedding.method, _WITHOUT[embedding.method])
    if embedding.rows is None:  # every embedding made in this process has them
        return NeighborError.not_in_memory(embedding.method)
    why = "its estimator has no method of this name. Fit all the rows that you want to see together."
    return NeighborError.no_transform(embedding.method, why)
