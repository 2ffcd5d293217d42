"""Rows that several writers committed: of each sample in a step, the earliest writer's row counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.format.reader import Shard
from actlens.format.schema import ID, STEP
from actlens.format.text import joined

Ranges = tuple[tuple[int, int], ...]
Each = Callable[[Callable[[Shard], Any], Iterable[Shard]], Iterator[Any]]


def repeated_rows(shards: Sequence[Shard], each: Each = map) -> dict[int, Ranges]:
    """Give, by number of the shard, the ranges of rows whose (step, id) stands in an earlier writer's shard.

    One writer never repeats a sample. Several do where a data set was padded to equal shares, or where a
    writer that was given up for dead went on beside its successor. It depends on the shards alone. `each` is
    how they are read: `map`, or what does the same at once.
    """
    if len({shard.meta.writer for shard in shards}) < 2:
        return {}
    first = first_rows(shards, each)
    again = first != np.arange(len(first))
    starts = np.cumsum([0, *(shard.meta.rows for shard in shards)])
    return {
        n: _ranges(again[starts[n] : starts[n + 1]])
        for n in range(len(shards))
        if again[starts[n] : starts[n + 1]].any()
    }


def first_rows(shards: Sequence[Shard], each: Each = map) -> npt.NDArray[np.int64]:
    """Give for each row the number of the first row with its (step, id): its own, where it is the first."""
    _, first, inverse = np.unique(_keys(shards, each), return_index=True, return_inverse=True)
    rows: npt.NDArray[np.int64] = first[inverse]
    return rows


def _keys(shards: Sequence[Shard], each: Each) -> npt.NDArray[Any]:
    """Give one key a row: the id, or a number for each pair of step and id."""
    ids = joined(list(each(lambda shard: shard.column(ID), shards)))
    if all(column.name != STEP for column in shards[0].meta.schema.columns):
        return ids
    steps = joined(list(each(lambda shard: shard.column(STEP), shards)))
    _, step = np.unique(steps, return_inverse=True)
    values, ident = np.unique(ids, return_inverse=True)
    return step * max(1, len(values)) + ident


def _ranges(flags: npt.NDArray[np.bool_]) -> Ranges:
    """Give [first, last) of each run of True.

    >>> _ranges(np.array([False, True, True, False, True]))
    ((1, 3), (4, 5))
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
