"""Recorder: batches of activations in, committed shards out."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actlens.errors import RecordingError
from actlens.format.commit import Durability
from actlens.format.schema import Schema
from actlens.writing.buffer import ShardBuffer
from actlens.writing.host import fetch, narrowed
from actlens.writing.ids import Sample, Sampler
from actlens.writing.options import at_least, float_dtype, place_to_write, rank_of
from actlens.writing.origin import framework_of, make_origin
from actlens.writing.ragged import Positions, read_valid
from actlens.writing.rows import Batch, Bookkeeping, Started, batch_of, read_batch
from actlens.writing.schemas import Sizes, join_schemas, schema_of
from actlens.writing.writer import Writer

_NEVER_CLOSED = "was never closed: use it in a with block. Rows that were not committed are lost."


class Recorder:
    """Writes activations to a recording, batch by batch; a context manager.

    When the block ends well, the rest is committed and the recording sealed. When it ends with an exception,
    nothing is sealed and no committed shard is lost; a Recorder with `resume=True` goes on from there.

    Args:
        path: a folder that is empty or not there, or that other ranks are writing; or an address.
        sample: which samples to keep, by their ids alone: a fraction (a seeded hash, so the same samples in
            every epoch, run, rank and framework), a list of ids, or a function (samples,) ids → (samples,)
            booleans.
        seed: of the hash.
        dtype: what floats are stored as, e.g. "float16" or "bfloat16"; integers and bools stay.
        shard_bytes: how much is committed at a time; two shards are held in memory.
        durability: "fsync" survives power loss, "rename" a killed process, and is faster.
        resume: go on with a recording that is there. Rows that it has are left out, by id and step.
        rank, ranks: the number of this process and how many there are, where several write one recording.
        Each
            gives ids; a sample that two of them wrote counts once. No locks, no messages, none is the first.

    Raises:
        RecordingExists: the path is taken; nothing there was touched.
        WriteFailed: the folder cannot be made.

    >>> import tempfile, numpy as np, actlens
    >>> path = tempfile.mkdtemp() + "/run"
    >>> with actlens.Recorder(path) as rec:
    ...     rec.write({"fc": np.zeros((3, 2), np.float32)}, label=[0, 1, 2])
    3
    >>> actlens.open(path)["fc"].shape
    (3, 2)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample: Sample = 1.0,
        seed: int = 0,
        dtype: str | None = None,
        shard_bytes: int = 64 << 20,
        durability: Durability = "fsync",
        resume: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._open = False
        self._pid, self._lock = os.getpid(), threading.RLock()
        seed = at_least("seed", seed, 0)
        self._ranks = at_least("ranks", ranks, 1, most=100_000)
        self._rank = rank_of(rank, self._ranks)
        self._sampler = Sampler(sample, seed)
        self._dtype = float_dtype(dtype)
        self._shard_bytes = at_least("shard_bytes", shard_bytes, 1)
        self._seen = self._kept = 0
        self._schema: Schema | None = None
        self._buffer: ShardBuffer | None = None
        self._choices: dict[str, Any] = {"sample": str(self._sampler), "seed": seed, "dtype": dtype}
        self._provenance: dict[str, Any] = {"ranks": self._ranks}
        self._books, self._sizes = Bookkeeping(), Sizes()
        place = place_to_write(path, durability)
        origin = make_origin(self._choices, self._provenance)
        self._writer = Writer(place, origin, rank=self._rank, resume=resume)
        self._open = True
        self._go_on(resume=resume)

    @property
    def path(self) -> Any:
        """Where the recording is: a path, or the address of a remote one."""
        return self._writer.place.at()

    @property
    def rows(self) -> int:
        """Rows kept so far, committed or about to be."""
        return self._kept

    def write(
        self,
        acts: Mapping[str, Any],
        /,
        *,
        id: Any = None,
        mask: Any = None,
        lengths: Any = None,
        **columns: Any,
    ) -> int:
        """Add a batch; give the number of rows that were kept.

        Args:
            acts: layer → array with the rows first, `(samples, …)`: of numpy or of a framework.
            id: one integer or text for each row; 0, 1, 2 … over the recording where left out.
            mask: (samples, positions), true or 1 where a position counts, such as a tokenizer's
                attention_mask: only those are stored, of the layers `(samples, positions, …)`. Or a dict
                layer → its own mask.
            lengths: (samples,), how many positions count, from the first on; instead of `mask`.
            **columns: one value for each row, or one for all: numbers, bools, text.

        Raises:
            InputError: rows, ids or columns do not fit; the batch is left out whole, the recorder can go on.
            RecordingError: a layer or column is not as in the batches before; the same.
            WriteFailed: an earlier shard could not be written.
        """
        with self._lock:
            return self.finish(self.start(acts, (mask, lengths), id=id, **columns))

    def start(
        self,
        acts: Mapping[str, Any],
        positions: Positions = (None, None),
        /,
        *,
        id: Any = None,
        **columns: Any,
    ) -> Started:
        """Check a batch and start its copy to the host; `finish` adds it. Together they are `write`.

        Between the two the model may run on: so `record()` hides the copy. `positions`: mask and lengths.
        """
        with self._lock:
            self._require_open()
            batch = read_batch(acts, id=id, columns=columns, first_id=self._seen)
            if self._ranks > 1 and not batch.given_ids:
                raise RecordingError.needs_ids(self._rank)
            batch = self._books.admitted(batch, self._sampler)
            valid = read_valid(acts, positions, batch.rows, schema=self._schema)
            schema = schema_of(acts, batch, valid, self._dtype)
            join_schemas(self._schema, schema, batch.columns)
            wait = fetch(dict(acts), batch.kept if len(batch.kept) < batch.rows else None)
            first = self._schema is None  # from here on, nothing fails
            if self._buffer is None:
                self._begin(acts, batch, self._schema or schema)
            self._books.note(batch)
            self._seen += batch.rows
            valid = valid.of_rows(batch.kept)
            self._sizes.count(schema, valid, len(batch.kept))
            return Started(batch, valid, wait, first)

    def finish(self, started: Started) -> int:
        """Wait for the copy of a batch and add its rows; give how many."""
        batch = started.batch
        with self._lock:
            try:
                arrays = started.valid.flat(started.wait())
                if self._dtype is not None:
                    arrays = {key: narrowed(array, self._dtype, key) for key, array in arrays.items()}
            except BaseException:
                self.drop(started)
                raise
            assert self._buffer is not None and self._schema is not None  # noqa: S101, PT018 - of start()
            for tensors, rows in self._buffer.add(arrays, batch.kept_columns(), started.valid):
                self._writer.commit(self._schema, tensors, rows)
            self._kept += len(batch.kept)
            return len(batch.kept)

    def drop(self, started: Started) -> None:
        """Undo `start`, so that a batch that will not be finished leaves nothing behind."""
        with self._lock:
            self._books.forget(started.batch, first=started.first)
            self._seen -= started.batch.rows
            if self._schema is not None:
                self._sizes.count(self._schema, started.valid, len(started.batch.kept), sign=-1)
            if started.first and not self._kept:  # else others' rows are in the buffer
                self._schema, self._buffer = None, None

    def skip(self, rows: int, /, *, id: Any = None, **columns: Any) -> bool:
        """Pass over a batch of which nothing would be kept, before its forward; say whether it was."""
        with self._lock:
            batch = batch_of(rows, id=id, columns=columns, first_id=self._seen)
            if len(self._books.admitted(batch, self._sampler).kept):
                return False
            self._seen += rows
            return True

    @property
    def total_rows(self) -> int:
        """Rows of the recording: those kept so far, and those of earlier attempts."""
        return self._kept + self._writer.rows_before

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as stored, on average where rows are ragged; 0 before the first batch."""
        return self._sizes.per_row

    @property
    def fraction(self) -> float:
        """The share of samples that is kept; 1 where `sample=` is no fraction."""
        return self._sampler.fraction or 1.0

    def flush(self) -> None:
        """Commit the rows so far, as a shard of its own, and wait until they are on the disk."""
        with self._lock:
            self._require_open()
            self._commit_rest(last=False)
            self._writer.wait()

    def close(self) -> None:
        """Commit what is left, and seal the recording once all ranks have ended.

        Raises: RecordingError where no row was kept, and nothing is left at the path; WriteFailed.
        """
        with self._lock:
            if not self._open:
                return
            self._require_open()
            self._open = False
            try:
                ended = self._writer.ended_before
                if self._kept or ended is False:
                    self._commit_rest(last=True)
                elif self._ranks == 1 and not self._writer.before:
                    raise RecordingError.no_rows(self.path, self._seen, self._choices["sample"])
                self._writer.seal(idle=not self._kept and ended is None)
            except BaseException:
                self._writer.abandon()
                raise

    def abandon(self) -> None:
        """End without sealing: what an exception in the `with` block does."""
        with self._lock:
            was_open, self._open = self._open, False
            if was_open and self._pid == os.getpid():  # a forked child leaves its parent's files alone
                self._writer.abandon()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        if getattr(self, "_open", False) and self._pid == os.getpid():
            warnings.warn(f"the recorder of {self.path} {_NEVER_CLOSED}", ResourceWarning, stacklevel=2)
            self.abandon()

    def describe(self, **provenance: Any) -> None:
        """Say what is recorded: model, weights, patterns; an error where the rows so far are of others."""
        self._writer.hold_to(provenance)
        self._provenance |= provenance

    def _require_open(self) -> None:
        if not self._open:
            raise RecordingError.closed(self.path)
        if self._pid != os.getpid():
            raise RecordingError.other_process(self.path)

    def _commit_rest(self, *, last: bool) -> None:
        if self._schema is not None:
            tensors, rows = (self._buffer or ShardBuffer(self._schema, self._shard_bytes)).take()
            if rows or last:
                self._writer.commit(self._schema, tensors, rows, last=last)

    def _begin(self, acts: Mapping[str, Any], batch: Batch, schema: Schema) -> None:
        """Take the schema, and what the manifest says, from the first batch."""
        self._schema = schema
        self._buffer = ShardBuffer(schema, self._shard_bytes)
        self._provenance |= framework_of(acts) | {"ids": "given" if batch.given_ids else "numbered"}
        self._writer.tell(make_origin(self._choices, self._provenance))

    def _go_on(self, *, resume: bool) -> None:
        """Take over from the shards that are there: their schema, the choices made then, and their ids."""
        try:
            self._writer.hold_to(self._choices)
            if self._writer.before:
                self._schema = self._writer.before[0].meta.schema
            if resume:
                self._books.load(self._writer.before)
        except BaseException:
            self.abandon()
            raise
