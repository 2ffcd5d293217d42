"""Opening a file that somebody else may have made: a file and nothing else, and no wait."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotAFile(Exception):
    """A link, a folder, a FIFO, a device or a socket where a file should be."""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a regular file for reading.

    Opening a FIFO waits for a writer, reading a device may never end, and a link leads out of the folder. So
    nothing else is opened; and should it take the file's place at that moment, nothing waits or is followed.

    Raises:
        NotAFile: it is something else.
        OSError: the file system refused.
    """
    _refuse_others(os.lstat(path).st_mode)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFile("it is a symbolic link, not a file") from error
        raise
    try:
        _refuse_others(os.fstat(fd).st_mode)
        yield fd
    finally:
        os.close(fd)


def _refuse_others(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise NotAFile("it is a symbolic link, not a file")
    if not stat.S_ISREG(mode):
        raise NotAFile("it is a folder, a FIFO or a device, not a file")


def read_at(fd: int, size: int, offset: int = 0) -> bytes:
    """Read `size` bytes, fewer only where the file ends."""
    pieces = []
    while size > 0 and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
