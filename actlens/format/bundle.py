"""A bundle: named arrays and one JSON object in one safetensors file, for results of any kind.

It has the container and the safeguards of a shard (docs/format.md, 3.1 and 9.1): the header's digest at a
fixed place, a digest of every array, the same limits, and it appears under its name whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt

from actlens.errors import BundleError
from actlens.format import commit, header, strict_json
from actlens.format.bundle_arrays import as_stored, check_names
from actlens.format.bundle_meta import KIND, VERSION, Meta, check_cost
from actlens.format.bundle_reader import (
    Bundle,
    Head,
    begins_as_bundle,
    check_bundle,
    read_bundle,
    read_head,
)
from actlens.format.commit import Durability
from actlens.format.digests import hex128
from actlens.format.dtypes import code_of
from actlens.format.shard import bytes_of

__all__ = [
    "Bundle",
    "Head",
    "begins_as_bundle",
    "check_bundle",
    "read_bundle",
    "read_head",
    "write_bundle",
]

Array = npt.NDArray[Any]


def write_bundle(
    path: str | os.PathLike[str],
    kind: str,
    about: Mapping[str, Any],
    arrays: Mapping[str, Array],
    *,
    durability: Durability = "fsync",
) -> None:
    """Write a bundle, in place of a file that may be there: the file appears whole, or not at all.

    A link of that name is replaced, and what it points to is not touched.

    >>> import tempfile, numpy as np
    >>> path = tempfile.mkdtemp() + "/z.safetensors"
    >>> write_bundle(path, "stats", {"layer": "fc"}, {"mean": np.zeros(3), "ids": np.array(["a", "ü"])})
    >>> read_bundle(path, "stats").arrays["ids"]
    array(['a', 'ü'], dtype='<U1')

    Args:
        path: the file; its folder must be there.
        kind: what the arrays are, such as "embedding"; a reader asks for it by this name.
        about: what JSON can hold: texts as keys, finite numbers.
        arrays: name → numbers, bools or text, of any shape, byte order and memory order.
        durability: "fsync": on the disk when this returns; "rename": whole, if the machine does not fail.

    Raises:
        BundleError: something cannot be stored; nothing was written.
        OSError: the disk refused; nothing is left behind, and an older file is as it was.
    """
    if not isinstance(kind, str) or not KIND.fullmatch(kind):
        raise BundleError.kind(kind)
    check_names(arrays)
    stored, texts = as_stored(arrays)
    placed = header.layout((name, str(code_of(each.dtype)), each.shape) for name, each in stored.items())
    views = {tensor.name: bytes_of(stored[tensor.name]) for tensor in placed}
    digests = {tensor.name: hex128(views[tensor.name]) for tensor in placed}
    meta = Meta(bundle=kind, version=VERSION, digests=digests, texts=texts, about=_told(about))
    raw = _header(meta, placed)
    target = Path(path)
    size = len(raw) + (placed[-1].end if placed else 0)
    with commit.committed(target.parent, target.name, size, durability=durability, replace=True) as file:
        file.write_at([raw, *(view for view in views.values() if len(view))], 0)


def _told(about: Mapping[str, Any]) -> msgspec.Raw:
    try:
        if not isinstance(about, Mapping):
            raise TypeError(f"it is {type(about).__name__}")
        _check_keys(about)
        told = json.dumps(dict(about), allow_nan=False, ensure_ascii=False).encode()
        msgspec.json.decode(told)  # whole numbers may be too long for a reader
        return msgspec.Raw(told)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BundleError.about(error) from error


def _header(meta: Meta, placed: Sequence[header.Tensor]) -> bytes:
    """Encode the header, and hold it to what a reader will ask of it."""
    text = strict_json.ascii_only(msgspec.json.encode(meta)).decode()
    try:
        check_cost(text, len(placed))
    except strict_json.Invalid as error:
        raise BundleError.too_large(error) from error
    raw = header.encode(text, placed)
    if len(raw) - 8 > header.MAX_HEADER or len(placed) > header.MAX_TENSORS:
        raise BundleError.too_large(f"its header has {len(raw):,} bytes for {len(placed):,} tensors")
    return raw


def _check_keys(value: Any) -> None:
    """Refuse a key that is no text: json.dumps would make it one, and two keys may become the same."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key is {key!r}")
            _check_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)
