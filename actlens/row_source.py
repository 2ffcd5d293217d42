"""The rows of a recording: which shard holds which, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, NotFound, RecordingNotFound
from actlens.format import manifest as index
from actlens.format.dtypes import DTYPES
from actlens.format.reader import Shard, Verify
from actlens.format.schema import ACT, LayerSpec, Origin, Schema

Rows = npt.NDArray[np.int64]


class RowSource:
    """All committed rows of one recording, in order: by rank, attempt and sequence number.

    The shards are the truth. A sealed manifest saves opening them all; shards that came after it are read
    themselves, and shards that it names and that are gone are an error.
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[index.ShardEntry],
        *,
        schema: Schema,
        origin: Origin,
        sealed: bool,
        mmap: bool,
        verify: Verify,
    ) -> None:
        self.folder = folder
        self.schema = schema
        self._origin = origin
        self._sealed = sealed
        self._entries = list(entries)
        self._bytes = sum(entry.bytes for entry in entries)
        self._starts = np.cumsum([0, *(entry.rows for entry in self._entries)])
        self._mmap = mmap
        self._verify: Verify = verify
        self._shards: dict[int, Shard] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {}

    @classmethod
    def of(
        cls,
        folder: Path,
        manifest: index.Manifest | None,
        on_disk: Sequence[str],
        *,
        mmap: bool,
        verify: Verify,
    ) -> RowSource:
        """Take stock of a folder: what the manifest lists, and what else is committed."""
        listed = [entry.path for entry in manifest.shards] if manifest else []
        there = set(on_disk)
        missing = [path for path in listed if path not in there]
        if missing:
            raise CorruptRecording.missing_shards(folder, missing)
        if manifest is not None and manifest.sealed and listed == list(on_disk) and manifest.schema:
            return cls(
                folder,
                manifest.shards,
                schema=manifest.schema,
                origin=manifest.origin,
                sealed=True,
                mmap=mmap,
                verify=verify,
            )
        uuid = manifest.recording if manifest else None
        shards = index.open_shards(folder, on_disk, recording=uuid, verify=verify)
        if not shards:
            raise RecordingNotFound.no_shards(folder)
        _check_one_schema(shards)
        meta = shards[0].meta
        entries = [index.entry(folder, shard) for shard in shards]
        return cls(
            folder, entries, schema=meta.schema, origin=meta.origin, sealed=False, mmap=mmap, verify=verify
        )

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self._starts[-1])

    def info(self) -> dict[str, Any]:
        """Give the origin, and what lies on the disk."""
        origin = {key: value for key, value in msgspec.to_builtins(self._origin).items() if value is not None}
        return {
            **origin,
            "path": str(self.folder),
            "sealed": self._sealed,
            "shards": len(self._entries),
            "bytes": self._bytes,
        }

    def read(self, layer: LayerSpec, rows: Rows | range | None, *, scan: bool = False) -> npt.NDArray[Any]:
        """Read rows of a layer, in the order given; None for all. A new array, or a view with mmap."""
        if rows is None:
            return self._read_span(layer, 0, self.rows, scan=False)
        if isinstance(rows, range):
            if rows.step == 1:
                return self._read_span(layer, rows.start, rows.stop, scan=scan)
            rows = np.arange(rows.start, rows.stop, rows.step)
        if len(rows) and (np.diff(rows) == 1).all():
            return self._read_span(layer, int(rows[0]), int(rows[-1]) + 1, scan=scan)
        return self._gather(layer, rows)

    def spans(self, layer: LayerSpec, rows_at_a_time: int) -> Iterator[npt.NDArray[Any]]:
        """Read a layer once from end to end, a span of rows at a time; every byte is checked."""
        for first in range(0, self.rows, rows_at_a_time):
            yield self._read_span(layer, first, min(first + rows_at_a_time, self.rows), scan=True)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column, all rows."""
        if name not in self._columns:  # kept: columns are small beside the layers
            values = np.concatenate([self._shard(i).column(name) for i in range(len(self._entries))])
            values.flags.writeable = False
            self._columns[name] = values
        return self._columns[name]

    def _shard(self, number: int) -> Shard:
        """Open a shard, and hold it to the manifest."""
        shard = self._shards.get(number)
        if shard is None:
            entry = self._entries[number]
            shard = Shard(self.folder / entry.path, verify=self._verify)
            if (shard.digest, shard.meta.rows) != (entry.digest, entry.rows):
                raise CorruptRecording.shard(shard.path, "it is not the shard that the manifest lists")
            if shard.meta.schema != self.schema:
                raise CorruptRecording.shard(shard.path, "its layers or columns differ from the recording's")
            self._shards[number] = shard
        return shard

    def _read_span(self, layer: LayerSpec, first: int, last: int, *, scan: bool) -> npt.NDArray[Any]:
        name = ACT + layer.key
        numbers = self._shards_between(first, last)
        if self._mmap and len(numbers) == 1:
            start = int(self._starts[numbers[0]])
            return self._shard(numbers[0]).map(name, first - start, last - start)
        out = np.empty((max(0, last - first), *layer.shape), DTYPES[layer.dtype])
        for number in numbers:
            start = int(self._starts[number])
            lo, hi = max(first, start), min(last, start + self._entries[number].rows)
            self._shard(number).read_into(name, lo - start, out[lo - first : hi - first], scan=scan)
        return out

    def _shards_between(self, first: int, last: int) -> range:
        if first >= last:
            return range(0)
        lo = int(np.searchsorted(self._starts, first, "right")) - 1
        return range(lo, int(np.searchsorted(self._starts, last, "left")))

    def _gather(self, layer: LayerSpec, rows: Rows) -> npt.NDArray[Any]:
        """Read single rows: in the order of the disk, each once, then in the order asked for."""
        unique, back = np.unique(rows, return_inverse=True)
        out = np.empty((len(unique), *layer.shape), DTYPES[layer.dtype])
        owners = np.searchsorted(self._starts, unique, "right") - 1
        for number in np.unique(owners).tolist():
            mine = np.flatnonzero(owners == number)
            local = unique[mine] - self._starts[number]
            self._shard(number).gather(ACT + layer.key, local, out[mine[0] : mine[-1] + 1])
        return out if len(unique) == len(rows) and (back == np.arange(len(rows))).all() else out[back]


class Columns(Mapping[str, npt.NDArray[Any]]):
    """Column → values of the rows of one recording; read when first asked for."""

    def __init__(self, source: RowSource, rows: Rows | None) -> None:
        self._source = source
        self._rows = rows

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self:
            raise NotFound.column(name, self)
        values = self._source.column(name)
        return values if self._rows is None else values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter([column.name for column in self._source.schema.columns])

    def __len__(self) -> int:
        return len(self._source.schema.columns)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self._source.schema.columns)

    def __repr__(self) -> str:
        return f"<columns {', '.join(self)}>"


def _check_one_schema(shards: Sequence[Shard]) -> None:
    for shard in shards:
        if shard.meta.schema != shards[0].meta.schema:
            raise CorruptRecording.shard(shard.path, "its layers or columns differ from the first shard's")
