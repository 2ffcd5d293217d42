"""A new folder that appears under its name whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from actlens.errors import ActlensError, UpkeepError, WriteFailed
from actlens.format.commit import TEMPORARY, sync_folder
from actlens.format.local import LocalPlace
from actlens.upkeep.report import Problem
from actlens.upkeep.verifying import examine

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


@contextlib.contextmanager
def appearing(target: Path, sources: Sequence[Path]) -> Iterator[Path]:
    """Give a folder beside `target` to fill; it becomes `target` when the block ends well.

    What was written is verified before it gets its name. On any error nothing is left, of the folders above
    that had to be made neither; a program that is killed leaves the folder `.tmp-…`, and no target.

    Raises:
        RecordingExists: the target is there, and is not an empty folder.
        InputError: it lies in a source.
        CorruptRecording: what was written does not read back.
        WriteFailed: the disk refused.
    """
    try:
        _check(target, sources)
    except OSError as error:  # a name too long, a folder above it that may not be entered
        if isinstance(error, ActlensError):
            raise
        raise UpkeepError.not_written(target, error) from error
    made: list[Path] = []
    aside = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        for folder in [*reversed([one for one in target.parents if not one.exists()]), aside]:
            folder.mkdir()
            made.append(folder)
        yield aside
        _verified(aside, target)
        _rename(aside, target)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        cause = error.__cause__ if isinstance(error, WriteFailed) else error
        if isinstance(cause, OSError):
            raise UpkeepError.not_written(target, cause) from error
        raise


def refusal(source: object, problems: Sequence[Problem], done: str) -> ActlensError:
    """Give the error of a source: it is damaged, else of a later version, else it cannot be read."""
    damaged = [str(problem) for problem in problems if problem.kind not in {"unreadable", "newer"}]
    newer = [problem.what for problem in problems if problem.kind == "newer"]
    if damaged:
        return UpkeepError.damaged_source(source, damaged, done)
    if newer:
        return UpkeepError.later_version(newer[0])
    return UpkeepError.unread_source(source, str(problems[0]), done)


def _check(target: Path, sources: Sequence[Path]) -> None:
    if target.is_symlink():
        raise UpkeepError.target_taken(target, "a symbolic link")
    if target.exists() and not target.is_dir():
        raise UpkeepError.target_taken(target, "a file")
    for source in sources:
        outer, inner = Path(os.path.realpath(source)), Path(os.path.realpath(target))
        if outer != inner and inner.is_relative_to(outer):
            raise UpkeepError.inside(target, source)
    if target.is_dir() and any(target.iterdir()):
        raise UpkeepError.target_taken(target, "a folder that is not empty")


def _verified(aside: Path, target: Path) -> None:
    found = examine(LocalPlace(aside), compare=False).verification
    if not found.ok:
        raise UpkeepError.damaged_target(target, [str(problem) for problem in found.problems])


def _rename(aside: Path, target: Path) -> None:
    """Give the folder its name; an empty folder of that name is replaced in the same step."""
    for folder in aside.rglob("*"):
        if folder.is_dir():
            sync_folder(folder)
    sync_folder(aside)
    try:
        os.rename(aside, target)
    except OSError as error:
        if error.errno in _TAKEN:
            raise UpkeepError.target_taken(target, "it came while this was at work") from error
        raise
    sync_folder(target.parent)
