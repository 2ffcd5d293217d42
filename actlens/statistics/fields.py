"""The fields of many states, end to end: one array for each, however many states there are.

A file holds at most 65,536 arrays, and a state has some forty numbers and arrays; so every number of a state
is a piece of the array of that field, in the order of the states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError
from actlens.format.text import joined, text_dtype

Array = npt.NDArray[Any]

_TEXT = "text"
_NUMBERS = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
ID_KINDS = (_TEXT, *_NUMBERS, "float16", "float32", "float64")
"""What ids are: of rows of arrays int64, of recordings int64 or text. Files name a kind by its place here."""
NO_IDS = -1

_POWERS = {"count": "int64"} | dict.fromkeys(("mean", "m2", "m3", "m4"), "float64")
_HISTOGRAM = {"used": "int64", "bins": "uint16", "counts": "int64"}
FIELDS: dict[str, str] = {
    "group.kind": "uint8",
    "group.text": _TEXT,
    **dict.fromkeys(("state.group", "state.layer", "state.plan", "state.shift", "state.labels"), "int64"),
    **dict.fromkeys(("state.classes", "state.rows", "state.bad_rows"), "int64"),
    **{f"powers.{name}": dtype for name, dtype in _POWERS.items()},
    **dict.fromkeys(("unit.low", "unit.high"), "float64"),
    **dict.fromkeys(("unit.zeros", "unit.nan", "unit.infinite"), "int64"),
    **{f"norms.{name}": dtype for name, dtype in _POWERS.items()},
    "norms.extremes": "float64",
    **{f"norms.histogram.{name}": dtype for name, dtype in _HISTOGRAM.items()},
    **{f"histogram.{name}": dtype for name, dtype in _HISTOGRAM.items()},
    **dict.fromkeys(("bad.size", "bad.kind", "top.size", "top.kind", "top.unit", "top.row"), "int64"),
    "top.value": "float64",
    "bounds.kept": "bool",
    **dict.fromkeys(("bounds.near", "bounds.at_extremes"), "int64"),
    "bounds.extremes": "float64",
    **dict.fromkeys(("classes.columns", "classes.count"), "int64"),
    "classes.total": "float64",
    **dict.fromkeys(("sample.every", "sample.positions", "sample.size", "sample.pieces"), "int64"),
    "spread.known": "bool",
    **dict.fromkeys(("spread.count", "spread.every"), "int64"),
    **dict.fromkeys(("spread.mean", "spread.scatter"), "float64"),
    "shift.units": "int64",
    "shift.values": "float64",
    **dict.fromkeys(("piece.rows", "piece.units"), "int64"),
    "piece.wide": "bool",
    "piece.float32": "float32",
    "piece.float64": "float64",
    **{f"ids.{kind}": kind for kind in ID_KINDS},
}
"""Field → dtype. The same names stand in the file; docs/format.md, 9.1."""


class FieldWriter:
    """Takes up the fields of one state after the other."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Array]] = {name: [] for name in FIELDS}

    def put(self, name: str, values: Any) -> None:
        """Add a number, or an array of any shape, to a field; its dtype must hold it exactly."""
        flat = np.asarray(values).reshape(-1)
        self._parts[name].append(
            flat if FIELDS[name] == _TEXT else flat.astype(FIELDS[name], casting="safe", copy=False)
        )

    def put_ids(self, name: str, ids: Array | None) -> None:
        """Add ids of whatever kind, and say which.

        Raises:
            StatisticsError: objects.
        """
        kind = NO_IDS
        if ids is not None:
            told = _TEXT if ids.dtype.kind in "UT" else ids.dtype.name
            if told not in ID_KINDS:
                raise StatisticsError.odd_ids(ids.dtype)
            kind = ID_KINDS.index(told)
            self.put(f"ids.{told}", ids)
        self.put(name, kind)

    def arrays(self) -> dict[str, Array]:
        """Give field → array; fields of which there is nothing are left out."""
        return {
            name: joined(parts) if FIELDS[name] == _TEXT else np.concatenate(parts)
            for name, parts in self._parts.items()
            if parts
        }


class FieldReader:
    """Gives the fields of one state after the other; whatever does not fit is a ValueError that says so."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            wanted = FIELDS.get(name)
            if wanted is None:
                raise ValueError(f"it has an array {name!r}, which statistics do not have")
            kind = _TEXT if array.dtype.kind in "UT" else array.dtype.name
            if kind != wanted or array.ndim != 1:
                raise ValueError(f"{name!r} is {kind} of {array.ndim} axes; it must be {wanted} of one")
        self._arrays = arrays
        self._at = dict.fromkeys(arrays, 0)

    def left(self, name: str) -> int:
        """Say how many values of a field were not read yet."""
        return len(self._arrays[name]) - self._at[name] if name in self._arrays else 0

    def get(self, name: str, *shape: int) -> Array:
        """Read the next values of a field, as an array of their own."""
        size = math.prod(shape)
        if min(shape) < 0 or size > self.left(name):
            raise ValueError(f"{name!r} has {self.left(name)} values left where {shape} are needed")
        if name not in self._arrays:
            return np.zeros(shape, "U1" if FIELDS[name] == _TEXT else FIELDS[name])
        at = self._at[name]
        self._at[name] = at + size
        some = self._arrays[name][at : at + size]
        return (_texts(some) if FIELDS[name] == _TEXT else some.copy()).reshape(shape)

    def number(self, name: str, least: int = 0, most: int = 1 << 60) -> int:
        """Read one whole number that must be from `least` to `most`."""
        value = int(self.get(name, 1)[0])
        if not least <= value <= most:
            raise ValueError(f"{name!r} is {value}; it must be from {least} to {most}")
        return value

    def counts(self, name: str, *shape: int, most: Any = 1 << 60) -> Array:
        """Read counts, which must be from 0 to `most`."""
        values = self.get(name, *shape)
        if (values < 0).any() or (values > most).any():
            raise ValueError(f"{name!r} counts less than nothing, or more than there is")
        return values

    def ids(self, name: str, size: int) -> Array | None:
        """Read as many ids, of the kind that the field `name` says."""
        kind = self.number(name, NO_IDS, len(ID_KINDS) - 1)
        return None if kind == NO_IDS else self.get(f"ids.{ID_KINDS[kind]}", size)

    def finish(self) -> None:
        """Make sure that everything was read."""
        for name in self._arrays:
            if self.left(name):
                raise ValueError(f"{name!r} has {self.left(name)} values more than its states have")


def _texts(some: Array) -> Array:
    texts = some.tolist()
    if any(text.endswith("\0") for text in texts):  # numpy would drop it
        raise ValueError("a text ends with NUL")
    size = sum(len(text.encode()) for text in texts)
    return np.array(texts, dtype=text_dtype(len(texts), max(map(len, texts), default=0), size))
