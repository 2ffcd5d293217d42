"""Errors of embeddings by neighbours: new rows through a fitted model, and how good a picture is."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors._analysis import ReduceError
from actlens.errors._base import listed


class NeighborError(ReduceError):
    """An embedding that cannot take new rows, or whose quality cannot be measured."""

    @classmethod
    def not_in_memory(cls, method: str) -> NeighborError:
        """`transform` after `load`: a file holds points, no model."""
        return cls(
            f"an embedding by {method} that was loaded from a file does not hold the fitted model: fit again, and use "
            "transform() in the same process. (One by reduce.pca can be saved and loaded for this.)"
        )

    @classmethod
    def no_transform(cls, method: str, why: str) -> NeighborError:
        """A method, or an engine of it, that cannot place new rows."""
        return cls(f"an embedding by {method} has no transform(): {why}")

    @classmethod
    def needs_layer(cls) -> NeighborError:
        """`quality` after `load`: a file does not hold the activations."""
        return cls(
            "Embedding.quality needs the activations, which this embedding does not hold; one that was loaded from a file "
            "never does. Pass the layer: z.quality(run['fc1'])."
        )

    @classmethod
    def ids_not_in_layer(cls, missing: int, samples: int, name: str, ids: Iterable[object]) -> NeighborError:
        """Points whose rows the layer does not have."""
        of = f"layer {name!r}" if name else "the array"
        return cls(
            f"Embedding.quality: {of} lacks {missing:,} of the embedding's {samples:,} ids ({listed(ids)}). "
            "Pass the layer of the recording that the embedding was made of."
        )

    @classmethod
    def other_array(cls, given: int, samples: int) -> NeighborError:
        """An array has no ids: its rows are told apart by their positions."""
        return cls(
            f"Embedding.quality: the array has {given:,} rows and the embedding {samples:,}; the rows of an array have no ids "
            "to be joined by. Pass the array that was reduced."
        )

    @classmethod
    def other_layer(cls, of: str, given: str) -> NeighborError:
        """The same samples, in another layer."""
        return cls(
            f"Embedding.quality: the embedding is of layer {of!r}, and the layer is {given!r}. Pass run[{of!r}], viewed in "
            "the same way."
        )

    @classmethod
    def other_rows(cls, column: str) -> NeighborError:
        """The same ids, and another step."""
        return cls(
            f"Embedding.quality: rows of the same ids differ in column {column!r}, so they are other rows. Pass the rows that "
            "the embedding was made of, e.g. run.sel(step=…)['fc1']."
        )

    @classmethod
    def ids_repeat(cls, whose: str) -> NeighborError:
        """Ids that do not say which row is meant: several steps together."""
        return cls(
            f"Embedding.quality: ids repeat in {whose}, and in another order than on the other side, so rows cannot be told "
            "apart. Pass the rows that the embedding was made of, e.g. run.sel(step=…)['fc1']."
        )

    @classmethod
    def too_many_neighbors(cls, k: int, samples: int, largest: int) -> NeighborError:
        """Half of all samples as neighbours: the measures are not defined."""
        return cls(
            f"Embedding.quality: k={k} needs more than {2 * k} samples; there are {samples}. "
            f"Pass k={largest} or less."
        )
