"""Recorder: batches of activations in, committed shards out."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from actlens._version import __version__
from actlens.backend import backend_of, root_of
from actlens.errors import RecordingError
from actlens.format.commit import Durability
from actlens.format.schema import Origin, Schema
from actlens.writing.buffer import ShardBuffer, join_schemas, row_bytes, schema_of
from actlens.writing.host import Arrays, fetch, narrowed
from actlens.writing.ids import Sample, Sampler
from actlens.writing.options import at_least, check_durability, float_dtype
from actlens.writing.rows import Batch, Bookkeeping, batch_of, read_batch
from actlens.writing.writer import Writer


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A batch whose copy to the host is under way."""

    batch: Batch
    wait: Callable[[], Arrays]


class Recorder:
    """Writes activations to a recording, batch by batch.

    Used as a context manager. When the block ends well, the rest is committed and the recording sealed.
    When it ends with an exception, nothing is sealed and no committed shard is lost; a Recorder with
    `resume=True` goes on from there.

    Args:
        path: a folder that does not exist, or is empty.
        sample: which samples to keep, decided by their ids alone: a fraction (a seeded hash of the id, so
            the same samples in every epoch, run, rank and framework), a list of ids, or a function
            from an array of ids (samples,) to an array of booleans (samples,).
        seed: of the hash.
        dtype: what floats are stored as, e.g. "float16" or "bfloat16"; integers and bools stay.
        shard_bytes: how much is committed at a time; two shards are held in memory.
        durability: "fsync" survives power loss, "rename" a killed process, and is faster.
        resume: go on with a recording that is there. Rows that it has are left out, by id and step.
        rank: the number of this process, where several write one recording.

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
        shard_bytes: int = 256 << 20,
        durability: Durability = "fsync",
        resume: bool = False,
        rank: int = 0,
    ) -> None:
        self._open = False
        self._sampler = Sampler(sample, seed)
        self._dtype = float_dtype(dtype)
        self._shard_bytes = at_least("shard_bytes", shard_bytes, 1)
        check_durability(durability)
        self._seen = 0
        self._kept = 0
        self._schema: Schema | None = None
        self._buffer: ShardBuffer | None = None
        self._provenance: dict[str, Any] = {}
        self._choices: dict[str, Any] = {"sample": str(self._sampler), "seed": seed, "dtype": dtype}
        self._writer = Writer(
            Path(path),
            self._origin(),
            rank=at_least("rank", rank, 0),
            durability=durability,
            resume=resume,
        )
        self._open = True
        self._books = Bookkeeping()
        if self._writer.before:
            self._go_on()

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return self._writer.path

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
            id: one integer or text for each row; 0, 1, 2 … over the whole recording where left out.
            mask: reserved for ragged rows.
            lengths: reserved for ragged rows.
            **columns: one value for each row, or one for all: numbers, bools, text.

        Raises:
            InputError: rows, ids or columns do not fit; the batch is left out whole, the recorder can go on.
            RecordingError: a layer or column is not as in the batches before; the same.
            WriteFailed: an earlier shard could not be written.
        """
        return self.finish(self.start(acts, id=id, mask=mask, lengths=lengths, **columns))

    def start(
        self,
        acts: Mapping[str, Any],
        /,
        *,
        id: Any = None,
        mask: Any = None,
        lengths: Any = None,
        **columns: Any,
    ) -> Started:
        """Check a batch and start its copy to the host; `finish` adds it. Together they are `write`.

        Between the two, the model may run on: that is how `record()` hides the copy.
        """
        if not self._open:
            raise RecordingError.closed(self.path)
        batch = read_batch(acts, id=id, ragged=(mask, lengths), columns=columns, first_id=self._seen)
        batch = self._books.admitted(batch, self._sampler)
        self._set_schema(acts, batch)
        self._books.note(batch)
        self._seen += batch.rows
        wait = fetch(dict(acts), batch.kept if len(batch.kept) < batch.rows else None)
        return Started(batch, wait)

    def finish(self, started: Started) -> int:
        """Wait for the copy of a batch and add its rows; give how many."""
        batch, arrays = started.batch, started.wait()
        if self._dtype is not None:
            arrays = {key: narrowed(array, self._dtype, key) for key, array in arrays.items()}
        assert self._buffer is not None and self._schema is not None  # noqa: S101, PT018 - start() set them
        for tensors, rows in self._buffer.add(arrays, batch.kept_columns(), len(batch.kept)):
            self._writer.commit(self._schema, tensors, rows)
        self._kept += len(batch.kept)
        return len(batch.kept)

    def skip(self, rows: int, /, *, id: Any = None, **columns: Any) -> bool:
        """Pass over a batch if none of its rows would be kept; say whether it was.

        For a loop that can then spare itself the forward: rows that are not sampled, or that a resumed
        recording has already.
        """
        batch = batch_of(rows, id=id, columns=columns, first_id=self._seen)
        if len(self._books.admitted(batch, self._sampler).kept):
            return False
        self._seen += rows
        return True

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as stored; 0 before the first batch."""
        return row_bytes(self._schema) if self._schema else 0

    @property
    def fraction(self) -> float | None:
        """The share of samples that is kept, where `sample=` is a fraction."""
        return self._sampler.fraction

    def flush(self) -> None:
        """Commit the rows so far, as a shard of its own, and wait until they are on the disk."""
        if not self._open:
            raise RecordingError.closed(self.path)
        self._commit_rest(last=False)
        self._writer.wait()

    def close(self) -> None:
        """Commit what is left and seal the recording.

        Raises:
            RecordingError: no row was kept; nothing is left at the path.
            WriteFailed: the disk refused.
        """
        if not self._open:
            return
        self._open = False
        try:
            if not self._kept and not self._writer.before:
                raise RecordingError.no_rows(self.path, self._seen, self._choices["sample"])
            if self._kept:
                self._commit_rest(last=True)
            self._writer.seal()
        except BaseException:
            self._writer.abandon()
            raise

    def abandon(self) -> None:
        """End without sealing: what an exception in the `with` block does."""
        if self._open:
            self._open = False
            self._writer.abandon()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            warnings.warn(
                f"the recorder of {self.path} was never closed: use it in a with block. "
                "Rows that were not committed are lost.",
                ResourceWarning,
                stacklevel=2,
            )
            self.abandon()

    def describe(self, *, model: str, layers: dict[str, str | None]) -> None:
        """Say what is recorded, for the manifest: the model's class and the patterns."""
        self._provenance = {"model": model, "layers": layers}

    def _commit_rest(self, *, last: bool) -> None:
        if self._buffer is not None and self._schema is not None:
            tensors, rows = self._buffer.take()
            if rows or last:
                self._writer.commit(self._schema, tensors, rows, last=last)

    def _set_schema(self, acts: Mapping[str, Any], batch: Batch) -> None:
        """Take the schema from the first batch; hold the later ones to it."""
        schema = schema_of(acts, batch, self._dtype)
        if self._schema is not None:
            join_schemas(self._schema, schema)
        if self._buffer is None:
            self._schema = self._schema or schema
            self._buffer = ShardBuffer(self._schema, self._shard_bytes)
            framework = next((array for array in acts.values() if root_of(type(array)) is not None), None)
            if framework is not None:
                backend = backend_of(framework)
                self._provenance |= {"framework": backend.name, "framework_version": backend.version()}
            if not self._writer.before:
                self._writer.origin = self._origin()

    def _go_on(self) -> None:
        """Take over from the shards that are there: their schema, their ids, and the choices made then."""
        shards = self._writer.before
        self._schema = shards[0].meta.schema
        was = self._writer.origin
        for field, now in self._choices.items():
            if getattr(was, field) != now:
                self._writer.abandon()
                self._open = False
                raise RecordingError.choice_changed(field, getattr(was, field), now)
        self._books.load(shards)

    def _origin(self) -> Origin:
        return Origin(
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            actlens=__version__,
            python=platform.python_version(),
            platform=f"{platform.system().lower()}-{platform.machine()}",
            **self._choices,
            **self._provenance,
        )
