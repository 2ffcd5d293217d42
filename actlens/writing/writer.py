"""One writer of a recording: it commits its shards in the background, and seals at the end."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

from actlens.errors import ReadFailed, RecordingError, WriteFailed
from actlens.format.place import WritablePlace
from actlens.format.reader import Shard
from actlens.format.schema import RAGGED, VERSION, Origin, Schema, ShardMeta, writer_name
from actlens.format.shard import Chunks, Committed, write_shard
from actlens.format.stock import ended_well, newest_shards, seal
from actlens.writing.claim import Claimed, claim

_OFTEN_UNKNOWN = {"model", "weights", "layers"}


class Writer:
    """Writes shards under a name that no other writer has.

    One shard is written in the background while the next one fills, so that memory holds two of them
    whatever the number of rows. After a failure every further call raises it again.
    """

    def __init__(self, place: WritablePlace, origin: Origin, *, rank: int, resume: bool) -> None:
        self.place = place
        self._rank = rank
        self._attempt = f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(4)}"
        self._seq = 0
        self._last: Committed | None = None
        self._committed_rows = 0
        self._failure: Exception | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="actlens-writer")
        self._job: Future[None] | None = None
        found: Claimed = claim(place, origin, writer_name(rank, self._attempt), resume=resume)
        self.before, self.recording = found.shards, found.recording
        # What was chosen before stays; how many ranks go on with it may be another number.
        self.origin = msgspec.structs.replace(found.origin, ranks=origin.ranks)
        self._lost, self._joined = found.lost, found.joined

    @property
    def rows_before(self) -> int:
        """Rows of earlier attempts, and of other ranks."""
        return sum(shard.meta.rows for shard in self.before)

    @property
    def ended_before(self) -> bool | None:
        """Whether this rank's newest attempt before this one ended well, as one of as many ranks.

        None where there is none, and nothing that was of another number of ranks.
        """
        if any(shard.meta.origin.ranks != self.origin.ranks for shard in self.before):
            return False  # its share is another now: that it has ended must be said anew
        mine = [shard for shard in self.before if shard.meta.rank == self._rank]
        return mine[-1].meta.last if mine else None

    def commit(self, schema: Schema, tensors: Mapping[str, Chunks], rows: int, *, last: bool = False) -> None:
        """Write a shard in the background; waits for the one before it.

        Raises:
            WriteFailed: that one, or an earlier one, could not be written.
        """
        self.wait()
        meta = ShardMeta(
            version=VERSION,
            requires=(RAGGED,) if schema.indices else (),
            recording=self.recording,
            rank=self._rank,
            attempt=self._attempt,
            seq=self._seq,
            rows=rows,
            last=last,
            prev="",
            digests={},
            schema=schema,
            origin=self.origin,
        )
        self._seq += 1
        self._job = self._pool.submit(self._write, meta, tensors)

    def _write(self, meta: ShardMeta, tensors: Mapping[str, Chunks]) -> None:
        prev = self._last.digest if self._last else ""
        self._last = write_shard(self.place, msgspec.structs.replace(meta, prev=prev), tensors)
        self._committed_rows += meta.rows

    def wait(self) -> None:
        """Wait until what was handed over is committed.

        Raises:
            WriteFailed: it could not be.
        """
        if self._job is not None:
            try:
                self._job.result()
            except OSError as error:
                rows = self._committed_rows + self.rows_before
                self._failure = WriteFailed.shard(self.place.at(), rows, error)
                self._failure.__cause__ = error
            except Exception as error:  # out of memory, say: the sequence has a gap, nothing may follow
                self._failure = error
            self._job = None  # not before: Ctrl-C while waiting must not lose what the job has to say
        if self._failure is not None:
            raise self._failure

    def seal(self, *, idle: bool = False) -> None:
        """Write the manifest anew from the shards, and end the writer; `idle` where it had nothing to write.

        Raises:
            WriteFailed: the manifest could not be replaced; the shards are committed all the same.
        """
        self.wait()
        self._pool.shutdown()
        try:
            self.place.end(idle=idle)
            newest = newest_shards(self.place)
            self._agree_with(newest)
            if newest and ended_well(newest, self.place.idle()):  # else the rank that ends last will do it
                seal(self.place, recording=self.recording, lost=self._lost)
        except (OSError, ReadFailed) as error:
            rows = self._committed_rows + self.rows_before
            raise WriteFailed.manifest(self.place.at(), rows, error) from error
        if self._last is None and not idle:
            self.place.leave()

    def abandon(self) -> None:
        """End without sealing. What is committed stays; where nothing is, nothing is left behind."""
        with contextlib.suppress(Exception):  # said already, or about to be
            self.wait()
        self._pool.shutdown()
        self.place.end()
        if self._last is None:
            self.place.leave()

    def tell(self, origin: Origin) -> None:
        """Say where the rows come from, before the first is committed; what was said before stays."""
        if self.before:
            origin = msgspec.structs.replace(self.origin, weights=origin.weights)
        self.origin = origin

    def hold_to(self, choices: Mapping[str, Any]) -> None:
        """Refuse to go on with other choices than the recording was begun with.

        Raises:
            RecordingError: naming every one that differs.
        """
        if self._joined:
            self._compare(self.origin, choices)

    def _agree_with(self, newest: Iterable[Shard]) -> None:
        """Refuse to seal rows of ranks that began at once, each with a model or layers of its own."""
        mine = {field: getattr(self.origin, field) for field in sorted(_OFTEN_UNKNOWN)}
        for shard in newest:
            self._compare(shard.meta.origin, mine)

    def _compare(self, before: Origin, choices: Mapping[str, Any]) -> None:
        changed: dict[str, tuple[Any, Any]] = {}
        for field, now in choices.items():
            was = getattr(before, field)
            if (was is None or (field in _OFTEN_UNKNOWN and now is None)) and field != "dtype":
                continue  # a plain Recorder knows no model
            if isinstance(was, dict) and isinstance(now, dict):
                keys = [key for key in {**was, **now} if was.get(key, "absent") != now.get(key, "absent")]
                changed |= {
                    f"{field}[{key!r}]": (was.get(key, "absent"), now.get(key, "absent")) for key in keys
                }
                if not keys and list(was) != list(now):  # of two patterns that match, the last decides
                    changed[f"the order of {field}"] = list(was), list(now)
            elif was != now:
                changed[field] = (was, now)
        if changed:
            raise RecordingError.choices_changed(changed)
