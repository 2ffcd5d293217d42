"""Rows that several writers committed: which count, and whether the others are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.format.duplicates import Ranges, first_rows, repeated_rows
from actlens.format.place import Place
from actlens.format.reader import Shard
from actlens.format.schema import ACT

_PIECE = 1 << 20
_ROWS = 4096  # whose running digests are held at once


class Reopened(Sequence[Shard]):
    """Shards by number, each opened when it is asked for: ten thousand headers are not held at once."""

    def __init__(self, place: Place, paths: Sequence[str]) -> None:
        self._place = place
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: Any) -> Any:
        return Shard(self._place.blob(self._paths[number]))


def dropped_rows(place: Place, paths: Sequence[str]) -> dict[int, Ranges]:
    """Give, by number of the shard, the rows that an earlier writer has: as the manifest lists them."""
    if len({path.rpartition("/")[0] for path in paths}) < 2:
        return {}
    return repeated_rows(Reopened(place, paths))


def differing_rows(place: Place, paths: Sequence[str], counts: Sequence[int]) -> int:
    """Count the rows that are not bit for bit the row of the same sample that counts.

    Args:
        place: the recording.
        paths: its shards, in order.
        counts: the rows of each.
    """
    shards = Reopened(place, paths)
    first = first_rows(shards)
    again = np.flatnonzero(first != np.arange(len(first)))
    involved = np.unique(np.concatenate([again, first[again]]))
    digests = np.zeros((len(involved), 16), np.uint8)
    starts = np.cumsum([0, *counts])
    for number in range(len(paths)):
        lo, hi = np.searchsorted(involved, starts[number : number + 2]).tolist()
        if lo < hi:
            digests[lo:hi] = _digests(shards[number], involved[lo:hi] - starts[number])
    ours = digests[np.searchsorted(involved, again)]
    theirs = digests[np.searchsorted(involved, first[again])]
    return int((ours != theirs).any(axis=1).sum())


def _digests(shard: Shard, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Give xxh3-128 of everything that rows hold, in ascending order: (rows, 16)."""
    schema = shard.meta.schema
    columns = [shard.column(column.name) for column in schema.columns]
    ragged = {index: (shard.offsets(index), shard.places(index)) for index in schema.indices}
    parts = [_digests_of(shard, rows[at : at + _ROWS], columns, ragged) for at in range(0, len(rows), _ROWS)]
    return np.concatenate([np.empty((0, 16), np.uint8), *parts])


def _digests_of(
    shard: Shard,
    rows: npt.NDArray[np.int64],
    columns: Sequence[npt.NDArray[Any]],
    ragged: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> npt.NDArray[np.uint8]:
    states = [xxhash.xxh3_128() for _ in rows]
    numbered = list(zip(states, rows.tolist(), strict=True))
    for values in columns:
        for state, row in numbered:
            value = values[row]
            state.update(str(value).encode() if values.dtype.kind == "U" else value.tobytes())
    for offsets, places in ragged.values():
        for state, row in numbered:
            state.update(places[offsets[row] : offsets[row + 1]].tobytes())
    for layer in shard.meta.schema.layers:
        name = ACT + layer.key
        tensor = shard.tensors[name]
        if layer.ragged:
            offsets, _ = ragged[layer.ragged]
            for state, row in numbered:
                values = np.empty((int(offsets[row + 1] - offsets[row]), *layer.shape), tensor.dtype)
                shard.read_into(name, int(offsets[row]), values)
                state.update(values.reshape(-1).view(np.uint8).data)
            continue
        few = max(1, _PIECE // max(1, tensor.row_bytes))
        for at in range(0, len(rows), few):
            values = np.empty((len(rows[at : at + few]), *layer.shape), tensor.dtype)
            shard.gather(name, rows[at : at + few], values, np.arange(len(values)))
            for state, value in zip(states[at : at + few], values, strict=True):
                state.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return np.array([list(state.digest()) for state in states], np.uint8)
