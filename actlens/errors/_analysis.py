"""Errors of reducing and of drawing."""

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


def _of(name: str) -> str:
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
            f"{feature} takes (samples, features); {_of(name)} has shape {seen}. Choose what a feature is: "
            + axes_remedy(shape, axes)
        )

    @classmethod
    def too_few_axes(cls, feature: str, name: str, shape: Sequence[int]) -> ReduceError:
        """A vector or a single number."""
        return cls(
            f"{feature} takes (samples, features); {_of(name)} has shape {tuple(shape)}. "
            "One value a sample is x.reshape(-1, 1); one sample is x.reshape(1, -1)."
        )

    @classmethod
    def empty(cls, feature: str, name: str, shape: Sequence[int]) -> ReduceError:
        """No rows, or no features."""
        return cls(f"{feature} has nothing to reduce: {_of(name)} has shape {tuple(shape)}.")

    @classmethod
    def not_numeric(cls, feature: str, name: str, dtype: object) -> ReduceError:
        """Text, objects, complex numbers."""
        return cls(
            f"{feature} takes real numbers; {_of(name)} has dtype {dtype}. Convert it first, e.g. x.astype('float32')."
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
        return cls(
            f"{_of(name)} has NaN or inf in {found} (ids: {listed(ids)}). {feature} takes finite numbers: leave those "
            "rows out (x[np.isfinite(x).all(axis=1)]), or find out why the layer gives them (float16 overflows at 65504)."
        )

    @classmethod
    def wrong_rows(cls, name: str, expected: int, seen: int) -> ReduceError:
        """A layer that gave another number of rows than it announced."""
        return cls(f"{_of(name)} announces {expected} rows and gave {seen} when read.")

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
    def neighbors(cls, given: int, samples: int) -> ReduceError:
        """As many neighbours as there are rows."""
        return cls(
            f"reduce.umap: n_neighbors={given} needs more than {given} samples; there are {samples}. "
            f"Pass n_neighbors={samples - 1} or less."
        )

    @classmethod
    def no_variance(cls, feature: str, name: str, samples: int) -> ReduceError:
        """All rows are equal: a dead layer."""
        return cls(
            f"{feature}: the {samples} rows of {_of(name)} are all equal, so there are no neighbours to keep. "
            "The layer does not respond to its input, or one sample was recorded many times."
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
            f"reduce.pca of {_of(name)} needs a {side} × {side} matrix ({size}; the limit is {limit}). "
            "Average positions or take fewer features first, e.g. layer.mean('height', 'width')."
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
            f"an embedding by {method} has no {verb}(): only reduce.pca maps new rows into the same axes. "
            "Fit all the rows that you want to see together."
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
    def not_an_estimator(cls, given: object) -> ReduceError:
        """`reduce.fit` of something without fit_transform."""
        kind = given.__name__ if isinstance(given, type) else type(given).__name__
        hint = " It is a class: pass an instance." if isinstance(given, type) else ""
        return cls(
            f"reduce.fit takes an object with fit_transform(x), as scikit-learn's are; got {kind}.{hint}"
        )

    @classmethod
    def not_an_embedding(cls, path: object, why: object) -> ReduceError:
        """A file that Embedding.save did not write, or that is damaged."""
        return cls(f"{path} is not a saved Embedding: {why}")

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


class PlotError(InputError):
    """Something that cannot be drawn as asked."""

    @classmethod
    def not_an_embedding(cls, feature: str, given: object) -> PlotError:
        """An array, a layer, … where an Embedding is needed."""
        return cls(
            f"{feature} takes an Embedding, as reduce.pca, reduce.tsne and reduce.umap return it; "
            f"got {type(given).__name__}."
        )

    @classmethod
    def dimensions(cls, n_components: int) -> PlotError:
        """1-D or 4-D points."""
        remedy = (
            "plot.scatter(z, components=(0, 1)) draws two of them."
            if n_components > 3
            else "Reduce with n_components=2 or 3."
        )
        return cls(f"plot.scatter draws 2 or 3 components; this embedding has {n_components}. {remedy}")

    @classmethod
    def wrong_axes(cls, feature: str, needs: str) -> PlotError:
        """A flat Axes for a 3-D picture, or the other way round."""
        return cls(f"{feature}: ax= must be {needs}.")

    @classmethod
    def no_column(cls, name: str, columns: Iterable[str]) -> PlotError:
        """A column that the data does not have."""
        return cls(
            f"no column {name!r} to colour by. The columns: {listed(columns)}. An array of one value a sample works too."
        )

    @classmethod
    def color_length(cls, expected: int, seen: Sequence[int]) -> PlotError:
        """An array for another number of rows."""
        return cls(f"color= has shape {tuple(seen)}; it takes one value a sample, ({expected},).")

    @classmethod
    def too_many_axes(
        cls, feature: str, name: str, shape: Sequence[int], axes: Sequence[str] = ()
    ) -> PlotError:
        """A picture of many samples needs one axis of units."""
        seen = f"{tuple(shape)}" + (f" ({', '.join(axes)})" if axes else "")
        return cls(
            f"{feature} draws many samples of (samples, units); {_of(name)} has shape {seen}. "
            f"{axes_remedy(shape, axes)} One sample can be drawn as it is: rows=0."
        )

    @classmethod
    def not_a_layer(cls, feature: str, name: str, shape: Sequence[int]) -> PlotError:
        """Too few axes, or nothing in it."""
        return cls(
            f"{feature} takes (samples, units) with at least one of each; {_of(name)} has shape {tuple(shape)}."
        )

    @classmethod
    def not_numeric(cls, feature: str, dtype: object) -> PlotError:
        """Text or complex numbers where activations should be."""
        return cls(f"{feature} draws real numbers; got dtype {dtype}.")

    @classmethod
    def index(cls, feature: str, what: str, given: object, count: int) -> PlotError:
        """A row, unit or channel that is not there."""
        return cls(
            f"{feature}: {what} {given!r} is out of range; there are {count} (0 … {count - 1}, or negative from the end)."
        )

    @classmethod
    def no_rows(cls, feature: str, given: object) -> PlotError:
        """An empty selection."""
        return cls(f"{feature}: {given!r} selects nothing.")

    @classmethod
    def conflict(cls, feature: str, why: str) -> PlotError:
        """Two arguments that exclude each other."""
        return cls(f"{feature}: {why}.")

    @classmethod
    def no_maps(
        cls, name: str, shape: Sequence[int], axes: Sequence[str], missing: Iterable[str]
    ) -> PlotError:
        """A layer without the axes of an image."""
        lacks = [*missing]
        why = f"it lacks {listed(lacks)}" if lacks else "it has more axes than these and sample"
        return cls(
            f"plot.feature_maps needs axes named channel, height and width; {_of(name)} of shape {tuple(shape)} "
            f"has {', '.join(axes)}: {why}. plot.heatmap draws any layer."
        )

    @classmethod
    def unnamed_axes(cls, shape: Sequence[int]) -> PlotError:
        """A numpy array does not say where its channels are."""
        return cls(
            f"plot.feature_maps: an array of shape {tuple(shape)} does not say which axis is the channels. Pass "
            "axis_names=('sample', 'channel', 'height', 'width') for channels first, or "
            "('sample', 'height', 'width', 'channel')."
        )

    @classmethod
    def axis_names(cls, given: object, ndim: int) -> PlotError:
        """Names for another number of axes."""
        return cls(
            f"plot.feature_maps: axis_names={given!r} must name all {ndim} axes, once each, 'sample' first."
        )

    @classmethod
    def image_shape(cls, shape: Sequence[int]) -> PlotError:
        """Something that is not one image."""
        return cls(
            f"plot.feature_maps: image= has shape {tuple(shape)}; it takes one image: (height, width), "
            "(height, width, 1, 3 or 4) or (1, 3 or 4, height, width)."
        )

    @classmethod
    def no_variance_ratio(cls, method: str) -> PlotError:
        """A scree of something other than a PCA."""
        return cls(
            f"plot.scree draws the explained variance of reduce.pca; an embedding by {method} has none."
        )
