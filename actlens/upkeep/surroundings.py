"""What lies around the shards in a folder: temporary files, what was set aside, and files of others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from actlens.derived import listed, result_names
from actlens.errors import UpkeepError
from actlens.format.commit import TEMPORARY
from actlens.format.local import LocalPlace
from actlens.format.place import DERIVED, IDLE, MANIFEST, RESULT, SHARDS, Place
from actlens.recording import place_of
from actlens.upkeep.report import Orphan, Problem
from actlens.writing.options import local_folder

SET_ASIDE = "set-aside"


def living(place: Place, writers: list[str] | None = None) -> list[str]:
    """Name the writers whose programs run still, as far as can be told."""
    if not isinstance(place, LocalPlace):
        return []
    found = []
    for writer in place.writers() if writers is None else writers:
        with contextlib.suppress(OSError):  # it has just left
            if place.alive(writer):
                found.append(writer)
    return found


def temporary_files(place: Place) -> list[tuple[str, os.stat_result]]:
    """List the temporary files of writers that have ended: in the folder, in theirs, and in `derived/`.

    Links and folders are none, whatever their names.
    """
    if not isinstance(place, LocalPlace):
        return []
    writers = [] if (place.folder / SHARDS).is_symlink() else place.writers()
    alive = living(place, writers)
    folders = [f"{SHARDS}/{writer}" for writer in writers if writer not in alive]
    if not alive:
        folders.insert(0, "")
    if not (place.folder / DERIVED).is_symlink():  # who computes is no writer, and nothing tells that it runs
        folders.append(DERIVED)
    found = []
    for folder in folders:
        for entry in entries_of(place.folder / folder):
            if entry.name.startswith(TEMPORARY):
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    found.append((f"{folder}/{entry.name}".lstrip("/"), about))
    return found


def orphans(place: Place) -> tuple[Orphan, ...]:
    """List the temporary files that writers have left which died."""
    return tuple(Orphan(path, about.st_size) for path, about in temporary_files(place))


def unknown_files(place: Place, known: list[str]) -> list[str]:
    """Name what is no part of a recording: other names, and links in the place of folders."""
    if not isinstance(place, LocalPlace):
        return []
    writers = set(place.writers())
    paths = set(known)
    found = [
        entry.name
        for entry in entries_of(place.folder)
        if not _is_known(entry) and not entry.name.startswith(TEMPORARY)
    ]
    found += [
        f"{DERIVED}/{name}"
        for name in result_names(place.folder)
        if not RESULT.fullmatch(name) and not name.startswith(TEMPORARY)
    ]
    found += [f"{SHARDS}/{e.name}" for e in entries_of(place.folder / SHARDS) if e.name not in writers]
    for writer in sorted(writers):
        folder = f"{SHARDS}/{writer}"
        names = [entry.name for entry in entries_of(place.folder / folder)]
        found += [
            f"{folder}/{name}"
            for name in names
            if f"{folder}/{name}" not in paths and name != IDLE and not name.startswith(TEMPORARY)
        ]
    return found


def _is_known(entry: os.DirEntry[str]) -> bool:
    if entry.name == DERIVED:
        return entry.is_dir(follow_symlinks=False)
    return entry.name in {MANIFEST, SHARDS, SET_ASIDE}


def damaged_results(place: Place) -> tuple[Problem, ...]:
    """Compare the results that lie with the recording with their digests."""
    if not isinstance(place, LocalPlace):
        return ()
    found = (one for one in listed(place.folder, None, whole=True) if one.problem)
    return tuple(
        Problem(one.file, one.problem, kind="damaged" if one.readable else "unreadable") for one in found
    )


def set_aside_files(folder: Path) -> list[str]:
    """List the shards that earlier repairs have set aside, relative to the recording."""
    root = folder / SET_ASIDE
    if root.is_symlink():
        return []
    return [
        f"{SET_ASIDE}/{writer.name}/{entry.name}"
        for writer in entries_of(root)
        if writer.is_dir(follow_symlinks=False)
        for entry in entries_of(root / writer.name)
    ]


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name; nothing, where there is none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def folder_of(path: str | Path, what: str) -> Path:
    """Give the folder of a recording that is to be changed; `what` says in a message what it is for.

    Raises:
        RecordingNotFound: there is no folder.
        ReadFailed: the system does not let it be looked at.
        ArgumentError: an address, or no path.
    """
    folder = local_folder(path, what)
    place_of(folder)
    return folder


@contextlib.contextmanager
def repairing(folder: Path) -> Iterator[None]:
    """Keep other repairs away while this one works, where the file system has locks.

    Raises:
        RecordingExists: another one is at it.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # no locks here: nothing else depends on it
            _lock(fd, folder)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UpkeepError.being_repaired(folder) from error
