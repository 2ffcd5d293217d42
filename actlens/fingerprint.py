"""Fingerprints, by which a recording that is gone on with knows another model or another function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.backend import Backend

_SIMPLE = (int, float, complex, str, bytes, bool, type(None))


def weights_fingerprint(backend: Backend, model: Any) -> str | None:
    """Give a digest of a few values of each parameter: 16 hex digits; None where the adapter gives none."""
    sample: Callable[[Any], Iterable[npt.NDArray[Any]]] | None = getattr(backend, "weights", None)
    arrays = list(sample(model)) if sample is not None else []
    if not arrays:
        return None
    state = xxhash.xxh3_64()
    for array in arrays:
        state.update(f"{array.dtype.name} {array.shape} ".encode())
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def function_fingerprint(function: Any) -> str:
    """Give a digest of what a function does, as far as its code, defaults and simple closed-over values tell.

    >>> a, b = function_fingerprint(lambda x: x + 1), function_fingerprint(lambda x: x + 2)
    >>> len(a), a == b
    (8, False)
    """
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:  # a callable object, a builtin: its class is all there is
        return xxhash.xxh3_64_hexdigest(type(function).__qualname__.encode())[:8]
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    parts = [_code_text(code), *map(_text, function.__defaults__ or ()), *map(_text, cells)]
    return xxhash.xxh3_64_hexdigest("\0".join(parts).encode())[:8]


def _code_text(code: CodeType) -> str:
    constants = [
        _code_text(value) if isinstance(value, CodeType) else _text(value) for value in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _text(value: Any) -> str:
    if isinstance(value, (tuple, frozenset)):
        return f"{type(value).__name__}({sorted(map(_text, value))})"
    return repr(value) if isinstance(value, _SIMPLE) else type(value).__qualname__


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
