"""The arrays of a bundle as tensors, and back: numbers as they are, text as UTF-8 and offsets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import BundleError
from actlens.format.dtypes import code_of
from actlens.format.schema import MAX_NAME
from actlens.format.text import text_dtype

ARRAY, OFFSETS = "arr:", "idx:arr:"
"""What stands before an array's name: of its values, or the bytes of its text; and of the text's offsets."""

Array = npt.NDArray[Any]
Shapes = dict[str, tuple[int, ...]]


def check_names(names: Iterable[Any]) -> None:
    """Refuse what is no name."""
    for name in names:
        if not isinstance(name, str) or "\0" in name:
            raise BundleError.name(name)
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise BundleError.name(name) from error
        if not 0 < size <= MAX_NAME:
            raise BundleError.name(name)


def as_stored(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], Shapes]:
    """Give tensors by their full names, and the shapes of the arrays that are text."""
    stored: dict[str, Array] = {}
    texts: Shapes = {}
    for name, given in arrays.items():
        values = np.asarray(given)
        if values.dtype.kind in "UTO":
            texts[name] = values.shape
            stored[ARRAY + name], stored[OFFSETS + name] = _encoded(name, values)
        elif values.dtype.names is not None or code_of(values.dtype) is None:
            raise BundleError.dtype(name, values.dtype)
        else:
            stored[ARRAY + name] = values
    return stored, texts


def as_given(stored: Mapping[str, Array], texts: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Undo `as_stored`.

    Raises:
        ValueError: tensors that are not of these arrays, or text that is none.
    """
    arrays = {}
    offsets = {OFFSETS + name for name in texts}
    for full, values in stored.items():
        if full in offsets:
            continue
        if not full.startswith(ARRAY) or len(full) == len(ARRAY):
            raise ValueError(f"it has a tensor {full!r}, which is no array of a bundle")
        name = full.removeprefix(ARRAY)
        arrays[name] = _decoded(name, stored, texts[name]) if name in texts else values
    return arrays


def _encoded(name: str, values: Array) -> tuple[Array, Array]:
    texts = values.reshape(-1).tolist()
    if not all(isinstance(text, str) for text in texts):
        raise BundleError.dtype(name, values.dtype)
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise BundleError.text(name, error) from error
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def _decoded(name: str, stored: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    raw, offsets = stored[ARRAY + name], stored.get(OFFSETS + name)
    if offsets is None or raw.dtype != np.uint8 or offsets.dtype != np.int64 or raw.ndim != 1:
        raise ValueError(f"the text {name!r} is not bytes with offsets")
    if offsets.shape != (math.prod(shape) + 1,):
        raise ValueError(f"the text {name!r} has {offsets.size} offsets, which do not fit its shape")
    # Compared, not subtracted: a difference of two int64 may wrap around.
    if offsets[0] != 0 or offsets[-1] != len(raw) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"the text {name!r} has offsets that do not rise from 0 to its {len(raw)} bytes")
    whole = raw.tobytes()
    try:
        texts = [whole[a:b].decode() for a, b in itertools.pairwise(offsets.tolist())]
    except UnicodeDecodeError as error:
        raise ValueError(f"the text {name!r} is not UTF-8: {error.reason}") from error
    if any(text.endswith("\0") for text in texts):  # numpy would drop it
        dtype: np.dtype[Any] = np.dtypes.StringDType()
    else:
        dtype = text_dtype(len(texts), max(map(len, texts), default=0), len(raw))
    return np.array(texts, dtype=dtype).reshape(shape)
