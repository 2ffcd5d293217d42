"""Whole numbers that were given as parameters: of Python, of numpy, of whatever counts as one."""

from __future__ import annotations

import operator
from typing import Any

from actlens.errors import StatisticsError


def whole_number(name: str, given: Any, least: int, allowed: str = "") -> int:
    """Give it as an int of at least `least`; a bool is none.

    Raises:
        StatisticsError: it is none, or less.

    >>> whole_number("top", 3, 0)
    3
    """
    try:
        value = least - 1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        value = least - 1
    if value < least:
        raise StatisticsError.parameter(name, given, f"{allowed}a whole number of at least {least}")
    return value
