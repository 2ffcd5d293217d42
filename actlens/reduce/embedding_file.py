"""An Embedding in one safetensors file: a bundle (docs/format.md, 9.1), readable by any safetensors reader.

Arrays: `points`, `ids`, `column:<number>` in the order of the names in the metadata, and those of `_OPTIONAL`
that there are. A new field of Embedding is saved once its name stands in `_OPTIONAL`, where it is an array of
floats, or in `_NOTES`, where it is a dataclass; readers that do not know it leave it out.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import (
    BundleError,
    CorruptBundle,
    ReadFailed,
    ReduceError,
    UnsupportedFormat,
    seen_in_bundle,
)
from actlens.format.bundle import Bundle, begins_as_bundle, read_bundle, write_bundle
from actlens.format.dtypes import code_of
from actlens.reduce import embedding_format_1
from actlens.reduce.aligning.alignment import Alignment
from actlens.reduce.components.axes import Solution
from actlens.reduce.embedding import Embedding, plain

Array = npt.NDArray[Any]

KIND = "embedding"
FORMAT = 2
_OPTIONAL = ("components", "mean", "explained_variance", "explained_variance_ratio")
_NOTES: dict[str, Callable[[Any], Any]] = {
    "solution": lambda about: msgspec.convert(about, Solution),
    "alignment": Alignment.from_plain,
}
_ABOUT_BYTES = 1 << 20  # of the JSON text: a thousand times what it needs
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # no fault of the path
_TYPES = {"layer": str, "method": str, "parameters": dict, "versions": dict, "columns": list}


def save(embedding: Embedding, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    target = _path(path, "save")
    if os.path.isdir(target):  # not Path.is_dir: it raises for a name that is too long
        raise ReduceError.cannot_write(path, "it is a folder: give the name of a file in it")
    if not os.path.isdir(target.parent):
        raise ReduceError.cannot_write(path, f"there is no folder {str(target.parent)!r}: make it first")
    about, arrays = packed(embedding)
    text = json.dumps(about, ensure_ascii=False)
    if len(text) > _ABOUT_BYTES:
        raise ReduceError.cannot_write(
            path,
            f"its parameters and column names take {len(text):,} characters; {_ABOUT_BYTES:,} can be read",
        )
    try:
        text.encode()
        write_bundle(target, KIND, about, arrays)
    except UnicodeEncodeError as error:
        raise ReduceError.cannot_write(path, f"a name or parameter is no valid Unicode ({error})") from error
    except BundleError as error:
        raise ReduceError.cannot_write(path, str(error).rstrip(".")) from error
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise ReduceError.cannot_write(path, str(error.strerror).lower()) from error


def load(path: str | os.PathLike[str]) -> Embedding:
    """Read an Embedding; everything in it must be of the right type and fit together."""
    source = Path(os.path.realpath(_path(path, "load")))  # the caller may name a link
    if not os.path.lexists(source):
        raise ReduceError.not_an_embedding(path, "there is no such file")
    if not begins_as_bundle(source):
        return embedding_format_1.load(path, source)
    try:
        bundle = read_bundle(source, KIND)
    except CorruptBundle as error:
        raise ReduceError.not_an_embedding(path, seen_in_bundle(error)) from error
    except (ReadFailed, UnsupportedFormat) as error:
        raise ReduceError.not_an_embedding(path, error) from error
    return unpacked(bundle, path)


def packed(embedding: Embedding) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give the metadata and the arrays of a bundle. Raises ReduceError for a column of objects."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "layer": embedding.layer,
        "method": embedding.method,
        "parameters": plain(embedding.parameters),
        "versions": embedding.versions,
        "columns": list(embedding.columns),
    }
    notes = {name: getattr(embedding, name) for name in _NOTES}
    about |= {name: plain(dataclasses.asdict(note)) for name, note in notes.items() if note is not None}
    arrays = {"points": embedding.points, "ids": _storable("ids", embedding.ids)}
    for number, (name, column) in enumerate(embedding.columns.items()):
        arrays[f"column:{number}"] = _storable(name, column)
    optional = {name: getattr(embedding, name) for name in _OPTIONAL}
    return about, arrays | {name: value for name, value in optional.items() if value is not None}


def unpacked(bundle: Bundle, path: object) -> Embedding:
    """Undo `packed`. Raises ReduceError where parts are missing, of the wrong type, or do not fit."""
    about, arrays = bundle.about, bundle.arrays
    _check_about(path, about)
    try:
        axes: dict[str, Any] = {name: _floats(arrays, name) for name in _OPTIONAL if name in arrays}
        return Embedding(
            points=_floats(arrays, "points"),
            ids=arrays["ids"],
            columns={name: arrays[f"column:{number}"] for number, name in enumerate(about["columns"])},
            layer=about["layer"],
            method=about["method"],
            parameters=about["parameters"],
            versions=about["versions"],
            **axes,
            **{name: read(about[name]) for name, read in _NOTES.items() if name in about},
        )
    except KeyError as error:
        raise ReduceError.not_an_embedding(path, f"it lacks {error}") from error
    except (msgspec.ValidationError, ValueError) as error:  # a ReduceError: the parts do not fit together
        raise ReduceError.not_an_embedding(path, error) from error


def _path(path: object, verb: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in os.fsdecode(path):
        raise ReduceError.not_a_path(verb, path)
    return Path(os.fsdecode(path))


def _check_about(path: object, about: Mapping[str, Any]) -> None:
    """Raise ReduceError unless each entry is there and of its type."""
    found = about.get("format")
    if type(found) is not int or found < FORMAT:
        raise ReduceError.not_an_embedding(path, "its metadata is not an object with a format")
    if found > FORMAT:
        raise ReduceError.newer_embedding(path, found, FORMAT)
    for name, kind in _TYPES.items():
        if name not in about:
            raise ReduceError.not_an_embedding(path, f"its metadata lacks {name!r}")
        if not isinstance(about[name], kind):
            raise ReduceError.not_an_embedding(
                path, f"{name!r} in its metadata is {type(about[name]).__name__}; it must be {kind.__name__}"
            )
    columns, versions = about["columns"], about["versions"].values()
    if not all(isinstance(item, str) for item in [*columns, *versions]) or len({*columns}) < len(columns):
        raise ReduceError.not_an_embedding(path, "its column names and versions must be text, each name once")


def _storable(name: str, values: Array) -> Array:
    objects = values.dtype.kind == "O" and not all(isinstance(text, str) for text in values.tolist())
    if objects or (values.dtype.kind not in "UTO" and code_of(values.dtype) is None):
        raise ReduceError.bad_column(
            name, f"has dtype {values.dtype}; numbers, booleans and text can be saved"
        )
    return values


def _floats(arrays: Mapping[str, Array], name: str) -> Array:
    if arrays[name].dtype.kind != "f":
        raise ReduceError.bad_column(name, f"has dtype {arrays[name].dtype}; it must be of floats")
    return np.asarray(arrays[name])
