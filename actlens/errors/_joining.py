"""Errors of joining layers: other samples, other axes, values that are no numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from actlens.errors._base import InputError, brief, listed


class JoinedErrors(InputError):
    """What is about rows and axes in CompareError; raised under that name."""

    @classmethod
    def not_layers(cls, feature: str, given: object) -> Self:
        """A bare layer or array where layers with names are needed."""
        return cls(
            f"{feature} takes a Recording, or a dict of layers, e.g. {{'fc1': run['fc1']}}; got {type(given).__name__}."
        )

    @classmethod
    def no_layers(cls, feature: str, side: str) -> Self:
        """An empty recording or dict."""
        return cls(f"{feature}: {side} has no layers. Record some first: actlens.record(…, layers='**').")

    @classmethod
    def no_match(cls, feature: str, side: str, pattern: object, names: Iterable[object]) -> Self:
        """`layers=` that names none of a side's layers."""
        return cls(f"{feature}: layers={pattern!r} matches none of {side}'s layers: {listed(names)}.")

    @classmethod
    def not_an_array(cls, feature: str, layer: str, error: object) -> Self:
        """What numpy cannot read."""
        return cls(
            f"{feature}: layer {layer!r} cannot be read as an array ({brief(error)}). Give a numpy array (samples, …), or a "
            "layer of a recording."
        )

    @classmethod
    def tensor(cls, feature: str, layer: str, given: object) -> Self:
        """A torch tensor, which may be on a device and need a gradient."""
        return cls(
            f"{feature}: layer {layer!r} is a {type(given).__module__}.{type(given).__name__}. Give "
            "tensor.detach().cpu().numpy()."
        )

    @classmethod
    def masked(cls, feature: str, layer: str) -> Self:
        """A masked array, whose mask numpy would drop."""
        return cls(
            f"{feature}: layer {layer!r} is a masked array, and its mask would be lost. Leave the masked rows out."
        )

    @classmethod
    def not_numeric(cls, feature: str, layer: str, dtype: object) -> Self:
        """Text, complex numbers or objects."""
        return cls(
            f"{feature}: layer {layer!r} is of {dtype}; measures take real numbers. Give e.g. its abs()."
        )

    @classmethod
    def no_features(cls, feature: str, layer: str, shape: Sequence[object]) -> Self:
        """(samples,) without features, or with an empty axis."""
        return cls(
            f"{feature}: layer {layer!r} has shape {tuple(shape)}; it needs rows and at least one feature: (samples, features)."
        )

    @classmethod
    def choose_positions(cls, feature: str, layer: str, shape: Sequence[object], axes: Iterable[str]) -> Self:
        """More than two axes and no choice."""
        return cls(
            f"{feature}: layer {layer!r} has shape {tuple(shape)} ({', '.join(axes)}), and a measure takes (samples, features). "
            "What it means depends on your choice: positions='flatten' makes every value a feature; positions='mean' averages "
            "the positions of each sample; positions='samples' makes every position a row of its own."
        )

    @classmethod
    def positions(cls, feature: str, given: object, choices: Iterable[str]) -> Self:
        """A `positions=` that is none."""
        return cls(f"{feature}: positions={given!r}; it takes {', '.join(map(repr, choices))} or None.")

    @classmethod
    def ragged_flatten(cls, feature: str, layer: str) -> Self:
        """Samples of different lengths have no common features."""
        return cls(
            f"{feature}: the samples of layer {layer!r} differ in length, so that they cannot be flattened into the same "
            "features. Use positions='mean' or positions='samples'."
        )

    @classmethod
    def other_positions(cls, feature: str, found: Mapping[str, object]) -> Self:
        """positions='samples' of layers with other grids."""
        shapes = listed(f"{name}: {shape}" for name, shape in found.items())
        return cls(
            f"{feature}: positions='samples' compares position by position, and these layers have other positions: {shapes}. "
            "Choose layers of one grid with layers=, or use positions='mean' or 'flatten'."
        )

    @classmethod
    def duplicated(cls, feature: str, layer: str, ids: Iterable[object], count: int) -> Self:
        """A sample that stands twice cannot be joined."""
        return cls(
            f"{feature}: in layer {layer!r} {count} ids stand more than once: {listed(ids)}. Rows are joined by id: select one "
            "row a sample first, e.g. run.sel(step=0)."
        )

    @classmethod
    def no_common_ids(cls, feature: str, first: str, second: str, examples: Sequence[object]) -> Self:
        """Nothing to compare."""
        return cls(
            f"{feature}: {first} and {second} have no id in common (e.g. {examples[0]!r} and {examples[1]!r}). Rows are joined by "
            "id: give the same samples the same ids in both, with a column named 'id' in record()."
        )

    @classmethod
    def mixed_ids(cls, feature: str, with_ids: str, without: str) -> Self:
        """An array, whose rows are known by their order alone, beside a recording."""
        return cls(
            f"{feature}: the rows of {with_ids!r} have ids, those of {without!r} (an array) have none, so nobody can say which "
            f"belong together. Give arrays of the same rows on both sides (layer[:] reads one), or recordings on both."
        )

    @classmethod
    def other_rows(cls, feature: str, counts: Mapping[str, int]) -> Self:
        """Arrays of different lengths."""
        shown = listed(f"{name}: {count:,}" for name, count in counts.items())
        return cls(
            f"{feature}: arrays are joined by row number, and these have different numbers of rows: {shown}. Nothing is cut off; "
            "give the same rows of each, or recordings, which are joined by id."
        )

    @classmethod
    def few_rows(cls, feature: str, rows: int, least: int, dropped: str) -> Self:
        """Too few rows in common for any estimate."""
        return cls(f"{feature}: {rows} rows in common{dropped}; measures need at least {least}.")

    @classmethod
    def not_finite(cls, feature: str, layer: str, ids: Iterable[object], count: int) -> Self:
        """NaN or inf in some rows."""
        return cls(
            f"{feature}: layer {layer!r} has NaN or inf in {count:,} rows, of the ids {listed(ids)}. Leave these samples out on "
            "both sides (run.take(mask)), or find out where they come from: actlens.stats(run)."
        )

    @classmethod
    def too_large(cls, feature: str, layer: str) -> Self:
        """Sums of squares beyond float64, or float32."""
        return cls(
            f"{feature}: the squares of layer {layer!r} are beyond what float64 holds. Scale it down first."
        )

    @classmethod
    def wrong_rows(cls, feature: str, layer: str, expected: int, found: int) -> Self:
        """A lazy layer that gives another number of rows than it says."""
        return cls(f"{feature}: layer {layer!r} says {expected} rows and gave {found}.")

    @classmethod
    def same_name(cls, feature: str, name: str) -> Self:
        """Two keys of a dict with one text."""
        return cls(f"{feature}: two layers are called {name!r}. Give each a name of its own.")
