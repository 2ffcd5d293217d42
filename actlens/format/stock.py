"""Which shards are committed, and that together they are one recording; sealing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

from actlens.errors import CorruptRecording, RecordingNotFound
from actlens.format import manifest as index
from actlens.format.duplicates import Each, repeated_rows
from actlens.format.manifest import Lost, Manifest
from actlens.format.place import SHARDS, Place, WritablePlace
from actlens.format.reader import Shard, Verify
from actlens.format.schema import shard_name

_LISTINGS = 5
_PAUSE = 0.02  # seconds
_NAMED = 1 << 16  # missing shards of a writer


def committed_paths(place: Place, lost: Iterable[str] = ()) -> list[str] | None:
    """List the committed shards, and find that none is missing; None where the place cannot be listed.

    A folder that is listed while somebody writes into it may show a later file and not an earlier one: a gap
    is believed when it is still there the next time.

    Raises:
        CorruptRecording: a shard is missing from a writer's sequence.
    """
    missing: list[str] = []
    for attempt in range(_LISTINGS):
        paths = place.shard_paths()
        if paths is None:
            return None
        missing = gaps(paths, set(lost))
        if not missing:
            return paths
        if attempt + 1 < _LISTINGS:
            time.sleep(_PAUSE)
    raise CorruptRecording.missing_shards(place.at(), missing)


def gaps(paths: Sequence[str], lost: set[str]) -> list[str]:
    """Name the shards that must have been there before those that are, and are not among the lost.

    Of each writer so many at most: before a file called 99999999 they are a hundred million.
    """
    missing: list[str] = []
    for writer, group in groupby(paths, lambda path: path.rpartition("/")[0]):
        there = {int(path.rpartition("/")[2].partition(".")[0]) for path in group}
        expected = range(max(there) + 1)
        if len(there) == len(expected):
            continue
        names = (f"{writer}/{shard_name(seq)}" for seq in expected if seq not in there)
        missing += itertools.islice((name for name in names if name not in lost), _NAMED)
    return missing


def open_shards(
    place: Place,
    paths: Iterable[str],
    *,
    recording: str | None,
    verify: Verify = "stream",
    lost: Iterable[str] = (),
) -> list[Shard]:
    """Open shards and check that they are one recording: same id, own names, unbroken chains."""
    shards: list[Shard] = []
    before: dict[str, Shard] = {}
    given_up = set(lost)
    paths = list(paths)
    opened = place.map(lambda path: Shard(place.blob(path), verify=verify), paths)
    for path, shard in zip(paths, opened, strict=True):
        meta = shard.meta
        if meta.recording != (recording or (shards or [shard])[0].meta.recording):
            raise CorruptRecording.shard(shard.path, "it belongs to another recording")
        check_name(shard, path)
        earlier = before.get(meta.writer)
        gap = f"{SHARDS}/{meta.writer}/{shard_name(meta.seq - 1)}" in given_up
        if meta.prev != (earlier.digest if earlier else "") and not gap:
            raise CorruptRecording.shard(shard.path, "it does not follow the shard before it")
        before[meta.writer] = shard
        shards.append(shard)
    return shards


def check_name(shard: Shard, path: str) -> None:
    """Refuse a shard that says that it is another."""
    if shard.name != path:
        raise CorruptRecording.shard(shard.path, "it was renamed: it says it is " + shard.name)


def check_one_schema(shards: Sequence[Shard]) -> None:
    """Refuse shards whose layers or columns differ, and ranks that each counted their own ids."""
    for shard in shards:
        if shard.meta.schema != shards[0].meta.schema:
            raise CorruptRecording.other_schema(shard.path, shards[0].path)
    ranks = {shard.meta.rank for shard in shards}
    numbered = [shard for shard in shards if shard.meta.origin.ids == "numbered"]
    if len(ranks) > 1 and numbered:
        raise CorruptRecording.numbered_ranks(numbered[0].path, sorted(ranks))


def taken_stock(
    shards: Sequence[Shard],
    *,
    recording: str,
    lost: Sequence[Lost] = (),
    idle: Iterable[str] = (),
    each: Each = map,
) -> Manifest:
    """Make the manifest of shards: a function of them, and of the writers that had nothing to write."""
    check_one_schema(shards)
    dropped = repeated_rows(shards, each)
    first = shards[0].meta
    return Manifest(
        recording=recording,
        requires=first.requires,
        sealed=ended_well(shards, idle),
        origin=first.origin,
        rows=sum(shard.meta.rows for shard in shards),
        schema=first.schema,
        shards=tuple(index.entry(shard, dropped.get(n, ())) for n, shard in enumerate(shards)),
        lost=tuple(lost),
    )


def ended_well(shards: Sequence[Shard], idle: Iterable[str]) -> bool:
    """Say whether every rank has ended well, by its newest attempt; how many there are, the newest says.

    An attempt that was one of another number of ranks had another share of the samples.
    """
    ranks = max(shards, key=lambda shard: shard.meta.attempt).meta.origin.ranks
    ended = {
        (shard.meta.rank, shard.meta.attempt): shard.meta.last and shard.meta.origin.ranks == ranks
        for shard in shards
    }
    ended |= {(int(name[:5]), name[6:]): True for name in idle}
    newest = {rank: last for (rank, _), last in sorted(ended.items())}
    return all(newest.get(rank, False) for rank in range(ranks))


def newest_shards(place: WritablePlace) -> list[Shard]:
    """Open the newest shard of each writer."""
    paths = place.shard_paths() or []
    lasts = {path.rpartition("/")[0]: path for path in paths}
    return [Shard(place.blob(path)) for path in lasts.values()]


def seal(place: WritablePlace, *, recording: str, lost: Sequence[Lost] = ()) -> Manifest:
    """Make the manifest from the shards that are there, and put it in place.

    Two sealers of the same shards write the same bytes. One that finds, after it wrote, that shards came in
    the meantime does it again: so the last word has all of them.
    """
    given_up = [one.path for one in lost]
    while True:
        paths = committed_paths(place, given_up) or []
        shards = open_shards(place, paths, recording=recording, lost=given_up)
        if not shards:
            raise RecordingNotFound.no_shards(place.at())
        idle = place.idle()
        manifest = taken_stock(shards, recording=recording, lost=lost, idle=idle, each=place.map)
        index.replace(place, manifest)
        if (place.shard_paths(), place.idle()) == (paths, idle):
            return manifest
