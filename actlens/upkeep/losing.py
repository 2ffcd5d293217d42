"""What a recording has lost: which shards, and which samples were in them.

It follows from what lies on the disk, in `shards/` and in `set-aside/`, and from the manifest: a repair that
was killed half way, or done twice, finds the same again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, ReadFailed, UnsupportedFormat
from actlens.format.manifest import Lost
from actlens.format.place import Place
from actlens.format.reader import Shard
from actlens.format.schema import ID, STEP
from actlens.format.stock import gaps
from actlens.upkeep.shard_check import AsMeant, Facts, ShardCheck
from actlens.upkeep.surroundings import SET_ASIDE
from actlens.upkeep.verifying import Examination

_SHARD_PATH = re.compile(r"shards/\d{5}-[0-9a-z-]{1,64}/\d{8}\.safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class LostShard:
    """One shard that was given up.

    Attributes:
        path: where it lay in the recording.
        rows: how many rows it had; -1 where nothing tells.
        why: what was wrong with it.
        ids: the ids of the samples that the recording lacks now, those that other shards have left out; None
            where they cannot be read.
        steps: the step of each, where there is a column `step`.
        after, before: the ids of the rows around it, from the same writer; None at its ends.
    """

    path: str
    rows: int
    why: str
    ids: tuple[Any, ...] | None = None
    steps: tuple[Any, ...] | None = None
    after: Any = None
    before: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Remains:
    """A file that is no shard of the recording any more: `file` is where it lies, relative to the recording.

    `path` is the shard that it was; None for a file of another recording.
    """

    file: str
    path: str | None
    why: str
    facts: Facts | None


def remains(result: Examination, set_aside: Iterable[str]) -> list[Remains]:
    """Look at every file that is damaged, and at those that earlier repairs have set aside."""
    found = [
        _remains(check.path, check, check.problems[0].what, result.recording)
        for check in result.checks
        if not check.ok
    ]
    explained = {one.path for one in result.manifest.lost} if result.manifest else set()
    for file in set_aside:
        _, writer, name = file.split("/")
        path = f"shards/{writer}/{name[: len('00000000.safetensors')]}"
        check = ShardCheck(result.place.blob(file), path)
        if check.ok and path not in explained:
            check.data()
        why = check.problems[0].what if check.problems else "it was set aside"
        found.append(_remains(file, check, why, result.recording))
    return found


def _remains(file: str, check: ShardCheck, why: str, recording: str | None) -> Remains:
    """Say which shard a file was: what its header says, else the name under which it lies.

    A file of another recording has taken the place of a shard, unless it lies in a folder of its own writer.
    """
    facts, was = check.facts, check.path
    if facts is not None and facts.recording == recording:
        was = facts.name
    elif facts is not None:
        own = check.path.split("/")[1] == facts.writer
        return Remains(file, None, why, facts) if own else Remains(file, _shard(was), why, None)
    return Remains(file, _shard(was), why, facts)


def _shard(path: str) -> str | None:
    return path if _SHARD_PATH.fullmatch(path) else None


def lost_shards(result: Examination, found: Sequence[Remains]) -> tuple[Lost, ...]:
    """List the shards that the recording has had and that are not there whole."""
    whole = [check.path for check in result.checks if check.ok]
    manifest = result.manifest
    said = {one.path: one for one in manifest.lost} if manifest else {}
    listed = {entry.path: entry.rows for entry in manifest.shards} if manifest else {}
    reasons: dict[str, str] = {}
    rows: dict[str, int] = {}
    for one in found:
        if one.path is not None:
            reasons.setdefault(one.path, one.why)
            if one.facts is not None:
                rows.setdefault(one.path, one.facts.rows)
    paths = {*reasons, *result.missing, *said, *listed} - set(whole)
    paths |= set(gaps(sorted({*whole, *paths}), paths))  # before a lost one there were others too
    return tuple(
        said.get(path)
        or Lost(
            path=path,
            rows=rows.get(path, listed.get(path, -1)),
            why=reasons.get(path, "it is missing"),
        )
        for path in sorted(paths)
        if _SHARD_PATH.fullmatch(path)
    )


def described(
    result: Examination, lost: Sequence[Lost], found: Sequence[Remains], moved: Mapping[str, str]
) -> tuple[LostShard, ...]:
    """Say of each lost shard which samples were in it: exactly, where its ids can still be read.

    `moved` says where a file lies by now.
    """
    if not lost:
        return ()
    kept = _Kept(result)
    described = []
    for one in lost:
        files = [moved.get(it.file, it.file) for it in found if it.path == one.path and it.facts is not None]
        keys = next((keys for file in files if (keys := _keys(result.place, file)) is not None), None)
        after, before = kept.around(one.path)
        shard = LostShard(one.path, one.rows, one.why, after=after, before=before)
        if keys is not None:
            ids, steps = kept.lacking(*keys)
            shard = dataclasses.replace(shard, ids=ids, steps=steps)
        described.append(shard)
    return tuple(described)


Column = npt.NDArray[Any]


def _keys(place: Place, file: str) -> tuple[Column, Column | None] | None:
    """Read the ids of a damaged file, and the steps: they count only if they match their digests."""
    try:
        shard = Shard(AsMeant(place.blob(file)))
        steps = any(column.name == STEP for column in shard.meta.schema.columns)
        return shard.column(ID), shard.column(STEP) if steps else None
    except (CorruptRecording, ReadFailed, UnsupportedFormat):
        return None


class _Kept:
    """The ids of the shards that are whole."""

    def __init__(self, result: Examination) -> None:
        self._place = result.place
        self._paths = [check.path for check in result.checks if check.ok]
        self._samples: set[tuple[Any, Any]] | None = None

    def lacking(self, ids: Column, steps: Column | None) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
        """Leave out what other shards have: another rank's copy, or rows recorded again since."""
        if self._samples is None:
            self._samples = set()
            for path in self._paths:
                keys = _keys(self._place, path)
                if keys is not None:
                    self._samples.update(_pairs(*keys))
        rest = [pair for pair in _pairs(ids, steps) if pair not in self._samples]
        return tuple(ident for ident, _ in rest), None if steps is None else tuple(step for _, step in rest)

    def around(self, path: str) -> tuple[Any, Any]:
        """Give the last id before a shard, and the first after it, of the same writer."""
        writer = path.rpartition("/")[0]
        mine = [other for other in self._paths if other.rpartition("/")[0] == writer]
        earlier = [other for other in mine if other < path]
        later = [other for other in mine if other > path]
        return self._end(reversed(earlier), -1), self._end(iter(later), 0)

    def _end(self, paths: Iterable[str], row: int) -> Any:
        for path in paths:
            keys = _keys(self._place, path)
            if keys is not None and len(keys[0]):
                return keys[0][row].item()
        return None


def _pairs(ids: Column, steps: Column | None) -> list[tuple[Any, Any]]:
    return list(
        zip(ids.tolist(), np.zeros(len(ids)).tolist() if steps is None else steps.tolist(), strict=True)
    )


def set_aside_name(path: str, taken: Iterable[str]) -> str:
    """Name the place for a damaged file: its own name, and a number where that is taken.

    >>> set_aside_name("shards/00000-a/00000001.safetensors", ["set-aside/00000-a/00000001.safetensors"])
    'set-aside/00000-a/00000001.safetensors.1'
    """
    name = f"{SET_ASIDE}/{path.removeprefix('shards/')}"
    names = set(taken)
    number, free = 0, name
    while free in names:
        number += 1
        free = f"{name}.{number}"
    return free
