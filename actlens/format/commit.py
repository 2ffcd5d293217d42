"""The commit protocol: a file appears under its name whole and durable, or not at all.

Temporary name in the same folder, made exclusively → fallocate(2), where a full disk shows → the bytes →
fsync of the file → rename → fsync of the folder. Only then is the file committed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Bytes = bytes | memoryview
Durability = Literal["fsync", "rename"]
DURABILITIES: tuple[Durability, ...] = ("fsync", "rename")
TEMPORARY = ".tmp-"

_IOV_MAX = 1024
_KEEP_SIZE = 1
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class OpenFile:
    """A file that is being written, at any offset."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write_at(self, pieces: Sequence[Bytes], offset: int) -> None:
        """Write pieces one after the other; goes on after a short write."""
        views = [memoryview(piece).cast("B") for piece in pieces]
        while views:
            written = os.pwritev(self._fd, views[:_IOV_MAX], offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]


@contextlib.contextmanager
def committed(
    folder: Path, name: str, size: int, *, durability: Durability, replace: bool = False
) -> Iterator[OpenFile]:
    """Give a file of `size` bytes to write; commit it as `folder/name` when the block ends well.

    A file of that name is an error, unless it is to be replaced.

    Raises:
        OSError: from any step. The temporary file is removed then, and `name` is as it was before. An fsync
            that failed is not tried again: after it, the kernel may have dropped the pages.
    """
    temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        try:
            _allocate(fd, size)
            yield OpenFile(fd)
            if durability == "fsync":
                os.fsync(fd)
        finally:
            os.close(fd)
        if not replace and (folder / name).exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder / name))
        os.rename(temporary, folder / name)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durability == "fsync":
        try:
            sync_folder(folder)
        except BaseException:  # not acknowledged: it must not be there either, unless it replaced another
            if not replace:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(folder / name)
            raise


def replace_bytes(folder: Path, name: str, content: bytes, *, durability: Durability) -> None:
    """Write a small file whole, in place of one that may be there."""
    with committed(folder, name, len(content), durability=durability, replace=True) as file:
        file.write_at([content], 0)


def create_bytes(path: Path, content: bytes, *, durability: Durability) -> None:
    """Write a small file that must not be there yet.

    It is complete when it appears: written aside, then linked to its name, which fails if that is taken.

    Raises:
        FileExistsError: the name is taken.
        OSError: from any step; nothing is left behind.
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    linked = False
    try:
        replace_bytes(path.parent, temporary.name, content, durability=durability)
        os.link(temporary, path)
        linked = True
        os.unlink(temporary)
        if durability == "fsync":
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if linked:
            os.unlink(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _allocate(fd: int, size: int) -> None:
    """Reserve the blocks, so that a full disk is an error before the first byte.

    fallocate(2) itself: posix_fallocate of glibc writes every block where the file system cannot.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None or size == 0:
        return
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while fallocate(fd, _KEEP_SIZE, 0, size) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in _UNSUPPORTED:
            return
        raise OSError(code, os.strerror(code))
