"""Errors of reducing several frames into one picture: steps, epochs, layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actlens.errors._analysis import ReduceError
from actlens.errors._base import listed


class AlignmentError(ReduceError):
    """Frames that cannot be told apart, or not be aligned."""

    @classmethod
    def no_choice(cls, feature: str, by: str, choices: Iterable[str]) -> AlignmentError:
        """`by=` alone: whether frames are aligned changes what the picture says."""
        return cls(
            f"{feature}: by={by!r} needs align=. {_choices(choices)} False fits each frame apart, and such frames cannot "
            "be compared."
        )

    @classmethod
    def unknown(cls, feature: str, given: object, choices: Iterable[str]) -> AlignmentError:
        """An `align=` that is not one of the choices."""
        return cls(f"{feature}: align={given!r}. {_choices(choices)}")

    @classmethod
    def nan(cls, feature: str) -> AlignmentError:
        """Rows would be missing in some frames, without a word on which."""
        return cls(
            f"{feature}: nan='drop' does not go with by=: a sample may have NaN in some frames only. Leave the "
            "samples out of the recording first: run.take(good), good a mask of rows."
        )

    @classmethod
    def no_by(cls, feature: str) -> AlignmentError:
        """`align=` alone."""
        return cls(
            f"{feature}: align= needs by=, the column whose values are the frames, e.g. by='step'; or by='layer' with a "
            "recording or a dict of layers."
        )

    @classmethod
    def no_columns(cls, feature: str, by: str) -> AlignmentError:
        """A numpy array has no columns."""
        return cls(
            f"{feature}: by={by!r} takes a layer of a recording, whose rows carry columns; an array has none. For arrays "
            "of the same samples, one a frame, pass a dict of them and by='layer'."
        )

    @classmethod
    def not_one_layer(cls, feature: str, by: str, layers: Iterable[object]) -> AlignmentError:
        """A recording where one layer is needed."""
        return cls(
            f"{feature}: by={by!r} takes one layer; got {listed(layers)}. Pass run[layer], or by='layer' to see how the "
            "samples move from layer to layer."
        )

    @classmethod
    def one_layer(cls, feature: str) -> AlignmentError:
        """by='layer' with one layer that has no such column."""
        return cls(
            f"{feature}: by='layer' takes a recording or a dict of layers of the same samples, e.g. "
            "{'fc1': run['fc1'], 'conv': run['conv'].flatten()}."
        )

    @classmethod
    def no_column(cls, feature: str, by: str, columns: Iterable[str]) -> AlignmentError:
        """A column that the layer does not have."""
        return cls(f"{feature}: no column {by!r}. The columns: {listed(columns)}.")

    @classmethod
    def column_taken(cls, feature: str) -> AlignmentError:
        """The result would have two columns named "layer"."""
        return cls(
            f"{feature}: the layers have a column 'layer' of their own, and by='layer' makes one. Pass arrays, "
            "e.g. {name: run[name][:] for name in run}."
        )

    @classmethod
    def not_a_number(cls, feature: str, by: str, count: int) -> AlignmentError:
        """NaN is no frame."""
        return cls(
            f"{feature}: column {by!r} is NaN in {count} rows: they belong to no frame. Leave them out first."
        )

    @classmethod
    def one_frame(cls, feature: str, by: str, values: Iterable[object]) -> AlignmentError:
        """Nothing to align."""
        return cls(
            f"{feature}: by={by!r} needs at least two frames; there is {listed(values)}. Leave out by= and align= for one."
        )

    @classmethod
    def twice(cls, by: str, frame: object, ids: Iterable[object]) -> AlignmentError:
        """A sample that stands twice in one frame cannot be joined."""
        return cls(
            f"{by} {frame}: these ids stand twice: {listed(ids)}. Frames are joined by id, so a sample may stand once in "
            "each. Select the rows first, e.g. run.sel(step=0)."
        )

    @classmethod
    def few_shared(cls, feature: str, by: str, counts: Mapping[str, int], least: int) -> AlignmentError:
        """Neighbouring frames with too few samples in common."""
        pairs = listed(f"{pair}: {count}" for pair, count in counts.items())
        return cls(
            f"{feature}: neighbouring frames of {by!r} need at least {least} ids in common; they have {pairs}. "
            "Record the same samples in each: sample= keeps the same ids."
        )

    @classmethod
    def in_frame(cls, by: str, frame: object, why: object) -> AlignmentError:
        """One frame cannot be reduced."""
        return cls(f"{by} {frame}: {why}")

    @classmethod
    def no_common_features(cls, feature: str, align: str, choices: Iterable[str]) -> AlignmentError:
        """Layers are different spaces."""
        return cls(
            f"{feature}: by='layer' has no align={align!r}: unit 3 of one layer is not unit 3 of another, so there is no "
            f"space that holds both. Choose one of: {', '.join(choices)}."
        )

    @classmethod
    def start_given(cls, feature: str) -> AlignmentError:
        """An array as init: it would be one frame's."""
        return cls(f"{feature}: with by=, init takes 'pca' or 'random'; an array would fit one frame only.")

    @classmethod
    def wrong_part(cls, name: str, seen: object, expected: str) -> AlignmentError:
        """An Alignment whose parts do not fit together."""
        return cls(f"alignment: {name} is {seen}; expected {expected}")


def _choices(choices: Iterable[str]) -> str:
    return f"It takes True, False, or one of: {', '.join(choices)}."
