"""Samples that stand in two of the recordings that are to be merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import UpkeepError
from actlens.format.reader import Shard
from actlens.format.schema import ID, STEP, Schema

_SHOWN = 5
Rows = npt.NDArray[np.int64]
Opened = Callable[[], Iterable[tuple[Shard, Rows]]]


def refuse_same_samples(sources: Sequence[tuple[object, bool, Opened]], schema: Schema) -> None:
    """Refuse sources that share samples.

    Args:
        sources: of each its path, whether it counted its ids from 0, and what opens its shards with the
            rows that count.
        schema: of all of them.

    Raises:
        UpkeepError: the same (step, id) twice; the same id twice, where one of the two counted.
    """
    stepped = any(column.name == STEP for column in schema.columns)
    ids: list[npt.NDArray[Any]] = []
    steps: list[npt.NDArray[Any]] = []
    owners: list[Rows] = []
    for number, (_, _, shards) in enumerate(sources):
        for shard, rows in shards():
            ids.append(shard.column(ID)[rows])
            steps.append(shard.column(STEP)[rows] if stepped else np.zeros(len(rows), np.int64))
            owners.append(np.full(len(rows), number))
    names, ident = np.unique(np.concatenate(ids), return_inverse=True)
    _, step = np.unique(np.concatenate(steps), return_inverse=True)
    owner = np.concatenate(owners)
    paths = [path for path, _, _ in sources]

    first, second = _shared(ident, owner)
    counted = np.array([numbered for _, numbered, _ in sources])
    hit = counted[owner[first]] | counted[owner[second]]
    if hit.any():
        shown, count, pair = _told(names[ident], owner, first[hit], second[hit])
        raise UpkeepError.numbered_samples(shown, count, [paths[number] for number in pair])
    first, second = _shared(step * max(1, len(names)) + ident, owner)
    if len(first):
        shown, count, pair = _told(names[ident], owner, first, second)
        raise UpkeepError.same_samples(shown, count, [paths[number] for number in pair])


def _shared(keys: Rows, owner: Rows) -> tuple[Rows, Rows]:
    """Give the rows that have the key of a row of another source, and those rows."""
    order = np.lexsort((owner, keys))
    hit = (np.diff(keys[order]) == 0) & (np.diff(owner[order]) != 0)
    return order[:-1][hit], order[1:][hit]


def _told(
    ids: npt.NDArray[Any], owner: Rows, first: Rows, second: Rows
) -> tuple[list[Any], int, tuple[int, int]]:
    """Give some ids of the first two sources that share any, how many they share, and which sources."""
    pair = int(owner[first[0]]), int(owner[second[0]])
    these = np.unique(ids[first[(owner[first] == pair[0]) & (owner[second] == pair[1])]])
    return these[:_SHOWN].tolist(), len(these), pair
