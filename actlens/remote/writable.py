"""A recording at an address, to be written: every object is put whole, under a name that no other has.

Putting is its own commit: an object is there when its PUT is, and durable when that was answered. What the
answer was may be lost, though. So each object carries a number of its own, and a writer that does not know
looks whether the object that is there is the one that it put.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence

from actlens.errors import ReadFailed
from actlens.format.place import IDLE, MANIFEST, SHARDS, WRITER
from actlens.remote import retry
from actlens.remote.address import Address
from actlens.remote.blob import RemoteBlob
from actlens.remote.cache import HeaderCache
from actlens.remote.place import RemotePlace
from actlens.remote.retry import retried
from actlens.remote.store import Absent, Bytes, Changed, Listed, Piece, StoreError, Taken, WritableStore

JOINED = "joined"
_HEAD = 1 << 16


class Assembled:
    """A shard in memory: it is sent in one piece."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)

    def write_at(self, pieces: Sequence[bytes | memoryview], offset: int) -> None:
        """Write pieces one after the other."""
        for piece in pieces:
            view = memoryview(piece).cast("B")
            self.content[offset : offset + len(view)] = view
            offset += len(view)


class RemoteWritablePlace(RemotePlace):
    """The objects under an address, and new ones."""

    def __init__(self, at: Address, store: WritableStore, cache: HeaderCache) -> None:
        super().__init__(at, store, cache)
        self._objects = store
        self._mark = "actlens_write_id" if at.scheme[0] == "a" else "actlens-write-id"  # Azure takes no '-'
        self._made: list[str] = []
        self._writer = ""

    def foreign(self) -> list[str]:
        """Name what is no part of a recording that has no manifest yet."""
        return [name for name in self._names("") if name not in {MANIFEST, f"{SHARDS}/"}]

    def writers(self) -> list[str]:
        """List the writers: each begins with an object of its own."""
        names = [name.rstrip("/") for name in self._names(SHARDS) if name.endswith("/")]
        return [name for name in names if WRITER.fullmatch(name)]

    def join(self, writer: str) -> None:
        """Make an object that shows the writer to its peers, before it has a shard."""
        self.create(f"{SHARDS}/{writer}/{JOINED}", secrets.token_hex(16).encode())
        self._writer = writer

    def alive(self, writer: str) -> bool:  # noqa: ARG002 - of the protocol
        """Say no: nobody can tell."""
        return False

    def end(self, *, idle: bool = False) -> None:
        """Leave an object that says that there was nothing to write; nothing was held."""
        if idle and self._writer:
            self._create(f"{SHARDS}/{self._writer}/{IDLE}", b"")

    def idle(self) -> list[str]:
        """Name the writers that ended well and had nothing to write."""
        return [name for name in self.writers() if IDLE in self._names(f"{SHARDS}/{name}")]

    def leave(self) -> None:
        """Remove what was made; the manifest where no other writer has its recording's id from it."""
        with contextlib.suppress(StoreError, ReadFailed):
            for path in reversed(self._made):
                if path != MANIFEST or len(self.writers()) <= 1:
                    retried(lambda path=path: self._objects.delete(path))  # type: ignore[misc]
        self._made.clear()

    def create(self, name: str, content: bytes) -> None:
        """Put an object that must not be there."""
        self._create(name, content)
        self._made.append(name)

    def replace(self, name: str, content: bytes) -> None:
        """Put an object in place of one that may be there."""
        retried(lambda: self._objects.put(name, content, {}, create=False))
        self._made = [made for made in self._made if made != name]

    @contextlib.contextmanager
    def committed(self, path: str, size: int) -> Iterator[Assembled]:
        """Give memory for a shard; it is put when the block ends well."""
        shard = Assembled(size)
        yield shard
        tag = self._create(path, shard.content)
        self._made = []  # from now on there is a recording
        if tag:  # sealing reads all headers
            listed = Listed(size, tag)
            blob = RemoteBlob(self._store, path, self.at(path), listed=listed, cache=self._cache)
            blob.keep(Piece(shard.content, size, tag))

    def _create(self, path: str, content: Bytes) -> str:
        """Put an object, and be sure of it; give its tag, or '' where that was lost with the answer.

        Raises:
            FileExistsError: another writer has put one.
            StoreError: it was not put, or nobody knows.
        """
        mark = secrets.token_hex(16)
        for attempt in range(retry.TRIES):
            try:
                return self._objects.put(path, content, {self._mark: mark}, create=True)
            except StoreError as error:
                if not error.again and not isinstance(error, (Taken, Changed)):
                    raise
                if self._is_mine(path, content, mark, error):
                    return ""
                last = error
            if attempt + 1 < retry.TRIES:
                retry.pause(attempt)
        raise StoreError(f"{last}; it was tried {retry.TRIES} times")

    def _is_mine(self, path: str, content: Bytes, mark: str, error: StoreError) -> bool:
        """Look whether an object is there, and whether it is the one that was put; False where none is."""
        try:
            marks = retried(lambda: self._objects.marks(path))
        except Absent:
            return False
        except StoreError as unknown:
            raise StoreError(f"{error}; and whether it arrived cannot be told: {unknown}") from None
        found = marks.get(self._mark)
        if found == mark or (found is None and self._is_same(path, content)):
            return True
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.at(path))

    def _is_same(self, path: str, content: Bytes) -> bool:
        """Compare the beginning, of a store that keeps no marks: a header has the digests of all data."""
        there = retried(lambda: self._objects.part(path, 0, _HEAD))
        return there.size == len(content) and bytes(there.content) == bytes(content[:_HEAD])

    def _names(self, folder: str) -> list[str]:
        try:
            return retried(lambda: self._objects.names(folder))
        except StoreError as error:
            raise ReadFailed.remote(self.at(folder), error) from None
