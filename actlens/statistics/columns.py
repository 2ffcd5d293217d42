"""Which columns `by=` and `labels=` were: values of unlike columns must not be put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from actlens.errors import StatisticsError


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns; None for an array, whose name nobody knows, and where none was asked for."""

    by: str | None = None
    labels: str | None = None

    @classmethod
    def of(cls, by: Any, labels: Any) -> Columns:
        """Take the names out of what was asked for."""
        names = (str(each) if isinstance(each, str) else None for each in (by, labels))
        return cls(*names)

    def merge(self, other: Columns) -> Columns:
        """Keep the name that is known."""
        return Columns(self.by or other.by, self.labels or other.labels)


def ensure_alike(
    argument: str, mine: tuple[str | None, str | None], other: tuple[str | None, str | None]
) -> None:
    """Make sure that two are values of one column: each is a name, and the kind of the values, None for none.

    Raises:
        StatisticsError: only one was asked for, of another name, or with values of another kind.
    """
    (name, kind), (other_name, other_kind) = mine, other
    unlike = name is not None and other_name is not None and name != other_name
    if unlike or kind != other_kind:
        raise StatisticsError.other_column(argument, _told(argument, *mine), _told(argument, *other))


def kind_of(values: Any) -> str:
    """Say of what kind values are: numbers, whole or not, are of one.

    >>> kind_of(np.array([1.5])), kind_of("a"), kind_of(True)
    ('numbers', 'text', 'booleans')
    """
    return {"b": "booleans", "U": "text", "T": "text"}.get(np.asarray(values).dtype.kind, "numbers")


def kind_of_groups(values: Iterable[Any]) -> str | None:
    """Say of what kind the values of all groups are; None where there is no group."""
    return next((kind_of(value) for value in values), None)


def _told(argument: str, name: str | None, kind: str | None) -> str:
    if kind is None:
        return f"no {argument}="
    return f"{argument}={'an array' if name is None else repr(name)}, of {kind}"
