"""An Embedding in one safetensors file: no pickle, readable by any safetensors reader.

Keys: `points`, `ids`, `column:<name>`, and for PCA `components`, `mean`, `explained_variance`,
`explained_variance_ratio`. Text is two tensors, `<key>:utf8` (uint8) and `<key>:offsets` (int64, from 0).
`__metadata__` holds one JSON text under "actlens_embedding".
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.embedding import Embedding, plain

Array = npt.NDArray[Any]

_KEY = "actlens_embedding"
_FORMAT = 1
_OPTIONAL = ("components", "mean", "explained_variance", "explained_variance_ratio")
_COLUMN = "column:"


def save(embedding: Embedding, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    from safetensors.numpy import save as to_bytes

    tensors = _tensors(embedding)
    about = {
        "format": _FORMAT,
        "layer": embedding.layer,
        "method": embedding.method,
        "parameters": plain(embedding.parameters),
        "versions": embedding.versions,
        "columns": list(embedding.columns),
    }
    # Not save_file: it makes the file 0600 whatever the umask.
    data = to_bytes(tensors, metadata={_KEY: json.dumps(about, ensure_ascii=False)})
    target = Path(path)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def load(path: str | os.PathLike[str]) -> Embedding:
    """Read an Embedding; its points, ids and columns must fit together."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(path, file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
    except FileNotFoundError as error:
        raise ReduceError.not_an_embedding(path, "there is no such file") from error
    except (SafetensorError, OSError) as error:
        raise ReduceError.not_an_embedding(path, error) from error
    try:
        return Embedding(
            points=tensors["points"],
            ids=_read(tensors, "ids"),
            columns={name: _read(tensors, _COLUMN + name) for name in about["columns"]},
            layer=about["layer"],
            method=about["method"],
            parameters=about["parameters"],
            versions=about["versions"],
            **{name: tensors.get(name) for name in _OPTIONAL},
        )
    except KeyError as error:
        raise ReduceError.not_an_embedding(path, f"it lacks {error}") from error
    except (ReduceError, UnicodeDecodeError, TypeError) as error:
        raise ReduceError.not_an_embedding(path, error) from error


def _about(path: object, metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ReduceError.not_an_embedding(path, f"it is a safetensors file without {_KEY!r} metadata")
    try:
        about = json.loads(metadata[_KEY])
    except json.JSONDecodeError as error:
        raise ReduceError.not_an_embedding(path, error) from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise ReduceError.not_an_embedding(path, "its metadata is not an object with a format")
    if about["format"] > _FORMAT:
        raise ReduceError.newer_embedding(path, about["format"], _FORMAT)
    return about


def _tensors(embedding: Embedding) -> dict[str, Array]:
    tensors = {"points": embedding.points}
    tensors |= _written("ids", embedding.ids)
    for name, column in embedding.columns.items():
        tensors |= _written(_COLUMN + name, column)
    for name in _OPTIONAL:
        value = getattr(embedding, name)
        if value is not None:
            tensors[name] = value
    # safetensors 0.8.0 writes strided arrays wrong, and foreign byte order as it lies.
    return {key: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for key, v in tensors.items()}


def _written(key: str, values: Array) -> dict[str, Array]:
    if values.dtype.kind in "biuf":
        return {key: values}
    texts = values.tolist()
    if not all(isinstance(text, str) for text in texts):
        raise ReduceError.bad_column(
            key.removeprefix(_COLUMN), f"has dtype {values.dtype}; numbers, booleans and text can be saved"
        )
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    return {f"{key}:utf8": np.frombuffer(b"".join(encoded), np.uint8), f"{key}:offsets": offsets}


def _read(tensors: dict[str, Array], key: str) -> Array:
    if key in tensors:
        return tensors[key]
    data, offsets = tensors[f"{key}:utf8"].tobytes(), tensors[f"{key}:offsets"].tolist()
    texts = [data[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(offsets)]
    return np.array(texts, dtype=np.str_)
