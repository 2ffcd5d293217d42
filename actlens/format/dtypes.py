"""Element types: the codes of safetensors, and the numpy dtypes that hold them (ml_dtypes included).

Sub-byte types (F4, F6) are refused: a row of them need not end on a byte.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

_CODES: dict[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
DTYPES: dict[str, np.dtype[np.generic]] = {code: np.dtype(kind) for code, kind in _CODES.items()}
_CODE_OF = {dtype: code for code, dtype in DTYPES.items()}
_BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}


def code_of(dtype: npt.DTypeLike) -> str | None:
    """Give the safetensors code of a dtype of either byte order, or None where there is none.

    >>> code_of("float32"), code_of(">f4"), code_of("complex128")
    ('F32', 'F32', None)
    """
    native = np.dtype(dtype).newbyteorder("=")
    return _CODE_OF.get(native)


def named(name: str) -> np.dtype[np.generic] | None:
    """Give the dtype of a name such as "bfloat16", or None where it cannot be stored.

    >>> named("bfloat16")
    dtype(bfloat16)
    """
    return _BY_NAME.get(name)


def names() -> list[str]:
    """List the names of all dtypes that can be stored."""
    return list(_BY_NAME)


def itemsize(name: str) -> int:
    """Give bytes per value of a dtype by name; also of those that cannot be stored."""
    known = _BY_NAME.get(name)
    return known.itemsize if known else np.dtype(name).itemsize


def is_floating(dtype: npt.DTypeLike) -> bool:
    """Say whether values are real floating-point numbers, ml_dtypes included."""
    dtype = np.dtype(dtype)
    return dtype.kind == "f" or (dtype.kind == "V" and dtype in _CODE_OF)
