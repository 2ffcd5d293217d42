"""One object, read by ranges."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from actlens.errors import CorruptRecording, ReadFailed
from actlens.format.blob import HEAD, Span, read_spans
from actlens.format.header import DIGEST, MAX_HEADER, header_digest
from actlens.remote.cache import HeaderCache
from actlens.remote.coalesce import Request, coalesced
from actlens.remote.retry import retried
from actlens.remote.store import Absent, Changed, Listed, PastTheEnd, Piece, Store, StoreError
from actlens.remote.threads import at_once


class RemoteBlob:
    """An object. Once its header was read, what is read must be of the same object: its tag says so."""

    def __init__(
        self,
        store: Store,
        path: str,
        where: str,
        *,
        listed: Listed | None = None,
        digest: str = "",
        cache: HeaderCache,
    ) -> None:
        self.where = where
        self._store = store
        self._path = path
        self._listed = listed
        self._digest = digest
        self._cache = cache
        self._size = -1
        self._tag = ""

    def head(self) -> tuple[int, bytes]:
        """Give the size, and the first 64 KiB, or the whole header where that is longer."""
        found = self._cache.get(self._keys())
        if found is not None:
            self._size, self._tag = found.size, self._listed.tag if self._listed else ""
            return found.size, bytes(found.content)
        first = self._head()
        self.keep(first)
        return first.size, bytes(first.content)

    def fill(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Fill all spans, then give them: near ones in one request, several requests at once."""
        wanted = list(spans)
        for _ in at_once("requests", self._fetch, coalesced(wanted)):
            pass
        yield from wanted

    def map(self, begin: int, size: int) -> None:
        """Say that an object cannot be mapped."""

    def _keys(self) -> list[str]:
        """Give the names of this very object, by which its header may be known."""
        keys = []
        if self._listed is not None and self._listed.tag:
            keys.append(f"{self.where}\n{self._listed.size}\n{self._listed.tag}")
        if self._digest:
            keys.append(f"{self.where}\n{self._digest}")
        return keys

    def keep(self, first: Piece) -> None:
        """Put the header into the cache, if it is whole, and of the object that was listed."""
        header = bytes(first.content[: _header_length(first.content)])
        digest = header[DIGEST].decode("ascii", "replace")
        whole = header and header_digest(header) == digest == (self._digest or digest)
        if whole and self._listed in {None, Listed(first.size, first.tag)}:
            self._cache.put(self._keys(), Piece(header, first.size, first.tag))

    def _head(self) -> Piece:
        try:
            first = self._part(0, HEAD)
        except PastTheEnd:
            return Piece(b"", 0, "")
        self._size, self._tag = first.size, first.tag
        length = _header_length(first.content)
        if len(first.content) < length <= min(first.size, MAX_HEADER + 8):
            rest = bytearray(length - len(first.content))
            read_spans(self, [(len(first.content), memoryview(rest))])
            return Piece(bytes(first.content) + rest, first.size, first.tag)
        return first

    def _fetch(self, request: Request) -> None:
        try:
            piece = self._part(request.begin, request.end)
        except PastTheEnd:
            raise CorruptRecording.cut_short(self.where) from None
        self._tag = self._tag or piece.tag  # a header of the cache may be of a copy with another tag
        if self._size >= 0 and piece.size != self._size:
            raise CorruptRecording.changed(self.where)
        if len(piece.content) < request.end - request.begin:
            raise CorruptRecording.cut_short(self.where)
        request.fill(memoryview(piece.content))

    def _part(self, begin: int, end: int) -> Piece:
        try:
            return retried(lambda: self._store.part(self._path, begin, end, self._tag))
        except PastTheEnd:
            raise
        except Absent:
            raise CorruptRecording.gone(self.where) from None
        except Changed:
            raise CorruptRecording.changed(self.where) from None
        except StoreError as error:
            raise ReadFailed.remote(self.where, error) from None


def _header_length(content: bytes | bytearray | memoryview) -> int:
    """Give where the data begins, as the first eight bytes have it; nobody has checked them yet."""
    return 8 + int(struct.unpack("<Q", content[:8])[0]) if len(content) >= 8 else 0
