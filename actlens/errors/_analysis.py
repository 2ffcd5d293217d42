"""Errors of reducing, and the remedies for layers of many axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actlens.errors._base import InputError, MissingDependency, listed

# Axes that hold what a layer computes; the other axes of a sample say where it computed it.
_FEATURE_AXES = frozenset({"channel", "unit", "feature", "features"})


def axes_remedy(shape: Sequence[int], axes: Sequence[str] = ()) -> str:
    """Name the two ways from many axes to (samples, features), with this layer's own axes.

    >>> axes_remedy((8, 16, 5, 5), ("sample", "channel", "height", "width"))
    "layer.flatten() keeps every value as a feature; layer.mean('height', 'width') averages the positions."
    """
    if axes:
        positions = [axis for axis in axes[1:] if axis not in _FEATURE_AXES]
        if len(positions) == len(axes) - 1:
            positions = positions[:-1]  # no axis is known to be the features: they are mostly last
        averaged = f"layer.mean({', '.join(map(repr, positions))})"
        return f"layer.flatten() keeps every value as a feature; {averaged} averages the positions."
    averaged = (
        "x.mean(axis=(2, 3))" if len(shape) == 4 else f"x.mean(axis={_tuple_text(range(1, len(shape) - 1))})"
    )
    last = " (channels first; axis=(1, 2) where they are last)" if len(shape) == 4 else ""
    return f"x.reshape(len(x), -1) keeps every value as a feature; {averaged}{last} averages the positions."


def _tuple_text(values: Iterable[int]) -> str:
    items = list(values)
    return str(items[0]) if len(items) == 1 else f"({', '.join(map(str, items))})"


def of_layer(name: str) -> str:
    """Name a layer in a message; a plain array has no name."""
    return f"layer {name!r}" if name else "the array"


class ReduceError(InputError):
    """Activations or arguments that cannot be reduced."""

    @classmethod
    def too_many_axes(
        cls, feature: str, name: str, shape: Sequence[int], axes: Sequence[str] = ()
    ) -> ReduceError:
        """The choice between flattening and averaging changes the meaning, so it is the caller's."""
        seen = f"{tuple(shape)}" + (f" ({', '.join(axes)})" if axes else "")
        return cls(
            f"{feature} takes (samples, features); {of_layer(name)} has shape {seen}. Choose what a feature is: "
            + axes_remedy(shape, axes)
        )

    @classmethod
    def too_few_axes(cls, feature: str, name: str, shape: Sequence[int]) -> ReduceError:
        """A vector or a single number."""
        return cls(
            f"{feature} takes (samples, features); {of_layer(name)} has shape {tuple(shape)}. "
            "One value a sample is x.reshape(-1, 1); one sample is x.reshape(1, -1)."
        )

    @classmethod
    def empty(cls, feature: str, name: str, shape: Sequence[int]) -> ReduceError:
        """No rows, or no features."""
        return cls(f"{feature} has nothing to reduce: {of_layer(name)} has shape {tuple(shape)}.")

    @classmethod
    def not_numeric(cls, feature: str, name: str, dtype: object) -> ReduceError:
        """Text, objects, complex numbers."""
        return cls(
            f"{feature} takes real numbers; {of_layer(name)} has dtype {dtype}. Convert it first, e.g. x.astype('float32')."
        )

    @classmethod
    def tensor(cls, feature: str, given: object) -> ReduceError:
        """A torch tensor: it may be on a device, need a gradient, or be bfloat16."""
        return cls(
            f"{feature} takes a layer of a recording or a numpy array; got {type(given).__module__.partition('.')[0]}."
            f"{type(given).__name__}. Give actlens.open(path)[layer], or tensor.detach().cpu().numpy()."
        )

    @classmethod
    def many_layers(cls, feature: str, layers: Iterable[object]) -> ReduceError:
        """A whole recording, or a dict of layers."""
        return cls(f"{feature} takes one layer; got {listed(layers)}. Pass run[layer].")

    @classmethod
    def not_an_array(cls, feature: str, given: object, why: object) -> ReduceError:
        """Something that numpy cannot read as one array."""
        return cls(
            f"{feature} takes a layer of a recording or a numpy array (samples, features); "
            f"numpy cannot read the {type(given).__name__} as an array: {why}"
        )

    @classmethod
    def too_large(cls, feature: str, name: str) -> ReduceError:
        """Finite values whose squares, or whose points in float32, are not."""
        return cls(
            f"{feature}: the values of {of_layer(name)} are too large: their squares or their points (float32, up to "
            "3.4e38) are not finite. Scale the layer first, e.g. x / np.abs(x).max()."
        )

    @classmethod
    def metric(cls, feature: str, given: object, why: object) -> ReduceError:
        """A metric that the library does not know, or that these rows cannot have."""
        first = (str(why).strip().splitlines() or [""])[0]
        return cls(
            f"{feature}: metric={given!r} cannot be used: {first} "
            "Choose another, e.g. 'euclidean', 'cosine', 'correlation' or 'manhattan'."
        )

    @classmethod
    def masked(cls, feature: str) -> ReduceError:
        """A numpy masked array: its mask would be lost."""
        return cls(
            f"{feature} does not read masks: the values under the mask would be used. "
            "Leave those rows out first, e.g. x[~x.mask.any(axis=1)].data."
        )

    @classmethod
    def not_finite(cls, feature: str, name: str, count: int, ids: Iterable[object]) -> ReduceError:
        """Rows that hold NaN or inf; `count` is how many in the part that was read."""
        found = "1 row" if count == 1 else f"{count} rows"
        out = (
            "with run.take(good), good a mask of rows"
            if feature.startswith("Embedding")
            else "with nan='drop'"
        )
        return cls(
            f"{of_layer(name)} has NaN or inf in {found} (ids: {listed(ids)}). {feature} takes finite numbers: leave those "
            f"rows out {out}, or find out why the layer gives them (float16 overflows at 65504; the mean of no tokens is NaN)."
        )

    @classmethod
    def none_finite(cls, feature: str, name: str, count: int) -> ReduceError:
        """`nan="drop"` that leaves nothing."""
        return cls(
            f"{feature}: all {count} rows of {of_layer(name)} have NaN or inf, so nan='drop' leaves none. "
            "Find out why the layer gives them (float16 overflows at 65504)."
        )

    @classmethod
    def wrong_rows(cls, name: str, expected: int, seen: int) -> ReduceError:
        """A layer that gave another number of rows than it announced."""
        return cls(f"{of_layer(name)} announces {expected} rows and gave {seen} when read.")

    @classmethod
    def n_components(cls, feature: str, given: object, allowed: str) -> ReduceError:
        """A number of components that cannot be."""
        return cls(f"{feature}: n_components={given!r}; it takes {allowed}.")

    @classmethod
    def parameter(cls, feature: str, name: str, given: object, allowed: str) -> ReduceError:
        """Any other parameter."""
        return cls(f"{feature}: {name}={given!r}; it takes {allowed}.")

    @classmethod
    def too_few_samples(cls, feature: str, samples: int, least: int) -> ReduceError:
        """Not enough rows for the method to mean anything."""
        return cls(f"{feature} needs at least {least} samples; there are {samples}.")

    @classmethod
    def perplexity(cls, given: float, samples: int, largest: float) -> ReduceError:
        """Perplexity must be below a third of the number of neighbours."""
        return cls(
            f"reduce.tsne: perplexity={given:g} is too large for {samples} samples. "
            f"The largest that they allow is {largest:g}: pass perplexity={largest:g} or less."
        )

    @classmethod
    def neighbors(cls, given: int, samples: int, feature: str = "reduce.umap") -> ReduceError:
        """As many neighbours as there are rows."""
        return cls(
            f"{feature}: n_neighbors={given} needs more than {given} samples; there are {samples}. "
            f"Pass n_neighbors={samples - 1} or less."
        )

    @classmethod
    def no_variance(cls, feature: str, name: str, samples: int) -> ReduceError:
        """All rows are equal: a dead layer."""
        return cls(
            f"{feature}: the {samples} rows of {of_layer(name)} are all equal, so there is nothing to tell them apart by. "
            "The layer does not respond to its input, or one sample was recorded many times."
        )

    @classmethod
    def over_rank(
        cls, feature: str, name: str, asked: object, rank: int, shape: Sequence[int]
    ) -> ReduceError:
        """More components than there is variance for: they would point anywhere."""
        return cls(
            f"{feature}: n_components={asked}, and {of_layer(name)} ({shape[0]} samples × {shape[1]} features) varies in "
            f"{rank} direction{'s' if rank > 1 else ''} only: more would point anywhere. Pass n_components={rank} or less, "
            "or None for all there are. (Features that are constant, or sums of others, add no direction.)"
        )

    @classmethod
    def bad_points(cls, feature: str, count: int) -> ReduceError:
        """The library gave NaN coordinates."""
        return cls(
            f"{feature} gave no finite position for {count} samples: they are connected to no others in this metric. "
            "Use another metric or more neighbours, or leave these samples out."
        )

    @classmethod
    def too_wide(cls, name: str, side: int, size: str, limit: str) -> ReduceError:
        """A scatter matrix that does not fit in memory."""
        return cls(
            f"reduce.pca of {of_layer(name)} needs a {side} × {side} matrix ({size}; the limit is {limit}). "
            "Average positions or take fewer features first, e.g. layer.mean('height', 'width')."
        )

    @classmethod
    def share_of_wide(cls, feature: str, share: object, samples: int, features: int) -> ReduceError:
        """A share of the variance takes all variances, and these are too many."""
        return cls(
            f"{feature}: n_components={share} is a share of the variance, for which all variances of "
            f"{samples:,} samples × {features:,} features would be needed. Give a number of components."
        )

    @classmethod
    def other_features(cls, expected: int, given: int) -> ReduceError:
        """New rows with another number of features than the fitted ones."""
        return cls(
            f"this embedding was fitted on {expected} features; the new rows have {given}. "
            "They must come from the same layer, flattened or averaged in the same way."
        )

    @classmethod
    def not_linear(cls, method: str, verb: str) -> ReduceError:
        """Give transform or inverse of something other than a PCA."""
        return cls(
            f"an embedding by {method} has no {verb}(): only the axes of a reduce.pca, fitted once for all rows, lead back "
            "from points to activations."
        )

    @classmethod
    def bad_column(cls, name: str, what: str) -> ReduceError:
        """A column that does not fit the rows or cannot be stored."""
        return cls(f"column {name!r} {what}.")

    @classmethod
    def wrong_points(cls, what: str, shape: Sequence[int], expected: str) -> ReduceError:
        """An array of points in another shape."""
        return cls(f"{what} has shape {tuple(shape)}; expected {expected}.")

    @classmethod
    def bad_start(cls, feature: str, what: str) -> ReduceError:
        """An init that the library would crash on."""
        return cls(
            f"{feature}: init= {what}; it takes finite numbers (samples, n_components), best with a spread of "
            "1e-4. Or pass init='pca'."
        )

    @classmethod
    def not_an_estimator(cls, given: object) -> ReduceError:
        """`reduce.fit` of something without fit_transform."""
        kind = given.__name__ if isinstance(given, type) else type(given).__name__
        hint = " It is a class: pass an instance." if isinstance(given, type) else ""
        return cls(
            f"reduce.fit takes an object with fit_transform(x), as scikit-learn's are; got {kind}.{hint}"
        )

    @classmethod
    def estimator_failed(cls, name: str, samples: int, features: int, why: object) -> ReduceError:
        """What an estimator of another library raised on the rows."""
        first = (str(why).strip().splitlines() or [type(why).__name__])[0]
        return cls(f"reduce.fit: {name} failed on {samples} samples × {features} features: {first}")

    @classmethod
    def not_an_embedding(cls, path: object, why: object) -> ReduceError:
        """A file that Embedding.save did not write, or that is damaged."""
        return cls(f"{path} is not a saved Embedding: {why}")

    @classmethod
    def not_a_path(cls, verb: str, given: object) -> ReduceError:
        """None, a number, an empty text where a path belongs."""
        shown = repr(given) if isinstance(given, (str, bytes)) else type(given).__name__
        return cls(f"Embedding.{verb} takes the path of a file, a str or pathlib.Path; got {shown}.")

    @classmethod
    def cannot_write(cls, path: object, why: str) -> ReduceError:
        """A path where no file can be made; the caller's path, not that of the file aside."""
        return cls(f"the embedding cannot be saved to {str(path)!r}: {why}.")

    @classmethod
    def newer_embedding(cls, path: object, found: object, known: int) -> ReduceError:
        """Saved by a later actlens."""
        return cls(
            f"{path} has embedding format {found}; this actlens reads {known}. Upgrade: pip install -U actlens"
        )

    @classmethod
    def no_pandas(cls) -> MissingDependency:
        """There is no extra for pandas."""
        return MissingDependency(
            "Embedding.to_pandas needs pandas, which is not installed: pip install pandas"
        )
