"""One batch on its way into a recording: its rows, ids and columns, and which of them are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import IdError, RowsError
from actlens.format.reader import Shard
from actlens.format.schema import ID, STEP
from actlens.writing.columns import Column, as_column
from actlens.writing.host import Arrays
from actlens.writing.ids import Ids, Sampler, SeenIds, as_ids, first_repeated
from actlens.writing.ragged import Valid

_MAX_NAME = 900


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one batch. `kept` are the positions that are stored; columns hold all rows, the id first."""

    rows: int
    kept: npt.NDArray[np.int64]
    columns: dict[str, Column]
    given_ids: bool

    def kept_columns(self) -> dict[str, Column]:
        """The columns of the kept rows."""
        return {name: column[self.kept] for name, column in self.columns.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A batch whose copy to the host is under way."""

    batch: Batch
    valid: Valid
    wait: Callable[[], Arrays]
    first: bool


def read_batch(acts: Mapping[str, Any], *, id: Any, columns: Mapping[str, Any], first_id: int) -> Batch:
    """Check what was handed to write(); nothing is copied from a device yet."""
    return batch_of(count_rows(acts), id=id, columns=columns, first_id=first_id)


def batch_of(rows: int, *, id: Any, columns: Mapping[str, Any], first_id: int) -> Batch:
    """Read the ids and columns of a batch of so many rows."""
    for name in columns:
        _check_name(name)
    ids = np.arange(first_id, first_id + rows) if id is None else as_ids(id, rows)
    read = {name: as_column(name, value, rows) for name, value in columns.items()}
    return Batch(rows, np.arange(rows), {ID: ids, **read}, id is not None)


def count_rows(acts: Mapping[str, Any]) -> int:
    """Give the number of rows that all layers share."""
    if not isinstance(acts, Mapping) or not acts:
        raise RowsError.not_activations(acts)
    counts = {}
    for key, array in acts.items():
        _check_name(key)
        if isinstance(array, np.ma.MaskedArray):
            raise RowsError.masked(key)
        if not hasattr(array, "dtype") or not len(getattr(array, "shape", ())):
            raise RowsError.not_an_array(key, array)
        axes = getattr(acts, "axes", {}).get(key)
        if axes and "sample" in axes[1:]:
            raise RowsError.rows_not_first(key, axes)
        counts[key] = int(array.shape[0])
    if len(set(counts.values())) > 1:
        raise RowsError.unequal(counts)
    return next(iter(counts.values()))


def _check_name(name: object) -> None:
    try:
        size = len(name.encode()) if isinstance(name, str) and "\0" not in name else 0
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_NAME:
        raise RowsError.bad_key(name)


class Bookkeeping:
    """Which samples are recorded, step by step, so that none stands twice in a step.

    Rows of an earlier attempt (a resumed recording) are left out in silence; rows that come twice in
    this one are an error.
    """

    def __init__(self) -> None:
        self._seen: dict[Any, SeenIds] = {}
        self._before: dict[Any, SeenIds] = {}
        self._given_ids: bool | None = None

    def admitted(self, batch: Batch, sampler: Sampler) -> Batch:
        """Narrow a batch down to the rows that are sampled and not recorded yet.

        Raises:
            IdError: an id stands twice in one step, or ids come and go between batches.
        """
        if self._given_ids not in {None, batch.given_ids}:
            raise IdError.sometimes()
        ids = batch.columns[ID]
        keep = sampler.keeps(ids)
        for step, rows in _by_step(batch.columns, np.flatnonzero(keep)):
            self._refuse_repeated(ids[rows], step, has_step=STEP in batch.columns)
            if step in self._before:
                keep[rows] &= ~self._before[step].contains(ids[rows])
        return dataclasses.replace(batch, kept=np.flatnonzero(keep))

    def _refuse_repeated(self, ids: Ids, step: Any, *, has_step: bool) -> None:
        repeated = first_repeated(ids)
        if repeated is None and step in self._seen:
            again = ids[self._seen[step].contains(ids)]
            repeated = again[0].item() if len(again) else None
        if repeated is not None:
            raise IdError.repeated(repeated, step, has_step=has_step)

    def note(self, batch: Batch) -> None:
        """Take the kept rows down as recorded."""
        self._given_ids = batch.given_ids
        ids = batch.columns[ID]
        for step, rows in _by_step(batch.columns, batch.kept):
            self._seen.setdefault(step, SeenIds()).add(ids[rows])

    def forget(self, batch: Batch, *, first: bool) -> None:
        """Undo `note`, of a batch that could not be recorded after all."""
        if first:
            self._given_ids = None
        ids = batch.columns[ID]
        for step, rows in _by_step(batch.columns, batch.kept):
            self._seen[step].discard(ids[rows])

    def load(self, shards: Sequence[Shard]) -> None:
        """Take down the rows of an earlier attempt."""
        if shards:
            self._given_ids = shards[0].meta.origin.ids == "given"
        for shard in shards:
            columns = {ID: shard.column(ID)}
            if any(column.name == STEP for column in shard.meta.schema.columns):
                columns[STEP] = shard.column(STEP)
            for step, rows in _by_step(columns, np.arange(shard.meta.rows)):
                self._before.setdefault(step, SeenIds()).add(columns[ID][rows])


def _by_step(
    columns: Mapping[str, Column], rows: npt.NDArray[np.int64]
) -> list[tuple[Any, npt.NDArray[np.int64]]]:
    """Group rows by their step; one group, None, where there is no step."""
    if not len(rows):
        return []
    if STEP not in columns:
        return [(None, rows)]
    steps = columns[STEP][rows]
    if (steps == steps[0]).all():
        return [(steps[0].item(), rows)]
    return [(step.item(), rows[steps == step]) for step in np.unique(steps)]
