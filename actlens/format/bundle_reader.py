"""Bundles are read and checked here."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptBundle, CorruptRecording, ReadFailed, what_was_seen
from actlens.format import files, header
from actlens.format.bundle_arrays import ARRAY, as_given
from actlens.format.bundle_meta import Meta, about_of, meta_of
from actlens.format.digests import hex128, hex128_of
from actlens.format.memory import room_for

_HEAD = 1 << 16
_PIECE = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds: `about`, a JSON object, and `arrays`, by name."""

    about: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What the header of a bundle says; its arrays are not read. `bytes` is the size of the file."""

    kind: str
    about: dict[str, Any]
    bytes: int


def read_bundle(path: str | os.PathLike[str], kind: str) -> Bundle:
    """Read a bundle: everything in it is checked before it is given.

    Memory is that of the file, and of what its metadata costs, which is bounded.

    Raises:
        CorruptBundle: it is damaged, no bundle, or one of another kind.
        UnsupportedFormat: written by a later version.
        ReadFailed: the system refused, or memory does not hold it.
    """
    with _opened(path) as (fd, size):
        start, meta, tensors = _head(fd, size, path)
        if meta.bundle != kind:
            raise CorruptBundle.kind(path, meta.bundle, kind)
        _check_size(size, path)
        stored = {}
        for tensor in tensors.values():
            values = room_for(path, tensor.shape, tensor.dtype)
            view = values.reshape(-1).view(np.uint8).data
            _fill(fd, view, start + tensor.begin, path)
            _compare(path, meta, tensor, hex128(view))
            stored[tensor.name] = values
    try:
        return Bundle(about_of(meta), as_given(stored, meta.texts))
    except ValueError as error:
        raise CorruptBundle.of(path, str(error)) from error


def read_head(path: str | os.PathLike[str]) -> Head:
    """Read what a bundle says of itself; its arrays are neither read nor checked. Raises as `read_bundle`."""
    with _opened(path) as (fd, size):
        _, meta, _ = _head(fd, size, path)
    return Head(meta.bundle, about_of(meta), size)


def check_bundle(path: str | os.PathLike[str]) -> Head:
    """Compare every byte with its digest, in a few MiB of memory. Raises as `read_bundle`."""
    with _opened(path) as (fd, size):
        start, meta, tensors = _head(fd, size, path)
        _check_size(size, path)
        for tensor in tensors.values():
            pieces = _pieces(fd, start + tensor.begin, start + tensor.end, path)
            _compare(path, meta, tensor, hex128_of(pieces))
    return Head(meta.bundle, about_of(meta), size)


def begins_as_bundle(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins as a bundle does, or a shard; False of what is no file."""
    try:
        with files.opened(Path(path)) as fd:
            return os.pread(fd, header.DIGEST.start, 0)[8:] == header.OPENING
    except (files.NotAFile, OSError):
        return False


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    try:
        with files.opened(Path(path)) as fd:
            yield fd, os.fstat(fd).st_size
    except files.NotAFile as error:
        raise CorruptBundle.of(path, str(error)) from error
    except OSError as error:
        raise ReadFailed.of(path, error) from error


def _head(fd: int, size: int, path: object) -> tuple[int, Meta, dict[str, header.Tensor]]:
    """Give the offset of the data, the metadata, and the tensors by name; nothing is believed unchecked."""
    first = files.read_at(fd, _HEAD)
    if first[8 : header.DIGEST.start] != header.OPENING:
        raise CorruptBundle.of(path, "it is no file of results of actlens")
    try:
        start = header.header_length(first[:8], size, path)
        raw = first[:start] + files.read_at(fd, start - len(first), len(first))
        _, text, tensors = header.parse(raw, size, path)
    except CorruptRecording as error:
        raise CorruptBundle.of(path, what_was_seen(error)) from error
    meta = meta_of(text, len(tensors), path)
    if meta.digests.keys() != tensors.keys() or not all(_known(name, meta, tensors) for name in meta.texts):
        raise CorruptBundle.of(path, "its metadata does not name its tensors")
    return start, meta, tensors


def _known(name: str, meta: Meta, tensors: Mapping[str, header.Tensor]) -> bool:
    sizes = meta.texts[name]
    return ARRAY + name in tensors and len(sizes) <= header.MAX_NDIM and all(size >= 0 for size in sizes)


def _check_size(size: int, path: object) -> None:
    """Refuse a file that is one hole, which is made for nothing and would take all memory, or days."""
    if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise ReadFailed.larger_than_memory(path, size)


def _compare(path: object, meta: Meta, tensor: header.Tensor, digest: str) -> None:
    if meta.digests[tensor.name] != digest:
        raise CorruptBundle.of(path, f"the data of {tensor.name!r} does not match its digest")


def _fill(fd: int, view: memoryview, begin: int, path: object) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(fd, (view[done:],), begin + done)
        if count == 0:
            raise CorruptBundle.of(path, "it ends before its data; it was cut short")
        done += count


def _pieces(fd: int, begin: int, end: int, path: object) -> Iterator[memoryview]:
    room = memoryview(bytearray(min(_PIECE, end - begin)))
    while begin < end:
        piece = room[: min(len(room), end - begin)]
        _fill(fd, piece, begin, path)
        yield piece
        begin += len(piece)
