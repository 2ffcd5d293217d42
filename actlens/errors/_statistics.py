"""Errors of statistics over layers."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors._base import InputError, brief, listed


class StatisticsError(InputError):
    """Layers, columns or parameters of `actlens.stats` that cannot be used; states that do not fit together."""

    @classmethod
    def not_layers(cls, given: object) -> StatisticsError:
        """A single array, a path."""
        hint = (
            " Open it first: actlens.open(path)." if isinstance(given, str) or hasattr(given, "parts") else ""
        )
        hint = hint or " One array is {'name': array}."
        return cls(f"stats takes a recording, or a dict layer → array; got {type(given).__name__}.{hint}")

    @classmethod
    def no_layers(cls) -> StatisticsError:
        """An empty dict, or a recording without layers."""
        return cls("stats has nothing to do: there is no layer. Give a recording, or a dict layer → array.")

    @classmethod
    def no_match(cls, patterns: Iterable[object], names: Iterable[object]) -> StatisticsError:
        """`layers=` that names nothing."""
        return cls(f"layers={listed(patterns)} matches no layer. The layers: {listed(names)}.")

    @classmethod
    def no_rows(cls, name: str, shape: object) -> StatisticsError:
        """Zero rows, or rows of zero values."""
        return cls(f"layer {name!r} has no values: its shape is {shape}. There is nothing to count.")

    @classmethod
    def scalar(cls, name: str) -> StatisticsError:
        """An array without axes."""
        return cls(f"layer {name!r} is a single number. Give an array whose first axis is the samples.")

    @classmethod
    def same_name(cls, name: str) -> StatisticsError:
        """Keys of a dict that are the same as text: 3 and "3"."""
        return cls(
            f"two layers have the name {name!r}: names are text, and one would take the place of the other. "
            "Give each a name of its own."
        )

    @classmethod
    def large_integers(cls, name: str, dtype: object, value: int) -> StatisticsError:
        """Whole numbers that float64 rounds."""
        return cls(
            f"layer {name!r} of dtype {dtype} holds {value}; figures are computed in float64, which holds whole "
            "numbers exactly only from -2**53 to 2**53. Subtract an offset first, or leave it out with layers=."
        )

    @classmethod
    def beyond_float64(cls, name: str, dtype: object, size: object) -> StatisticsError:
        """Finite long doubles that would be infinite, or 0."""
        return cls(
            f"layer {name!r} of dtype {dtype} holds a value of size {size}, beyond the range of float64, in which "
            "figures are computed. Scale it first, or leave it out with layers=."
        )

    @classmethod
    def not_numeric(cls, name: str, dtype: object) -> StatisticsError:
        """Text, objects, complex numbers."""
        return cls(
            f"stats takes real numbers; layer {name!r} has dtype {dtype}. Convert it first (of complex numbers "
            "np.abs(x)), or leave it out with layers=."
        )

    @classmethod
    def not_an_array(cls, name: str, given: object, why: object) -> StatisticsError:
        """Something that numpy cannot read as one array."""
        return cls(
            f"layer {name!r} is a {type(given).__name__}, which numpy cannot read as an array (samples, …): {why}"
        )

    @classmethod
    def tensor(cls, name: str, given: object) -> StatisticsError:
        """A torch tensor: it may be on a device, need a gradient, or be bfloat16."""
        return cls(
            f"layer {name!r} is a torch.{type(given).__name__}; stats takes numpy arrays: "
            "tensor.detach().cpu().numpy()."
        )

    @classmethod
    def masked(cls, name: str) -> StatisticsError:
        """A numpy masked array: its mask would be lost."""
        return cls(
            f"layer {name!r} is a masked array, and stats does not read masks: fill it with NaN, which is left "
            "out of the figures and counted: x.filled(np.nan)."
        )

    @classmethod
    def no_axis(cls, name: str, unit: str, axes: Iterable[str]) -> StatisticsError:
        """`unit=` that is no axis."""
        return cls(f"unit={unit!r}: layer {name!r} has no such axis. Allowed here: {listed(axes)}.")

    @classmethod
    def no_column(cls, argument: str, name: object, columns: Iterable[str]) -> StatisticsError:
        """`by=` or `labels=` of a column that is not there."""
        return cls(
            f"{argument}={name!r}: there is no such column. The columns: {listed(columns)}. "
            "An array with one value for each sample does as well."
        )

    @classmethod
    def column_rows(cls, argument: str, shape: object, name: str, rows: int) -> StatisticsError:
        """An array that has not one value for each sample."""
        return cls(
            f"{argument} has shape {shape}; layer {name!r} has {rows} samples: give one value for each."
        )

    @classmethod
    def column_kind(cls, argument: str, dtype: object) -> StatisticsError:
        """Objects, which need not have an order."""
        return cls(
            f"{argument} takes numbers, booleans or text; got dtype {dtype}. Convert it: np.asarray(…, str)."
        )

    @classmethod
    def column_nan(cls, argument: str, name: str, count: int) -> StatisticsError:
        """Labels that are NaN belong to no class."""
        return cls(
            f"{argument} is NaN for {count} samples of layer {name!r}. Leave those samples out "
            "(run.take), or give them a value of their own."
        )

    @classmethod
    def column_values(cls, argument: str, why: object) -> StatisticsError:
        """Lists of different lengths."""
        return cls(
            f"{argument} cannot be read as an array with one value for each sample: {brief(why)}. "
            "Give a flat list, or the name of a column."
        )

    @classmethod
    def masked_column(cls, argument: str) -> StatisticsError:
        """A numpy masked array: samples without a value would have the one under the mask."""
        return cls(
            f"{argument} is a masked array, and stats does not read masks: leave those samples out, or give them "
            f"a value of their own: {argument}=x.filled(-1)."
        )

    @classmethod
    def unlike_layers(cls, argument: str, mine: object, other: object) -> StatisticsError:
        """Columns of one name that hold text in one layer and numbers in another."""
        return cls(
            f"{argument} has values of two kinds: {mine}; and {other}. Their groups have no common order: "
            "give layers whose columns are alike, one call of stats for each kind."
        )

    @classmethod
    def many_values(cls, argument: str, count: int, most: int) -> StatisticsError:
        """A column of ids as a class."""
        return cls(
            f"{argument} has {count:,} different values; at most {most:,} are kept apart, as each has figures of "
            "its own for every unit. Group them first, and give the array of groups."
        )

    @classmethod
    def parameter(cls, name: str, given: object, allowed: str) -> StatisticsError:
        """A parameter out of its range."""
        return cls(f"stats: {name} must be {allowed}; got {given!r}.")

    @classmethod
    def too_wide(cls, name: str, units: int, most: int) -> StatisticsError:
        """correlation=True makes a matrix of units × units."""
        return cls(
            f"correlation=True: layer {name!r} has {units:,} units, and correlations are computed of at most "
            f"{most:,} (the matrix grows with the square). Leave the layer out with layers=, or pool it first."
        )

    @classmethod
    def wrong_rows(cls, name: str, expected: int, seen: int) -> StatisticsError:
        """A layer that gave another number of rows than it announced."""
        return cls(f"layer {name!r} announces {expected} rows and gave {seen} when read.")

    @classmethod
    def not_stats(cls, given: object) -> StatisticsError:
        """merge() of something else."""
        return cls(f"merge takes the Stats of another part of the data; got {type(given).__name__}.")

    @classmethod
    def other_layers(cls, mine: Iterable[str], other: Iterable[str]) -> StatisticsError:
        """Two that are not of the same layers."""
        return cls(
            f"these Stats are of other layers: {listed(mine)}; and {listed(other)}. Choose with layers=."
        )

    @classmethod
    def other_plan(cls, name: str, what: str, mine: object, other: object) -> StatisticsError:
        """Two of the same layer that were made differently."""
        return cls(
            f"the Stats of layer {name!r} were made with another {what}: {mine}; and {other}. Make both in the "
            "same way, then merge."
        )

    @classmethod
    def other_column(cls, argument: str, mine: str, other: str) -> StatisticsError:
        """Two with groups, or classes, of unlike columns."""
        return cls(
            f"these Stats have other {'groups' if argument == 'by' else 'classes'}: {mine}; and {other}. "
            f"Make both with {argument}= of the same column, then merge."
        )

    @classmethod
    def no_labels(cls, name: str, what: str) -> StatisticsError:
        """Class figures without labels."""
        return cls(
            f"{what} of layer {name!r} needs the classes of the samples: actlens.stats(run, labels='label')."
        )

    @classmethod
    def no_correlation(cls, name: str) -> StatisticsError:
        """Pairs without a covariance."""
        return cls(
            f"the covariance of layer {name!r} was not summed up (it has too many units): "
            "actlens.stats(run, correlation=True) asks for it."
        )

    @classmethod
    def quantiles(cls, given: object) -> StatisticsError:
        """A share outside of 0 to 1."""
        return cls(f"quantiles are asked for by shares from 0 to 1; got {given!r}.")

    @classmethod
    def not_saved(cls, path: object, why: object) -> StatisticsError:
        """A file that Stats.save did not write, or that is damaged."""
        return cls(f"{path} is not saved statistics: {brief(why)}")

    @classmethod
    def newer_stats(cls, path: object, found: int, known: int) -> StatisticsError:
        """Saved by a later actlens."""
        return cls(
            f"{path} has statistics of format {found}; this actlens reads {known}. Upgrade: pip install -U actlens"
        )

    @classmethod
    def not_a_path(cls, verb: str, given: object) -> StatisticsError:
        """None, a number, an empty text where a path belongs."""
        shown = repr(given) if isinstance(given, (str, bytes)) else type(given).__name__
        return cls(f"Stats.{verb} takes the path of a file, a str or pathlib.Path; got {shown}.")

    @classmethod
    def cannot_write(cls, path: object, why: object) -> StatisticsError:
        """A path where no file can be made; the caller's path, not that of the file aside."""
        return cls(f"the statistics cannot be saved to {str(path)!r}: {why}.")

    @classmethod
    def odd_ids(cls, dtype: object) -> StatisticsError:
        """Ids that are objects, which no file holds."""
        return cls(
            f"the statistics name samples by ids of dtype {dtype}; integers, floats up to 64 bits, booleans and text "
            "can be saved. Give the layer such ids."
        )

    @classmethod
    def odd_group(cls, value: object) -> StatisticsError:
        """A value of `by=` that numpy gives as an object of its own."""
        return cls(
            f"the statistics have a group {brief(repr(value))} of type {type(value).__name__}; bool, int, float and str "
            "can be saved. Convert by= first."
        )
