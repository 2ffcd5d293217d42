"""The shards of one recording: what they hold together, each opened when it is first read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from actlens.errors import CorruptRecording, RecordingNotFound
from actlens.format import manifest as index
from actlens.format.digests import hex128_of
from actlens.format.place import Place
from actlens.format.reader import Shard, Verify
from actlens.format.schema import Schema
from actlens.format.stock import check_name, committed_paths, open_shards, taken_stock
from actlens.format.text import joined

Rows = npt.NDArray[np.int64]

_MANY = 1 << 20  # rows; more are believed to a manifest only after a look at the sizes of the files
_MOST_TRAVELLED = 4  # recordings that a worker keeps open from task to task
_travelled: dict[tuple[Any, ...], ShardSet] = {}
_travelled_lock = threading.Lock()
_LEAST_ROW = 8  # bytes that a row has at least in its shard: its id, or the offset of it


class ShardSet:
    """All committed shards, in the order of the rows: by rank, attempt and sequence number.

    The shards are the truth. A manifest that lists just what is there saves opening them all; shards that
    came after it are read themselves, and shards that it names and that are gone are an error.
    """

    def __init__(
        self, place: Place, manifest: index.Manifest, schema: Schema, *, mmap: bool, verify: Verify
    ) -> None:
        self.place = place
        self.schema = schema
        self.entries = manifest.shards
        self._manifest = manifest
        self._mmap = mmap
        self._verify: Verify = verify
        self._shards: dict[int, Shard] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._lengths: dict[str, Rows] = {}
        self._places: dict[str, Rows] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what is known of the recording; another process opens the same shards when it reads."""
        manifest = msgspec.msgpack.encode(self._manifest)
        return _of_another_process, (self.place, manifest, self.schema, self._mmap, self._verify)

    @classmethod
    def of(cls, place: Place, *, mmap: bool, verify: Verify) -> ShardSet:
        """Take stock of a place: what the manifest lists, and what else is committed."""
        manifest = index.load(place)
        lost = manifest.lost if manifest else ()
        given_up = [one.path for one in lost]
        on_disk = committed_paths(place, given_up)
        listed = [entry.path for entry in manifest.shards] if manifest else []
        if on_disk is None:  # a place that cannot be listed: the manifest must do
            if manifest is None or not manifest.sealed:
                raise RecordingNotFound.not_listed(place.at(), there=manifest is not None)
            on_disk = listed
        missing = sorted(set(listed) - set(on_disk))
        if missing:
            raise CorruptRecording.missing_shards(place.at(), missing)
        if manifest is not None and manifest.schema and listed and listed == on_disk:
            if manifest.rows > _MANY:
                _check_claims(place, manifest)
            return cls(place, manifest, manifest.schema, mmap=mmap, verify=verify)
        if not on_disk:
            if manifest is None:
                raise RecordingNotFound.of(place.at(), "it holds neither manifest.json nor shards")
            raise RecordingNotFound.no_shards(place.at())
        uuid = manifest.recording if manifest else None
        shards = open_shards(place, on_disk, recording=uuid, verify=verify, lost=given_up)
        stock = taken_stock(shards, recording=shards[0].meta.recording, lost=lost, each=place.map)
        stock = msgspec.structs.replace(stock, sealed=False)
        return cls(place, stock, shards[0].meta.schema, mmap=mmap, verify=verify)

    def counts(self, along: str = "") -> list[int]:
        """Give the number of rows of each shard; or of positions, along an index of ragged layers."""
        if not along:
            return [entry.rows for entry in self.entries]
        return [entry.positions.get(along, 0) for entry in self.entries]

    def kept(self) -> Rows | None:
        """Give the rows that count, where an earlier writer has some of them already; None for all."""
        if not any(entry.dropped for entry in self.entries):
            return None
        keep = np.ones(sum(self.counts()), bool)
        start = 0
        for entry in self.entries:
            for first, last in entry.dropped:
                if not first < last <= entry.rows:
                    raise CorruptRecording.manifest(self.place.at(), "it drops rows that are not there")
                keep[start + first : start + last] = False
            start += entry.rows
        return np.flatnonzero(keep)

    @property
    def checked(self) -> bool:
        """Whether what is read is compared with its digests."""
        return self._verify != "none"

    def fingerprint(self) -> str:
        """Give 32 hex digits that tell these shards, and which of their rows count, from any others.

        They come from the digests in the manifest or the headers: no data is read, and where the recording
        lies does not matter.
        """
        return hex128_of(
            f"{entry.digest} {[list(span) for span in entry.dropped]}\n".encode() for entry in self.entries
        )

    def info(self) -> dict[str, Any]:
        """Give the origin, and what lies on the disk."""
        origin = msgspec.to_builtins(self._manifest.origin)
        dropped = sum(last - first for entry in self.entries for first, last in entry.dropped)
        return {
            **{key: value for key, value in origin.items() if value is not None},
            "path": str(self.place.at()),
            "recording": self._manifest.recording,
            "sealed": self._manifest.sealed,
            "shards": len(self.entries),
            "writers": len({entry.path.split("/")[1] for entry in self.entries}),
            "bytes": sum(entry.bytes for entry in self.entries),
            "duplicates": dropped,
            "lost": [one.path for one in self._manifest.lost],
        }

    def shard(self, number: int) -> Shard:
        """Open a shard, and hold it to the manifest."""
        shard = self._shards.get(number)
        if shard is None:
            entry = self.entries[number]
            shard = Shard(self.place.blob(entry.path, entry.digest), verify=self._verify)
            check_name(shard, entry.path)
            if index.entry(shard, entry.dropped) != entry:
                raise CorruptRecording.shard(shard.path, "it is not the shard that the manifest lists")
            if shard.meta.recording != self._manifest.recording:
                raise CorruptRecording.shard(shard.path, "it belongs to another recording")
            if shard.meta.schema != self.schema:
                raise CorruptRecording.shard(shard.path, "its layers or columns differ from the recording's")
            self._shards[number] = shard
        return shard

    def mapped(
        self, number: int, tensor: str, first: int, last: int, *, scan: bool
    ) -> npt.NDArray[Any] | None:
        """Give rows of one shard as a view of its file, where that was asked for."""
        if not self._mmap:
            return None
        return self.shard(number).map(tensor, first, last, scan=scan)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column, all rows."""
        if name not in self._columns:  # kept: columns are small beside the layers
            self._columns[name] = _fixed(self._of_each(lambda shard: shard.column(name)))
        return self._columns[name]

    def lengths(self, along: str) -> Rows:
        """Read how many positions each row has along an index: (rows,)."""
        if along not in self._lengths:
            self._lengths[along] = _fixed(self._of_each(lambda shard: np.diff(shard.offsets(along))))
        return self._lengths[along]

    def _of_each(self, read: Callable[[Shard], npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        return list(self.place.map(lambda number: read(self.shard(number)), range(len(self.entries))))

    def places(self, along: str) -> Rows:
        """Read where each position was in its row: (positions,)."""
        if along not in self._places:
            self._places[along] = _fixed(self._of_each(lambda shard: shard.places(along)))
        return self._places[along]


def _of_another_process(
    place: Place, manifest: bytes, schema: Schema, mmap: bool, verify: Verify
) -> ShardSet:
    """Give the same shards, none of them open yet; one set for all that comes from one recording."""
    key = (xxhash.xxh3_128_digest(manifest), str(place.at()), mmap, verify)
    with _travelled_lock:
        if key not in _travelled:
            stock = msgspec.msgpack.decode(manifest, type=index.Manifest)
            _travelled[key] = ShardSet(place, stock, schema, mmap=mmap, verify=verify)
            while len(_travelled) > _MOST_TRAVELLED:
                del _travelled[next(iter(_travelled))]
        return _travelled[key]


def _check_claims(place: Place, manifest: index.Manifest) -> None:
    """Hold the rows that a manifest claims to the sizes of its files, without opening them."""
    for entry in manifest.shards:
        size = place.size(entry.path)
        if size is not None and (size != entry.bytes or entry.rows > size // _LEAST_ROW):
            raise CorruptRecording.shard(place.at(entry.path), "it is not the shard that the manifest lists")


def _fixed(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    values = joined(parts)
    values.flags.writeable = False
    return values
