"""Headers of remote shards, kept on the local disk, so that a recording opens again without asking for them.

The name of a file is a digest of what it is the header of; its first bytes are a digest of the rest. What is
damaged, or cannot be read or written, is as if it were not there.
"""

from __future__ import annotations

import contextlib
import os
import struct
import uuid
from collections.abc import Iterable
from pathlib import Path

from actlens.format.digests import hex128
from actlens.remote.store import Piece

LIMIT = 512 << 20
_DIGEST = 32
_FIXED = struct.Struct("<QH")  # size of the object, length of its tag


class HeaderCache:
    """A folder of headers; None for no cache."""

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._unswept = limit  # so that the first header that is written sweeps

    @classmethod
    def of_environment(cls) -> HeaderCache:
        """Take the folder from ACTLENS_CACHE (empty: no cache), or XDG_CACHE_HOME, or ~/.cache."""
        given = os.environ.get("ACTLENS_CACHE")
        if given is not None:
            return cls(Path(given) if given else None)
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return cls(Path(home) / "actlens") if os.path.isabs(home) else cls(None)

    def get(self, keys: Iterable[str]) -> Piece | None:
        """Give the header of the first key that is known."""
        for key in keys if self._folder else ():
            with contextlib.suppress(OSError):
                path = self._path(key)
                content = path.read_bytes()
                if hex128(key.encode(), content[_DIGEST:]).encode() == content[:_DIGEST]:
                    os.utime(path)  # it was used: the oldest go first
                    return _unpacked(content[_DIGEST:])
        return None

    def put(self, keys: Iterable[str], piece: Piece) -> None:
        """Keep a header under its keys."""
        for key in keys if self._folder else ():
            packed = _packed(piece)
            with contextlib.suppress(OSError):
                self._write(self._path(key), hex128(key.encode(), packed).encode() + packed)

    def _path(self, key: str) -> Path:
        assert self._folder is not None  # noqa: S101 - of get and put
        name = hex128(key.encode())
        return self._folder / "headers" / name[:2] / name

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            aside.write_bytes(content)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        self._unswept += len(content)
        if self._unswept > self._limit // 8:
            self._unswept = 0
            self._sweep()

    def _sweep(self) -> None:
        """Remove the files that were not used for longest, down to seven eighths of the limit."""
        assert self._folder is not None  # noqa: S101 - of _write
        found = []
        for path in (self._folder / "headers").glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit * 7 // 8:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _packed(piece: Piece) -> bytes:
    tag = piece.tag.encode()
    return _FIXED.pack(piece.size, len(tag)) + tag + bytes(piece.content)


def _unpacked(content: bytes) -> Piece:
    size, length = _FIXED.unpack_from(content)
    at = _FIXED.size + length
    return Piece(content[at:], size, content[_FIXED.size : at].decode())
