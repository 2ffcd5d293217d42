"""Stats in one safetensors file: a bundle (docs/format.md, 9.1), readable by any safetensors reader."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from actlens.errors import (
    BundleError,
    CorruptBundle,
    ReadFailed,
    StatisticsError,
    UnsupportedFormat,
    seen_in_bundle,
)
from actlens.format.bundle import read_bundle, write_bundle
from actlens.statistics.packing import KIND, packed, unpacked
from actlens.statistics.result import Stats

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # no fault of the path


def save(stats: Stats, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    target = _path(path, "save")
    if os.path.isdir(target):  # not Path.is_dir: it raises for a name that is too long
        raise StatisticsError.cannot_write(path, "it is a folder: give the name of a file in it")
    if not os.path.isdir(target.parent):
        raise StatisticsError.cannot_write(path, f"there is no folder {str(target.parent)!r}: make it first")
    about, arrays = packed(stats)
    try:
        write_bundle(target, KIND, about, arrays)
    except BundleError as error:
        raise StatisticsError.cannot_write(path, str(error).rstrip(".")) from error
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise StatisticsError.cannot_write(path, str(error.strerror).lower()) from error


def load(path: str | os.PathLike[str]) -> Stats:
    """Read Stats; everything in it must be of the right type and fit together."""
    source = Path(os.path.realpath(_path(path, "load")))  # the caller may name a link
    if not os.path.lexists(source):
        raise StatisticsError.not_saved(path, "there is no such file")
    try:
        bundle = read_bundle(source, KIND)
    except CorruptBundle as error:
        raise StatisticsError.not_saved(path, seen_in_bundle(error)) from error
    except (ReadFailed, UnsupportedFormat) as error:
        raise StatisticsError.not_saved(path, error) from error
    return unpacked(bundle, path)


def _path(path: object, verb: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in os.fsdecode(path):
        raise StatisticsError.not_a_path(verb, path)
    return Path(os.fsdecode(path))
