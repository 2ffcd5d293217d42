"""The bytes of one shard, read at any offset: of a local file here, of an object in `remote`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, ReadFailed
from actlens.format import files
from actlens.format.header import DIGEST

Span = tuple[int, memoryview]
"""An offset in the file, and the memory that the bytes from there on are to fill."""

HEAD = 1 << 16
"""How much is read at once of a file that nothing is known of: its header, nearly always."""

_IDENTITY = DIGEST.stop
"""Bytes from the start of a shard: the length of its header, and the digest of it."""


class Blob(Protocol):
    """One file that is only read. `where` is what messages call it."""

    @property
    def where(self) -> object:
        """A path or an address."""

    def head(self) -> tuple[int, bytes]:
        """Give the size of the file, and its first 64 KiB, or all of it where it is shorter."""

    def fill(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Fill span after span, and give each as soon as it is filled: it is then still in the processor's
        cache.

        Raises:
            CorruptRecording: the file ends before, or it is another than the one that head() saw.
            ReadFailed: it cannot be read.
        """

    def map(self, begin: int, size: int) -> npt.NDArray[np.uint8] | None:
        """Give a read-only view of the file itself, or None where it cannot be mapped."""


def read_spans(blob: Blob, spans: Iterable[Span]) -> None:
    """Fill every span of a file."""
    for _ in blob.fill(spans):
        pass


class LocalBlob:
    """A file, opened for each read: a recording of 10,000 shards must not hold 10,000 descriptors.

    Reads are pread(2): a file that was cut short under us is an error of a short read, never a SIGBUS. Its
    first bytes, which hold the digest of the header, are looked at each time: another file may have taken its
    name.
    """

    def __init__(self, path: Path) -> None:
        self.where = path
        self._first = b""

    def head(self) -> tuple[int, bytes]:
        """Give the size, and the first 64 KiB."""
        with self._opened() as fd:
            first = files.read_at(fd, HEAD)
            self._first = first[:_IDENTITY]
            return os.fstat(fd).st_size, first

    def fill(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Fill span after span, in the order given."""
        with self._opened() as fd:
            for span in spans:
                begin, view = span
                done = os.preadv(fd, (view,), begin)
                while done < len(view):
                    count = os.preadv(fd, (view[done:],), begin + done)
                    if count == 0:
                        raise CorruptRecording.cut_short(self.where)
                    done += count
                yield span

    def map(self, begin: int, size: int) -> npt.NDArray[np.uint8] | None:
        """Give a view of the file, if it is long enough now."""
        with self._opened() as fd, open(fd, "rb", closefd=False) as file:
            if os.fstat(fd).st_size < begin + size:
                raise CorruptRecording.cut_short(self.where)
            return np.memmap(file, np.uint8, "r", begin, (size,))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            with files.opened(self.where) as fd:
                first = os.pread(fd, len(self._first), 0)
                if len(first) == len(self._first) and first != self._first:
                    raise CorruptRecording.replaced(self.where)
                yield fd
        except files.NotAFile as error:
            raise CorruptRecording.shard(self.where, str(error)) from error
        except OSError as error:
            raise ReadFailed.of(self.where, error) from error
