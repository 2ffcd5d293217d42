"""Files of embeddings that actlens 0.1.0 wrote, format 1: read for ever, written no more.

Keys: `points`, `ids`, `column:<name>`, and for PCA `components`, `mean`, `explained_variance`,
`explained_variance_ratio`. Text is two tensors, uint8 and int64 from 0: `ids.utf8` and `ids.offsets`,
`column.utf8:<name>` and `column.offsets:<name>`. What a tensor is stands before the first colon, so a column
may have any name. `__metadata__` holds one JSON text under "actlens_embedding".
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.embedding import Embedding

Array = npt.NDArray[Any]

_KEY = "actlens_embedding"
_FORMAT = 1
_OPTIONAL = ("components", "mean", "explained_variance", "explained_variance_ratio")
_ABOUT_BYTES = 1 << 20  # of the JSON text: a thousand times what it needs
_TYPES = {"layer": str, "method": str, "parameters": dict, "versions": dict, "columns": list}


def load(path: object, source: Path) -> Embedding:
    """Read an Embedding; everything in it must be of the right type and fit together.

    `path` is what the caller gave, for messages.
    """
    from safetensors import SafetensorError, safe_open

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


def _key(name: str | None, part: str = "") -> str:
    """Name a tensor of a column, or of the ids where `name` is None. The part stands before the colon."""
    return f"ids{part}" if name is None else f"column{part}:{name}"


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
