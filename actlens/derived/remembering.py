"""`remembered`: a result is read where it lies with its recording, else computed and put there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.derived.key import Provenance, Target, target_of
from actlens.errors import (
    ActlensError,
    BundleError,
    CorruptBundle,
    DerivedWarning,
    ReadFailed,
    seen_in_bundle,
    what_was_seen,
)
from actlens.format.bundle import Bundle, read_bundle, write_bundle
from actlens.format.bundle_meta import KIND
from actlens.format.commit import sync_folder

T = TypeVar("T")
Array = npt.NDArray[Any]

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclasses.dataclass(frozen=True)
class Kind(Generic[T]):
    """How results of one kind are stored.

    Attributes:
        name: 1 to 32 of a-z, 0-9 and -, a letter first: "embedding".
        format: the number of what `write` gives; another number, and older files are not read.
        write: a result → its metadata, which JSON can hold, and its arrays.
        read: what `write` gave → the result. What it raises counts as damage of the file.
    """

    name: str
    format: int
    write: Callable[[T], tuple[Mapping[str, Any], Mapping[str, Array]]]
    read: Callable[[Bundle], T]


@dataclasses.dataclass(frozen=True)
class _Found(Generic[T]):
    value: T


def remembered(
    layers: Sequence[object],
    kind: Kind[T],
    *,
    compute: Callable[[], T],
    parameters: Mapping[str, Any],
    packages: Sequence[str],
    repeatable: bool = True,
    cache: bool = True,
) -> T:
    """Give the result of `compute()`, read from `derived/` where it lies there.

    What is found was computed of the same values (the digests of the shards, the view, the selected rows),
    with equal parameters, by the same versions. A file that is damaged is replaced. Two programs at once both
    compute; the file is whole at any time. Where nothing can be written (an address, a read-only folder),
    nothing is; nor is what was computed of a recording that was opened with verify="none".

    Args:
        layers: what it is computed from: `LayerArray`s; of anything else it is just computed. The file lies
            with the recording of the first.
        kind: how it is stored.
        compute: does the work.
        parameters: everything else that the result depends on.
        packages: the names on PyPI of what computes it, beside actlens.
        repeatable: whether the same call gives the same numbers again; where not, nothing is read or written.
        cache: False just computes.

    Warns:
        DerivedWarning: a file was damaged; or the result could not be kept (a full disk).

    Raises:
        BundleError: a kind that is none. And what `compute` raises.
    """
    if not KIND.fullmatch(kind.name):
        raise BundleError.kind(kind.name)
    target = None
    if cache and repeatable:
        target = target_of(
            layers, kind.name, version_of_kind=kind.format, parameters=parameters, packages=packages
        )
    if target is None or not _usable(target):
        return compute()
    try:
        found = _found(target, kind)
    except PermissionError:  # another user's, who does not share it
        return compute()
    if found is not None:
        return found.value
    value = compute()
    if target.checked:
        _keep(target, kind, value)
    return value


def _usable(target: Target) -> bool:
    """Say whether `derived` is a folder, or not there; a link leads out of the recording."""
    try:
        return stat.S_ISDIR(os.lstat(target.folder).st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _found(target: Target, kind: Kind[T]) -> _Found[T] | None:
    """Read the result. None where it is not there, or, after a warning, cannot be used."""
    try:
        bundle = read_bundle(target.file, kind.name)
        about, result = bundle.about["derived"], bundle.about["result"]
        if msgspec.convert(about, Provenance).key != target.source.key:
            raise CorruptBundle.of(target.file, "it was renamed")
        return _Found(kind.read(Bundle(result, bundle.arrays)))
    except ReadFailed as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from None
        why = what_was_seen(error)
    except ActlensError as error:
        why = seen_in_bundle(error)
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        why = f"it lacks what a result of this kind has ({error})"
    warnings.warn(DerivedWarning.damaged(target.file, why.rstrip(".") + "."), stacklevel=5)
    return None


def _keep(target: Target, kind: Kind[T], value: T) -> None:
    """Write the result; that it cannot be written is no error."""
    try:
        about, arrays = kind.write(value)
        source = msgspec.structs.replace(
            target.source,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            bytes=sum(np.asarray(array).nbytes for array in arrays.values()),
        )
        said = {"derived": msgspec.to_builtins(source), "result": dict(about)}
        if not target.folder.exists():
            target.folder.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):  # were the folder lost, so would be the file: nothing else is
                sync_folder(target.folder.parent)
        write_bundle(target.file, kind.name, said, arrays)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            why = str(error.strerror or error).lower()
            warnings.warn(DerivedWarning.not_kept(target.file, why), stacklevel=5)
    except ActlensError as error:  # a result that cannot be stored
        warnings.warn(DerivedWarning.not_kept(target.file, str(error).rstrip(".")), stacklevel=5)
