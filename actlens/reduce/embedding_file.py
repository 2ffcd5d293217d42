"""An Embedding in one safetensors file: no pickle, readable by any safetensors reader.

Keys: `points`, `ids`, `column:<name>`, and for PCA `components`, `mean`, `explained_variance`,
`explained_variance_ratio`. Text is two tensors, uint8 and int64 from 0: `ids.utf8` and `ids.offsets`,
`column.utf8:<name>` and `column.offsets:<name>`. What a tensor is stands before the first colon, so a column
may have any name. `__metadata__` holds one JSON text under "actlens_embedding".
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import uuid
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.embedding import Embedding, plain

Array = npt.NDArray[Any]

_KEY = "actlens_embedding"
_FORMAT = 1
_OPTIONAL = ("components", "mean", "explained_variance", "explained_variance_ratio")
_ABOUT_BYTES = 1 << 20  # of the JSON text: a thousand times what it needs
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # no fault of the path
_TYPES = {"layer": str, "method": str, "parameters": dict, "versions": dict, "columns": list}


def save(embedding: Embedding, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    from safetensors.numpy import save as to_bytes

    target = _path(path, "save")
    if os.path.isdir(target):  # not Path.is_dir: it raises for a name that is too long
        raise ReduceError.cannot_write(path, "it is a folder: give the name of a file in it")
    if not os.path.isdir(target.parent):
        raise ReduceError.cannot_write(path, f"there is no folder {str(target.parent)!r}: make it first")
    tensors = _tensors(embedding)
    about = {
        "format": _FORMAT,
        "layer": embedding.layer,
        "method": embedding.method,
        "parameters": plain(embedding.parameters),
        "versions": embedding.versions,
        "columns": list(embedding.columns),
    }
    text = json.dumps(about, ensure_ascii=False)
    if len(text) > _ABOUT_BYTES:
        raise ReduceError.cannot_write(
            path,
            f"its parameters and column names take {len(text):,} characters; {_ABOUT_BYTES:,} can be read",
        )
    # Not save_file: it makes the file 0600 whatever the umask.
    try:
        data = to_bytes(tensors, metadata={_KEY: text})
    except UnicodeEncodeError as error:
        raise ReduceError.cannot_write(path, f"a name or parameter is no valid Unicode ({error})") from error
    # A name that does not grow with the target's: that may be as long as the file system allows.
    aside = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise ReduceError.cannot_write(path, str(error.strerror).lower()) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


def load(path: str | os.PathLike[str]) -> Embedding:
    """Read an Embedding; everything in it must be of the right type and fit together."""
    from safetensors import SafetensorError, safe_open

    source = _path(path, "load")
    try:
        with safe_open(source, framework="numpy") as file:
            about = _about(path, file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
    except ReduceError:
        raise
    except FileNotFoundError as error:
        raise ReduceError.not_an_embedding(path, "there is no such file") from error
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise ReduceError.not_an_embedding(path, error) from error
    try:
        return Embedding(
            points=_floats(tensors, "points"),
            ids=_read(tensors, None),
            columns={name: _read(tensors, name) for name in about["columns"]},
            layer=about["layer"],
            method=about["method"],
            parameters=about["parameters"],
            versions=about["versions"],
            **cast(Any, {name: _floats(tensors, name) for name in _OPTIONAL if name in tensors}),
        )
    except KeyError as error:
        raise ReduceError.not_an_embedding(path, f"it lacks {error}") from error
    except ValueError as error:  # a ReduceError, or bytes that are no UTF-8
        raise ReduceError.not_an_embedding(path, error) from error


def _path(path: object, verb: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in os.fsdecode(path):
        raise ReduceError.not_a_path(verb, path)
    return Path(os.fsdecode(path))


def _about(path: object, metadata: dict[str, str]) -> dict[str, Any]:
    """Parse the JSON text. Raises ReduceError unless each entry is there and of its type."""
    if _KEY not in metadata:
        raise ReduceError.not_an_embedding(path, f"it is a safetensors file without {_KEY!r} metadata")
    text = metadata[_KEY]
    if len(text) > _ABOUT_BYTES:
        raise ReduceError.not_an_embedding(
            path, f"its metadata has {len(text):,} characters; at most {_ABOUT_BYTES:,} are read"
        )
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise ReduceError.not_an_embedding(path, error) from error
    if not isinstance(about, dict) or type(about.get("format")) is not int or about["format"] < 1:
        raise ReduceError.not_an_embedding(path, "its metadata is not an object with a format")
    if about["format"] > _FORMAT:
        raise ReduceError.newer_embedding(path, about["format"], _FORMAT)
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
    return about


def _tensors(embedding: Embedding) -> dict[str, Array]:
    tensors = {"points": embedding.points}
    tensors |= _written(embedding.ids, None)
    for name, column in embedding.columns.items():
        tensors |= _written(column, name)
    for name in _OPTIONAL:
        value = getattr(embedding, name)
        if value is not None:
            tensors[name] = value
    # safetensors 0.8.0 writes strided arrays wrong, and foreign byte order as it lies.
    return {key: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for key, v in tensors.items()}


def _key(name: str | None, part: str = "") -> str:
    """Name a tensor of a column, or of the ids where `name` is None. The part stands before the colon."""
    return f"ids{part}" if name is None else f"column{part}:{name}"


def _written(values: Array, name: str | None) -> dict[str, Array]:
    said = "ids" if name is None else name
    if values.dtype.kind in "biuf":
        return {_key(name): values}
    texts = values.tolist()
    if not all(isinstance(text, str) for text in texts):
        raise ReduceError.bad_column(
            said, f"has dtype {values.dtype}; numbers, booleans and text can be saved"
        )
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    data = np.frombuffer(b"".join(encoded), np.uint8)
    return {_key(name, ".utf8"): data, _key(name, ".offsets"): offsets}


def _read(tensors: dict[str, Array], name: str | None) -> Array:
    """Read numbers or text, (samples,)."""
    if _key(name) in tensors:
        return tensors[_key(name)]
    data, offsets = tensors[_key(name, ".utf8")], tensors[_key(name, ".offsets")]
    said = "ids" if name is None else name
    if data.dtype != np.uint8 or offsets.dtype != np.int64 or data.ndim != 1 or offsets.ndim != 1:
        raise ReduceError.bad_column(said, "has text that is not uint8 with int64 offsets")
    fits = len(offsets) and offsets[0] == 0 and offsets[-1] == len(data)
    if not fits or (offsets[1:] < offsets[:-1]).any():  # not their difference, which may overflow
        raise ReduceError.bad_column(said, f"has offsets that do not rise from 0 to its {len(data)} bytes")
    whole = data.tobytes()
    texts = [whole[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(offsets.tolist())]
    return np.array(texts, dtype=np.str_)


def _floats(tensors: dict[str, Array], name: str) -> Array:
    if tensors[name].dtype.kind != "f":
        raise ReduceError.bad_column(name, f"has dtype {tensors[name].dtype}; it must be of floats")
    return tensors[name]
