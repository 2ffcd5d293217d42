"""Rows in frames: those of one step each, or one layer each, joined by the ids of the samples."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import AlignmentError, ReduceError
from actlens.reduce.aligning.picked import Picked
from actlens.reduce.source import Framed, LayerLike, is_layer, rows_of

Array = npt.NDArray[Any]
LAYER = "layer"


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame: its rows in the order of their ids, so that no result depends on the order they lie in."""

    value: Any  # of the column; or the layer's name
    layer: LayerLike  # (samples, features)
    ids: Array  # (samples,), rising
    rows: Array  # (samples,): their row numbers in the result


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """All frames in their order, and what stands beside the rows of the result."""

    feature: str
    by: str
    frames: tuple[Frame, ...]
    ids: Array  # (rows,)
    columns: dict[str, Array]
    name: str  # of the layer; "" for many
    whole: LayerLike | None  # all rows in one space, frame after frame; None where frames are layers

    def shared(self, number: int) -> tuple[Array, Array]:
        """Give the rows that a frame and the next one share: their numbers in both."""
        before, after = self.frames[number].ids, self.frames[number + 1].ids
        if (before.dtype.kind in "UT") is not (after.dtype.kind in "UT"):  # the text "1" is not the number 1
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        _, first, second = np.intersect1d(before, after, assume_unique=True, return_indices=True)
        return first, second

    def check_overlap(self, least: int) -> None:
        """Raise AlignmentError unless all neighbours share so many ids: fewer fix no rotation."""
        counts = {
            f"{a.value} → {b.value}": len(self.shared(number)[0])
            for number, (a, b) in enumerate(zip(self.frames, self.frames[1:], strict=False))
        }
        if min(counts.values()) < least:
            raise AlignmentError.few_shared(self.feature, self.by, counts, least)

    def joined(self, parts: Sequence[Array]) -> Array:
        """Bring the points of each frame (samples, k) into the order of the result's rows."""
        points = np.empty((len(self.ids), parts[0].shape[1]), np.float32)
        for frame, part in zip(self.frames, parts, strict=True):
            points[frame.rows] = part
        return points

    def parted(self, points: Array) -> list[Array]:
        """Undo the joining of `whole`: (rows, k) frame after frame into the points of each."""
        return np.split(points, np.cumsum([len(frame.ids) for frame in self.frames])[:-1])

    @contextlib.contextmanager
    def naming(self, number: int) -> Iterator[None]:
        """Say in which frame an error was."""
        try:
            yield
        except AlignmentError:
            raise
        except ReduceError as error:
            raise AlignmentError.in_frame(self.by, self.frames[number].value, error) from error


def frames_of(layer: Framed, by: str, feature: str) -> Frames:
    """Part a layer by a column, or take the layers of a recording or dict as frames.

    Raises AlignmentError for fewer than two frames and for a sample that stands twice in one.
    """
    if isinstance(layer, Mapping):
        if by != LAYER:
            raise AlignmentError.not_one_layer(feature, by, layer)
        return _of_layers(layer, feature)
    if not is_layer(layer):
        raise AlignmentError.one_layer(feature) if by == LAYER else AlignmentError.no_columns(feature, by)
    rows = rows_of(layer, feature)
    if by not in rows.columns:
        raise (
            AlignmentError.one_layer(feature)
            if by == LAYER
            else AlignmentError.no_column(feature, by, rows.columns)
        )
    column = rows.columns[by]
    frames = []
    for value in _in_order(column, by, feature):
        positions = np.flatnonzero(column == value)
        positions = positions[np.argsort(rows.ids[positions], kind="stable")]
        plain = value.item() if isinstance(value, np.generic) else value
        frames.append(_frame(by, plain, Picked(layer, positions), rows.ids[positions], positions))
    _check_count(feature, by, frames)
    whole = Picked(layer, np.concatenate([frame.rows for frame in frames]))
    return Frames(feature, by, tuple(frames), rows.ids, rows.columns, rows.name, whole)


def _of_layers(layers: Mapping[str, Any], feature: str) -> Frames:
    frames, checked, start = [], [], 0
    for name, layer in layers.items():
        try:
            rows = rows_of(layer, feature)
        except ReduceError as error:
            raise AlignmentError.in_frame(LAYER, name, error) from error
        order = np.argsort(rows.ids, kind="stable")
        in_order = np.array_equal(order, np.arange(len(order)))
        sorted_layer = layer if in_order else _reordered(layer, order)
        frames.append(_frame(LAYER, str(name), sorted_layer, rows.ids[order], start + order))
        checked.append(rows)
        start += len(order)
    _check_count(feature, LAYER, frames)
    kept = [name for name in checked[0].columns if all(name in rows.columns for rows in checked)]
    if LAYER in kept:
        raise AlignmentError.column_taken(feature)
    columns = {name: np.concatenate([rows.columns[name] for rows in checked]) for name in kept}
    columns[LAYER] = np.repeat([frame.value for frame in frames], [len(frame.ids) for frame in frames])
    ids = np.concatenate([rows.ids for rows in checked])
    return Frames(feature, LAYER, tuple(frames), ids, columns, "", None)


def _reordered(layer: LayerLike, order: Array) -> LayerLike:
    return Picked(layer, order) if is_layer(layer) else np.asarray(layer)[order]


def _frame(by: str, value: Any, layer: LayerLike, ids: Array, rows: Array) -> Frame:
    again = ids[1:][ids[1:] == ids[:-1]]
    if len(again):
        raise AlignmentError.twice(by, value, np.unique(again).tolist())
    return Frame(value, layer, ids, rows)


def _in_order(column: Array, by: str, feature: str) -> Array:
    """Give the values of a column: numbers rising, texts as they first come."""
    if column.dtype.kind == "f" and np.isnan(column).any():
        raise AlignmentError.not_a_number(feature, by, int(np.isnan(column).sum()))
    values, first = np.unique(column, return_index=True)
    return values if column.dtype.kind in "biuf" else column[np.sort(first)]


def _check_count(feature: str, by: str, frames: list[Frame]) -> None:
    if len(frames) < 2:
        raise AlignmentError.one_frame(feature, by, [frame.value for frame in frames])
