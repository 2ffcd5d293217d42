"""A recording in a local folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from actlens.errors import CorruptRecording, ReadFailed
from actlens.format import files
from actlens.format.blob import LocalBlob
from actlens.format.commit import (
    TEMPORARY,
    Durability,
    OpenFile,
    committed,
    create_bytes,
    replace_bytes,
    sync_folder,
)
from actlens.format.place import DERIVED, FREE, IDLE, MANIFEST, RESULT, SHARD, SHARDS, WRITER

S = TypeVar("S")
T = TypeVar("T")


class LocalPlace:
    """A folder. `made` is what was made for a new recording, the newest last."""

    def __init__(self, folder: Path, durability: Durability = "fsync") -> None:
        self._given = folder
        self.folder = folder.absolute()  # the program may change its directory
        self._durability: Durability = durability
        self._made: list[Path] = []
        self._lock: int | None = None
        self._writer: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the whole path: another process may stand in another folder, and takes over no lock."""
        return LocalPlace, (self.folder,)

    def at(self, path: str = "") -> Path:
        """Give the path, as it was given."""
        return self._given / path

    def exists(self) -> bool:
        """Say whether the folder is there."""
        return self.folder.is_dir()

    def manifest(self, limit: Callable[[], int]) -> bytes | None:
        """Read the manifest."""
        path = self.folder / MANIFEST
        try:
            with files.opened(path) as fd:
                size = os.fstat(fd).st_size
                if size > FREE and size > (most := limit()):
                    raise CorruptRecording.manifest_too_large(path, size, most)
                return files.read_at(fd, size)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except files.NotAFile as error:
            raise CorruptRecording.manifest(path, str(error)) from error
        except OSError as error:
            raise ReadFailed.of(path, error) from error

    def shard_paths(self) -> list[str]:
        """List the committed shards: by rank, attempt (its name begins with its time), sequence number.

        Names that are not of the format are not shards: temporary files, and whatever else a person put
        there.
        """
        found = []
        for writer in self.writers():
            try:
                with os.scandir(self.folder / SHARDS / writer) as entries:
                    names = sorted(entry.name for entry in entries if SHARD.fullmatch(entry.name))
            except FileNotFoundError:  # a writer that left without having committed anything
                continue
            except OSError as error:
                raise ReadFailed.of(self.folder / SHARDS / writer, error) from error
            found += [f"{SHARDS}/{writer}/{name}" for name in names]
        return found

    def writers(self) -> list[str]:
        """List the writers' folders; links are none."""
        root = self.folder / SHARDS
        try:
            if root.is_symlink():
                return []
            with os.scandir(root) as entries:
                return sorted(entry.name for entry in entries if _is_writer(entry))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ReadFailed.of(root, error) from error

    def blob(self, path: str, digest: str = "") -> LocalBlob:  # noqa: ARG002 - of the protocol
        """Give one shard."""
        return LocalBlob(self.folder / path)

    def size(self, path: str) -> int | None:
        """Give its bytes."""
        try:
            return os.lstat(self.folder / path).st_size
        except OSError as error:
            raise ReadFailed.of(self.folder / path, error) from error

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Do one after the other: a disk is no faster for being asked by many."""
        return map(function, items)

    def foreign(self) -> list[str]:
        """Name what is no part of a recording that has no manifest yet."""
        # One call, not a test and then another: a peer may make the folder between the two.
        try:
            with os.scandir(self.folder) as entries:
                names = sorted(entry.name for entry in entries)
        except FileNotFoundError:
            return []
        except NotADirectoryError:  # it is a file, or a folder above it is one, which `join` will say
            return ["a file"] if self.folder.exists() else []
        known = {SHARDS, DERIVED} if self._holds_results() else {SHARDS}
        return [name for name in names if name not in known and not name.startswith(TEMPORARY)]

    def _holds_results(self) -> bool:
        """Say whether `derived` is a folder of results, and of nothing that somebody else put there."""
        root = self.folder / DERIVED
        if root.is_symlink() or not root.is_dir():
            return False
        return all(RESULT.fullmatch(name) or name.startswith(TEMPORARY) for name in os.listdir(root))

    def join(self, writer: str) -> None:
        """Make the writer's folder, and all above it that is missing."""
        for folder in reversed(self._missing(self.folder / SHARDS / writer)):
            with contextlib.suppress(FileExistsError):  # another rank makes the same folders
                folder.mkdir()
                self._made.append(folder)
            if self._durability == "fsync":
                sync_folder(folder.parent)
        if self._durability == "fsync":
            self._take_over_names()
        self._writer = self.folder / SHARDS / writer
        self._lock = _locked(self._writer)

    def _take_over_names(self) -> None:
        """Make names durable that a writer before us gave and was killed: what is gone on from stays."""
        shards = self.folder / SHARDS
        for folder in (
            self.folder.absolute().parent,
            self.folder,
            shards,
            *map(shards.joinpath, self.writers()),
        ):
            with contextlib.suppress(FileNotFoundError):  # of a peer that has left
                sync_folder(folder)

    def alive(self, writer: str) -> bool:
        """Say whether a writer's program is running still; False where the file system has no locks."""
        fd = _locked(self.folder / SHARDS / writer)
        if fd is not None and fd >= 0:
            os.close(fd)
        return fd is None

    def _missing(self, folder: Path) -> list[Path]:
        return [one for one in [folder, *folder.parents] if not one.exists()]

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not be there."""
        create_bytes(self.folder / name, content, durability=self._durability)
        self._made.append(self.folder / name)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in place of another."""
        replace_bytes(self.folder, name, content, durability=self._durability)
        self._made = [made for made in self._made if made.name != name]

    def committed(self, path: str, size: int) -> AbstractContextManager[OpenFile]:
        """Give a shard to write."""
        target = self.folder / path
        return committed(target.parent, target.name, size, durability=self._durability)

    def idle(self) -> list[str]:
        """Name the writers that ended well and had nothing to write."""
        return [name for name in self.writers() if (self.folder / SHARDS / name / IDLE).is_file()]

    def end(self, *, idle: bool = False) -> None:
        """Say that the writer has ended, to whoever asks `alive` or `idle`."""
        if idle and self._writer is not None:
            create_bytes(self._writer / IDLE, b"", durability=self._durability)
        fd, self._lock = self._lock, None
        if fd is not None and fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # a forked process may hold the file open for long
                os.close(fd)

    def leave(self) -> None:
        """Remove what was made, the newest first: own files, and folders that are empty."""
        self.end()
        alone = len(self.writers()) <= 1
        for made in reversed(self._made):
            with contextlib.suppress(OSError):  # a folder that is not empty is somebody else's by now
                if made.name != MANIFEST:
                    made.rmdir()
                elif alone:  # another writer has taken its recording's id from it
                    made.unlink()
        self._made.clear()


def _locked(folder: Path) -> int | None:
    """Lock a folder while this process lives; None where another one has it, -1 where there are no locks."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        return -1
    return fd


def _is_writer(entry: os.DirEntry[str]) -> bool:
    return WRITER.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)
