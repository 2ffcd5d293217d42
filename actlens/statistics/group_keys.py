"""The values of `by=` in a file: each as text, with what it is, so that 1, 1.0, True and "1" stay apart."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from actlens.errors import StatisticsError
from actlens.statistics.fields import FieldReader, FieldWriter

_KINDS: tuple[type, ...] = (bool, int, float, str)
_NUMBER = re.compile(r"-?\d{1,20}", re.ASCII)


def put_groups(into: FieldWriter, values: Iterable[Any]) -> None:
    """Add the values of all groups.

    Raises:
        StatisticsError: one that is no bool, int, float or text.
    """
    for value in values:
        if type(value) not in _KINDS:
            raise StatisticsError.odd_group(value)
        told = value.hex() if isinstance(value, float) else str(value)
        into.put("group.kind", np.uint8(_KINDS.index(type(value))))
        into.put("group.text", np.array([told], str))


def read_groups(source: FieldReader) -> list[Any]:
    """Undo `put_groups`. Raises ValueError for what is none, or stands twice."""
    kinds = source.get("group.kind", source.left("group.kind")).tolist()
    texts = source.get("group.text", len(kinds)).tolist()
    if any(kind >= len(_KINDS) for kind in kinds):
        raise ValueError("a group is of no known kind")
    values = [_READERS[kind](text) for kind, text in zip(kinds, texts, strict=True)]
    if len({*values}) < len(values):
        raise ValueError("a group stands twice")
    return values


def _bool(text: str) -> bool:
    if text not in {"False", "True"}:
        raise ValueError(f"the group {text!r} is no bool")
    return text == "True"


def _int(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"the group {text!r} is no whole number")
    return int(text)


def _float(text: str) -> float:
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the group {text!r} is no number") from error
    if math.isnan(value):
        raise ValueError("a group is NaN")
    return value


_READERS: tuple[Callable[[str], Any], ...] = (_bool, _int, _float, str)
