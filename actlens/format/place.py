"""Where a recording lies: its files by relative paths. A folder, or a prefix in an object store.

The rest of the format asks for nothing but this, so that a recording is the same wherever it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar, runtime_checkable

from actlens.format.blob import Blob

MANIFEST = "manifest.json"
FREE = 4 << 20
"""Bytes: a manifest up to here is read as it is."""

SHARDS = "shards"
DERIVED = "derived"
"""The folder of results that were computed from the recording; no part of it."""
IDLE = "idle"
"""The file of a writer that ended well and had nothing to write."""
WRITER = re.compile(r"[0-9]{5}-[0-9a-z-]{1,64}")
SHARD = re.compile(r"[0-9]{8}\.safetensors")
RESULT = re.compile(r"[a-z][a-z0-9-]{0,31}-[0-9a-f]{32}\.safetensors")

S = TypeVar("S")
T = TypeVar("T")


class Sink(Protocol):
    """A file that is being written, at any offset."""

    def write_at(self, pieces: Sequence[bytes | memoryview], offset: int) -> None:
        """Write pieces one after the other."""


@runtime_checkable
class Place(Protocol):
    """A recording's place, to be read."""

    def at(self, path: str = "") -> object:
        """Give a path or an address, for messages."""

    def exists(self) -> bool:
        """Say whether there is anything."""

    def manifest(self, limit: Callable[[], int]) -> bytes | None:
        """Give the bytes of the manifest; None where there is none. One over 4 MiB must be within `limit`."""

    def shard_paths(self) -> list[str] | None:
        """List the committed shards, in the order of the rows; None where a place cannot be listed."""

    def blob(self, path: str, digest: str = "") -> Blob:
        """Give one shard; `digest` is that of its header, where the manifest has told it."""

    def size(self, path: str) -> int | None:
        """Give the bytes of one shard without opening it; None where that is not known."""

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Do something with each shard, as `map` does; many at once where a place makes us wait."""


class WritablePlace(Place, Protocol):
    """A place where a recording can be written. What fails raises OSError and leaves nothing behind."""

    def foreign(self) -> list[str]:
        """Name what is there and is no part of a recording."""

    def writers(self) -> list[str]:
        """Name the writers that are there, also those that have not committed anything yet."""

    def join(self, writer: str) -> None:
        """Make room for a writer's shards."""

    def alive(self, writer: str) -> bool:
        """Say whether a writer's program is running still, as far as can be told."""

    def end(self, *, idle: bool = False) -> None:
        """Say that the writer that joined has ended; `idle`: well, and there was nothing for it to write."""

    def idle(self) -> list[str]:
        """Name the writers that ended well and had nothing to write."""

    def leave(self) -> None:
        """Take back what `join` and `create` made, where nothing was committed."""

    def create(self, name: str, content: bytes) -> None:
        """Write a small file that must not be there yet; it appears complete.

        Raises:
            FileExistsError: it is.
        """

    def replace(self, name: str, content: bytes) -> None:
        """Write a small file whole, in place of one that may be there."""

    def committed(self, path: str, size: int) -> AbstractContextManager[Sink]:
        """Give a file of `size` bytes to write; it appears as `path` when the block ends well, or never."""
