"""One result in one file that a person named: a bundle, with errors that are of the result's own kind."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from actlens.errors import (
    ActlensError,
    BundleError,
    CorruptBundle,
    ReadFailed,
    UnsupportedFormat,
    seen_in_bundle,
)
from actlens.format.bundle import Bundle, read_bundle, write_bundle

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # no fault of the path


class Errors(Protocol):
    """How the errors of a kind of results are made."""

    def cannot_write(self, path: object, why: object) -> ActlensError:
        """The file system refuses, or the result cannot be stored."""

    def not_saved(self, path: object, why: object) -> ActlensError:
        """No such file, or not one of these."""

    def not_a_path(self, verb: str, given: object) -> ActlensError:
        """Something else than a path."""


def save_result(
    path: str | os.PathLike[str],
    kind: str,
    packed: tuple[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]],
    *,
    errors: Errors,
) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    target = _path(path, "save", errors)
    if os.path.isdir(target):  # not Path.is_dir: it raises for a name that is too long
        raise errors.cannot_write(path, "it is a folder: give the name of a file in it")
    if not os.path.isdir(target.parent):
        raise errors.cannot_write(path, f"there is no folder {str(target.parent)!r}: make it first")
    try:
        write_bundle(target, kind, *packed)
    except BundleError as error:
        raise errors.cannot_write(path, str(error).rstrip(".")) from error
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise errors.cannot_write(path, str(error.strerror).lower()) from error


def load_result(path: str | os.PathLike[str], kind: str, *, errors: Errors) -> Bundle:
    """Read a bundle of a kind; what is in it is for the caller to check."""
    source = Path(os.path.realpath(_path(path, "load", errors)))  # the caller may name a link
    if not os.path.lexists(source):
        raise errors.not_saved(path, "there is no such file")
    try:
        return read_bundle(source, kind)
    except CorruptBundle as error:
        raise errors.not_saved(path, seen_in_bundle(error)) from error
    except (ReadFailed, UnsupportedFormat) as error:
        raise errors.not_saved(path, error) from error


def _path(path: object, verb: str, errors: Errors) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in os.fsdecode(path):
        raise errors.not_a_path(verb, path)
    return Path(os.fsdecode(path))
