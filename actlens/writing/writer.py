"""One writer of a recording: it claims the path, commits its shards in the background, seals at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from actlens.errors import ReadFailed, RecordingError, RecordingExists, WriteFailed
from actlens.format import manifest as index
from actlens.format.commit import Durability, sync_folder
from actlens.format.reader import Shard
from actlens.format.schema import VERSION, Origin, Schema, ShardMeta, writer_name
from actlens.format.shard import Chunks, Committed, write_shard


class Writer:
    """Writes shards into a folder that no other writer has.

    One shard is written in the background while the next one fills, so that memory holds two of them
    whatever the number of rows. After a failure every further call raises it again.
    """

    def __init__(
        self, path: Path, origin: Origin, *, rank: int, durability: Durability, resume: bool
    ) -> None:
        self.path = path
        self._durability = durability
        self._made: list[Path] = []
        self._locked: int | None = None
        self._rank = rank
        self._attempt = f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(4)}"
        self._folder: Path | None = None
        self._seq = 0
        self._last: Committed | None = None
        self._committed_rows = 0
        self._failure: Exception | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="actlens-writer")
        self._job: Future[None] | None = None
        self.before: list[Shard] = []
        try:
            found = self._claim(origin, resume=resume)
        except OSError as error:
            self._unmake()
            raise WriteFailed.claim(path, error) from error
        except BaseException:
            self._unlock()
            raise
        self.recording, self.origin = found.recording, found.origin

    def _claim(self, origin: Origin, *, resume: bool) -> index.Manifest:
        """Make the recording, or join it; nothing that is there is touched."""
        fresh = index.Manifest(recording=secrets.token_hex(16), sealed=False, origin=origin)
        if self.path.exists() and not self.path.is_dir():
            raise RecordingExists.other_files(self.path, ["a file"])
        known = index.load(self.path)
        paths = index.shard_paths(self.path)
        if known is None and paths:
            meta = Shard(self.path / paths[0]).meta
            known = index.Manifest(recording=meta.recording, sealed=False, origin=meta.origin)
        if known is None:
            self._refuse_foreign_files()
            self._make_folder(self.path)
            self._make_folder(self.path / index.SHARDS)
            try:
                index.claim(self.path, fresh, durability=self._durability)
            except FileExistsError:  # another writer was quicker
                return self._claim(origin, resume=resume)
            self._made.append(self.path / index.MANIFEST)
            self._lock_or_refuse()
            return fresh
        if not resume:
            raise RecordingExists.recording(self.path)
        self._lock_or_refuse()
        self.before = index.open_shards(self.path, paths, recording=known.recording)
        if self.before:
            return msgspec.structs.replace(known, origin=self.before[0].meta.origin)
        return known

    def _lock_or_refuse(self) -> None:
        """Refuse a recording that another Recorder is writing; the lock ends with its process."""
        fd = os.open(self.path / index.SHARDS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise RecordingExists.in_use(self.path) from error
        except OSError:
            os.close(fd)  # a file system without locks: the claim of the manifest must do
        else:
            self._locked = fd

    def _unlock(self) -> None:
        fd, self._locked = self._locked, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _refuse_foreign_files(self) -> None:
        if self.path.is_dir():
            names = sorted(entry.name for entry in os.scandir(self.path))
            if names and names != [index.SHARDS]:
                raise RecordingExists.other_files(self.path, names)

    def _make_folder(self, folder: Path) -> None:
        for missing in reversed([folder, *folder.parents]):
            if not missing.exists():
                with contextlib.suppress(FileExistsError):  # another rank makes the same folders
                    missing.mkdir()
                    self._made.append(missing)
                if self._durability == "fsync":
                    sync_folder(missing.parent)

    def commit(self, schema: Schema, tensors: Mapping[str, Chunks], rows: int, *, last: bool = False) -> None:
        """Write a shard in the background; waits for the one before it.

        Raises:
            WriteFailed: that one, or an earlier one, could not be written.
        """
        self.wait()
        meta = ShardMeta(
            version=VERSION,
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
        if self._folder is None:
            folder = self.path / index.SHARDS / writer_name(self._rank, self._attempt)
            self._make_folder(folder)
            self._folder = folder
        prev = self._last.digest if self._last else ""
        self._last = write_shard(
            self._folder, msgspec.structs.replace(meta, prev=prev), tensors, durability=self._durability
        )
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
                self._failure = WriteFailed.shard(self.path, self._committed_rows + self.rows_before, error)
                self._failure.__cause__ = error
            except Exception as error:  # out of memory, say: the sequence has a gap, nothing may follow
                self._failure = error
            self._job = None  # not before: Ctrl-C while waiting must not lose what the job has to say
        if self._failure is not None:
            raise self._failure

    def seal(self) -> None:
        """Write the manifest anew from the shards, and end the writer.

        Raises:
            WriteFailed: the manifest could not be replaced; the shards are committed all the same.
        """
        self.wait()
        self._pool.shutdown()
        try:
            index.seal(self.path, recording=self.recording, durability=self._durability)
        except (OSError, ReadFailed) as error:
            raise WriteFailed.manifest(self.path, self._committed_rows + self.rows_before, error) from error
        finally:
            self._unlock()

    def abandon(self) -> None:
        """End without sealing. What is committed stays; where nothing is, nothing is left behind."""
        with contextlib.suppress(Exception):  # said already, or about to be
            self.wait()
        self._pool.shutdown()
        self._unlock()
        if self._last is None:
            self._unmake()

    @property
    def rows_before(self) -> int:
        """Rows of earlier attempts."""
        return sum(shard.meta.rows for shard in self.before)

    def hold_to(self, choices: Mapping[str, Any]) -> None:
        """Refuse to go on with other choices than the recording was begun with.

        Raises:
            RecordingError: naming the first that differs.
        """
        for field, now in choices.items() if self.before else ():
            was = getattr(self.origin, field)
            if was != now and (was is not None or field == "dtype"):  # a plain Recorder knows no model
                raise RecordingError.choice_changed(field, was, now)

    def _unmake(self) -> None:
        """Take back what this writer made, the newest first; only its own files and empty folders."""
        self._unlock()
        for made in reversed(self._made):
            with contextlib.suppress(OSError):  # a folder that is not empty is somebody else's by now
                if made.name == index.MANIFEST:
                    made.unlink()
                else:
                    made.rmdir()
        self._made.clear()
