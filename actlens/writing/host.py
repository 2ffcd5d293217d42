"""Arrays from whatever framework to numpy, and the narrowing of floats that was asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from actlens.backend import Backend, backend_of, root_of
from actlens.errors import RecordingError
from actlens.format.dtypes import is_floating

Arrays = dict[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.int64]


def fetch(arrays: Mapping[str, Any], rows: Rows | None = None) -> Callable[[], Arrays]:
    """Start the copy of arrays to the host, of some rows only where `rows` is given; return what waits.

    The result is C-contiguous, native-endian, and shares no memory with `arrays`.
    """
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    backends: dict[str, Backend] = {}
    ready: Arrays = {}
    for key, array in arrays.items():
        if isinstance(array, np.ndarray):
            ready[key] = _owned(array, rows)
        else:
            backend = backend_of(array)
            backends[backend.name] = backend
            groups[backend.name][key] = array
    waits = [backends[name].fetch(group, rows=rows) for name, group in groups.items()]
    return lambda: _in_order(arrays, ready, waits)


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """Give a value as numpy: an array of a framework, of numpy, a list, a number.

    Raises:
        ValueError: a nested list whose rows differ in length.
    """
    if isinstance(value, np.ndarray):
        return value
    if root_of(type(value)) is not None:
        return fetch({"": value})()[""]
    return np.asarray(value)


def is_unicode(text: str) -> bool:
    """Say whether a text can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def narrowed(array: npt.NDArray[Any], dtype: np.dtype[Any], layer: str) -> npt.NDArray[Any]:
    """Cast floats to `dtype`; leave integers and bools as they are.

    Raises:
        RecordingError: finite numbers would become infinite.
    """
    if not is_floating(array.dtype) or array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: signalling NaNs, also where isfinite looks
        cast = array.astype(dtype)
        finite = np.isfinite(cast)
        lost = None if finite.all() else np.isfinite(array) & ~finite
    if lost is not None and lost.any():
        limit = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        largest = float(np.abs(array[lost].astype(np.float64)).max())
        raise RecordingError.overflow(layer, dtype.name, largest, limit)
    return cast


def _owned(array: npt.NDArray[Any], rows: Rows | None) -> npt.NDArray[Any]:
    native = array.dtype.newbyteorder("=")
    if rows is not None:
        array = array[rows]  # a copy already, but maybe not in C order
        return np.ascontiguousarray(array, dtype=native)
    return np.array(array, dtype=native, order="C", copy=True, subok=False)


def _in_order(order: Mapping[str, Any], ready: Arrays, waits: list[Callable[[], Arrays]]) -> Arrays:
    for wait in waits:
        ready.update(wait())
    return {key: ready[key] for key in order}
