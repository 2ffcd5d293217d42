"""`gc`: clears away what writers left that died, and results of what is there no more."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actlens.derived import listed
from actlens.errors import RecordingError, RecordingNotFound, UpkeepError
from actlens.format.local import LocalPlace
from actlens.format.place import MANIFEST, SHARDS
from actlens.shard_set import ShardSet
from actlens.table import bytes_text
from actlens.upkeep.surroundings import entries_of, folder_of, living, temporary_files


@dataclasses.dataclass(frozen=True, slots=True)
class Removed:
    """One temporary file, one result, or one empty folder of a writer (it ends in '/').

    `file` is relative to the recording.
    """

    file: str
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """What `gc` removed, or with `dry_run` would remove; `str()` of it is a list."""

    path: str
    removed: tuple[Removed, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """The size of all of it."""
        return sum(one.bytes for one in self.removed)

    def __str__(self) -> str:
        verb = "would be removed" if self.dry_run else "removed"
        lines = [f"{self.path}: {len(self.removed) or 'nothing'} {verb} ({bytes_text(self.bytes)})"]
        return "\n".join([*lines, *(f"  {one.file} ({bytes_text(one.bytes)})" for one in self.removed)])


def gc(path: str | Path, older_than: float = 86400.0, *, dry_run: bool = False) -> Collected:
    """Remove temporary files of writers that died, folders of writers that committed nothing, stale results.

    Only regular files named `.tmp-…` in the recording's folder, in its writers' and in `derived/`, and empty
    folders of writers, that nobody changed for `older_than` seconds and whose writers' programs do not run.
    Of the results in `derived/` as old as that, those that are damaged, or of other shards than the recording
    has now; where the recording itself cannot be opened, only the damaged ones. Links are not followed and
    not removed; `set-aside/` is left alone.

    Args:
        path: the recording.
        older_than: how old it must be, in seconds; a day where left out.
        dry_run: only list what would be removed.

    Raises:
        RecordingNotFound: there is no recording; nothing is removed in a folder that holds none.
        InputError: `older_than` is no number of at least 0.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import upkeep
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc": np.eye(2)})
    2
    >>> (rec.path / ".tmp-0123").touch()
    >>> [one.file for one in upkeep.gc(rec.path, older_than=0).removed]
    ['.tmp-0123']
    """
    age = _age(older_than)
    folder = folder_of(path, "what is cleared")
    if not any(os.path.lexists(folder / name) for name in (MANIFEST, SHARDS)):
        raise RecordingNotFound.of(folder, "it holds neither manifest.json nor shards")
    place, before = LocalPlace(folder), time.time() - age
    writers = _old_writers(place, before)  # removing a file makes its folder young
    removed = []
    for file, about in temporary_files(place):
        if about.st_mtime <= before and (dry_run or _gone(folder / file)):
            removed.append(Removed(file, about.st_size))
    for file, about in _useless_results(place):
        if about.st_mtime <= before and (dry_run or _gone(folder / file)):
            removed.append(Removed(file, about.st_size))
    gone = {one.file for one in removed}
    for writer in writers:
        left = [entry for entry in entries_of(folder / writer) if f"{writer}/{entry.name}" not in gone]
        if not left and (dry_run or _gone(folder / writer)):
            removed.append(Removed(f"{writer}/", 0))
    return Collected(str(folder), tuple(removed), dry_run)


def _age(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < math.inf:
        raise UpkeepError.age(given)
    return float(given)


def _old_writers(place: LocalPlace, before: float) -> list[str]:
    if (place.folder / SHARDS).is_symlink():
        return []
    writers = place.writers()
    alive = living(place, writers)
    found = []
    for writer in writers:
        with contextlib.suppress(FileNotFoundError):
            about = os.stat(place.folder / SHARDS / writer, follow_symlinks=False)
            if writer not in alive and about.st_mtime <= before:
                found.append(f"{SHARDS}/{writer}")
    return found


def _useless_results(place: LocalPlace) -> Iterator[tuple[str, os.stat_result]]:
    """Give the results that nothing can read any more; what the system does not give is left alone."""
    try:
        now: str | None = ShardSet.of(place, mmap=False, verify="stream").fingerprint()
    except RecordingError:  # it may be mended, and its results then be right again
        now = None
    for one in listed(place.folder, now, whole=True):
        stale = now is not None and not one.current
        if one.readable and (one.problem or stale):
            with contextlib.suppress(FileNotFoundError):
                about = os.lstat(place.folder / one.file)
                if stat.S_ISREG(about.st_mode):
                    yield one.file, about


def _gone(path: Path) -> bool:
    """Remove a file or an empty folder; say whether it was there, and empty, until now."""
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        if path.is_dir():  # somebody has put a file into it
            return False
        raise UpkeepError.not_removed(path, error) from error
    return True
