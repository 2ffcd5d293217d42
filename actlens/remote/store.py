"""What a remote place asks of a store: four ways to read, and three to write. Others fill it in.

Whatever a store's own library raises becomes one of the errors here; its text is ours, since those of the
libraries quote addresses with passwords and tokens in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

Bytes = bytes | bytearray | memoryview


class StoreError(OSError):
    """A store did not do what it was asked. `again` says whether it may on another try."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Absent(StoreError):
    """There is no such object."""


class Changed(StoreError):
    """The object is another than the one that was asked for."""


class PastTheEnd(StoreError):
    """The object ends before the range that was asked for begins."""


class Taken(StoreError):
    """The object that was to be made is there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """What a listing says of an object."""

    size: int
    tag: str


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A range of an object; `size` and `tag` are those of the whole of it."""

    content: Bytes
    size: int
    tag: str


class Store(Protocol):
    """Objects under one address, by their paths. Every method raises StoreError, and tries once."""

    def whole(self, path: str, limit: int) -> bytes:
        """Give an object, or its first `limit` bytes."""

    def part(self, path: str, begin: int, end: int, tag: str = "") -> Piece:
        """Give bytes [begin, end), or fewer where the object ends; of the object with this tag, if given."""

    def listing(self, folder: str) -> dict[str, Listed] | None:
        """Give all objects under a folder, by path; None where they cannot be listed."""


class WritableStore(Store, Protocol):
    """A store that can put an object only where none is."""

    def names(self, folder: str) -> list[str]:
        """Give the names in a folder, those of its folders with '/' at the end."""

    def put(self, path: str, content: Bytes, marks: Mapping[str, str], *, create: bool) -> str:
        """Put an object, with `create` only where none is (else: Taken); give its tag."""

    def marks(self, path: str) -> dict[str, str]:
        """Give what was noted beside an object when it was put."""

    def delete(self, path: str) -> None:
        """Remove an object."""
