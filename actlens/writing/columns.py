"""Columns: one value a row; what may be one, and how text is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.backend import root_of
from actlens.errors import ColumnError
from actlens.format.dtypes import code_of
from actlens.format.schema import STEP, STRING, ColumnSpec
from actlens.writing.host import is_unicode, to_numpy

Column = npt.NDArray[Any]


def as_column(name: str, value: Any, rows: int) -> Column:
    """Read a column: one value for each row, or one for all; numbers, bools or text.

    >>> as_column("step", 3, 2)
    array([3, 3])
    """
    column = _one_a_row(name, _array(name, value), rows)
    if column.dtype.kind in "OT" and all(isinstance(item, str) for item in column):
        column = np.array(list(column), dtype=str)
    if column.dtype.kind == "U":
        _check_text(name, value, column)
    elif code_of(column.dtype) is None:
        raise ColumnError.bad_values(name, f"values of the kind {column.dtype}")
    return column.astype(column.dtype.newbyteorder("="))  # a copy: the caller may change its array


def _array(name: str, value: Any) -> Column:
    try:
        column = to_numpy(value)
    except (ValueError, OverflowError) as error:
        raise ColumnError.bad_values(name, f"rows of different lengths ({error})") from error
    if isinstance(column, np.ma.MaskedArray):
        raise ColumnError.bad_values(name, "a masked array")
    if name == STEP and column.dtype.kind == "f" and np.isnan(column).any():
        raise ColumnError.bad_values(name, "NaN, which is no step")
    return column


def _one_a_row(name: str, column: Column, rows: int) -> Column:
    if column.ndim == 0:
        column = np.broadcast_to(column, (rows,))
    elif column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]  # labels of shape (rows, 1), as many loaders give them
    if column.ndim != 1:
        raise ColumnError.bad_values(name, f"an array of shape {column.shape}")
    if len(column) != rows:
        raise ColumnError.count(name, len(column), rows)
    return column


def _check_text(name: str, value: Any, column: Column) -> None:
    """Look at the texts as they were given: numpy drops a NUL at the end, and makes text of a number."""
    array = isinstance(value, np.ndarray) or root_of(type(value)) is not None
    items = column.tolist() if array else [value] if isinstance(value, str) else value
    if not all(isinstance(item, str) for item in items):
        raise ColumnError.bad_values(name, "a mixture of text and other things")
    for item in items:
        if "\0" in item or not is_unicode(item):
            raise ColumnError.bad_values(name, f"text that is not valid Unicode or holds NUL ({item!r})")


def spec_of(name: str, column: Column) -> ColumnSpec:
    """Describe a column for the schema."""
    code = STRING if column.dtype.kind == "U" else code_of(column.dtype)
    assert code is not None  # noqa: S101 - as_column admits storable dtypes only
    return ColumnSpec(name=name, dtype=code)
