"""The bytes of one shard, read at any offset: of a local file here, of an object in `remote`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from actlens.errors import CorruptRecording, ReadFailed

Span = tuple[int, memoryview]
"""An offset in the file, and the memory that the bytes from there on are to fill."""

HEAD = 1 << 16
"""How much is read at once of a file that nothing is known of: its header, nearly always."""


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
            CorruptRecording: the file ends before.
            ReadFailed: it cannot be read.
        """


class LocalBlob:
    """A file, opened for each read: a recording of 10,000 shards must not hold 10,000 descriptors.

    Reads are pread(2): a file that was cut short under us is an error of a short read, never a SIGBUS.
    """

    def __init__(self, path: Path) -> None:
        self.where = path

    def head(self) -> tuple[int, bytes]:
        """Give the size, and the first 64 KiB."""
        with self._opened() as fd:
            return os.fstat(fd).st_size, os.pread(fd, HEAD, 0)

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

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            # A pipe or a device in the place of a shard must not make us wait: hence O_NONBLOCK.
            fd = os.open(self.where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise CorruptRecording.shard(self.where, "it is a symbolic link, not a file") from error
            raise ReadFailed.of(self.where, error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CorruptRecording.shard(self.where, "it is not a regular file")
            yield fd
        except OSError as error:
            raise ReadFailed.of(self.where, error) from error
        finally:
            os.close(fd)
