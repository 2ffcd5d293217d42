"""Errors of drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actlens.errors._analysis import axes_remedy, of_layer
from actlens.errors._base import InputError, listed


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
    def not_aligned(cls) -> PlotError:
        """An Embedding of one frame."""
        return cls(
            "plot.trajectory draws an Embedding of several frames, e.g. reduce.tsne(run[layer], by='step', align=True); "
            "this one has no alignment. plot.scatter draws it."
        )

    @classmethod
    def not_flat(cls, n_components: int) -> PlotError:
        """Frames of 1 or of more than 2 components."""
        return cls(
            f"plot.trajectory draws 2 components; this embedding has {n_components}. Choose two, e.g. components=(0, 1), or "
            "reduce with n_components=2."
        )

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
            f"{feature} draws many samples of (samples, units); {of_layer(name)} has shape {seen}. "
            f"{axes_remedy(shape, axes)} One sample can be drawn as it is: rows=0."
        )

    @classmethod
    def not_a_layer(cls, feature: str, name: str, shape: Sequence[int]) -> PlotError:
        """Too few axes, or nothing in it."""
        return cls(
            f"{feature} takes (samples, units) with at least one of each; {of_layer(name)} has shape {tuple(shape)}."
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
    def not_whole(cls, feature: str, what: str, given: object) -> PlotError:
        """1.5, text or None where a number of a row, unit, channel or component belongs."""
        return cls(f"{feature}: {what} {given!r} is not a whole number.")

    @classmethod
    def parameter(cls, feature: str, name: str, given: object, allowed: str) -> PlotError:
        """Any other argument."""
        shown = (
            repr(given)
            if given is None or isinstance(given, (int, float, str, slice))
            else type(given).__name__
        )
        return cls(f"{feature}: {name}={shown}; it takes {allowed}.")

    @classmethod
    def too_large(cls, largest: float, limit: float) -> PlotError:
        """Values whose differences are not finite."""
        return cls(
            f"values as large as {largest:.3g} cannot be drawn; the limit is {limit:g}. Scale them first, e.g. "
            "x / np.abs(x).max()."
        )

    @classmethod
    def unsortable(cls, feature: str, dtype: object, why: object) -> PlotError:
        """A column of objects that have no order."""
        return cls(
            f"{feature}: sort=True cannot order color= of dtype {dtype} ({why}). Give values of one kind, e.g. "
            "color=np.array([str(v) for v in values]), or leave out sort=True."
        )

    @classmethod
    def not_an_array(cls, what: str, given: object, why: object) -> PlotError:
        """Something that numpy cannot read as one array."""
        return cls(f"{what} takes an array; numpy cannot read the {type(given).__name__} as one: {why}")

    @classmethod
    def no_rows(cls, feature: str, given: str) -> PlotError:
        """An empty selection."""
        return cls(f"{feature}: {given} selects nothing.")

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
            f"plot.feature_maps needs axes named channel, height and width; {of_layer(name)} of shape {tuple(shape)} "
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

    @classmethod
    def not_a_comparison(cls, feature: str, takes: str, maker: str, given: object) -> PlotError:
        """An array, a Diff, … where a Comparison is needed, or the other way round."""
        other = {"Comparison": " plot.matrix draws that.", "Diff": " plot.diff draws that."}
        seen = type(given).__name__
        return cls(f"{feature} takes a {takes}, as {maker} returns it; got {seen}.{other.get(seen, '')}")

    @classmethod
    def no_z(cls, z: float, why: object) -> PlotError:
        """A mask by z of a measure whose spread under chance nobody knows."""
        return cls(f"plot.matrix: z={z:g} hatches what chance explains, and here it cannot. {why}")
