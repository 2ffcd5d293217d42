"""JSON from an untrusted file, read strictly and in bounded memory.

Python's reader takes NaN and a key that stands twice, and turns three bytes of `[],` into seventy of objects;
msgspec's reader takes a key twice too. Here the cost of a text is estimated, by counting a few characters,
before anything is made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

MOST_WIDE = 4 << 20
"""A longer text must be ASCII (others escaped): one wide character makes Python store all of it wide."""

# What one of these can cost once parsed: a list, a member with its pair, half of a text, an item of a list.
_COSTS = ((b"[", 64), (b"{", 64), (b":", 100), (b'"', 32), (b",", 40))


_WIDE = re.compile(r"[^\x00-\x7f]+")


class Invalid(ValueError):
    """JSON that is not well formed, or a limit that is not kept."""


def cost(text: bytes) -> int:
    """Estimate, from above, the bytes of memory that parsing a text takes; marks in strings count too."""
    return sum(text.count(mark) * each for mark, each in _COSTS)


def loads(text: bytes | memoryview, hook: Callable[[dict[str, Any]], Any] = lambda entries: entries) -> Any:
    """Parse; `hook` is given every object as it is complete, and gives what shall stand in its place.

    Raises:
        Invalid: not UTF-8, not JSON, a key twice, NaN or Infinity, nested too deeply.
    """

    def strict(pairs: list[tuple[str, Any]]) -> Any:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise Invalid("a key stands twice")
        return hook(entries)

    try:
        return json.loads(str(text, "utf-8"), object_pairs_hook=strict, parse_constant=_no_constants)
    except Invalid:
        raise
    except (ValueError, RecursionError) as error:
        raise Invalid(str(error)) from error


def check(text: bytes, budget: int) -> None:
    """Hold a text to what `loads` asks, and to a cost, without keeping anything of it.

    Raises:
        Invalid: as of `loads`; or it costs more than the budget.
    """
    if cost(text) > budget or (len(text) > MOST_WIDE and not text.isascii()):
        raise Invalid("it has far more entries than what it describes")
    loads(text, lambda _entries: None)


def _no_constants(text: str) -> Any:
    raise Invalid(f"{text} is not JSON")


def ascii_only(text: bytes) -> bytes:
    r"""Escape what is not ASCII in JSON; it stands in strings only.

    >>> ascii_only('{"größe":1}'.encode())
    b'{"gr\\u00f6\\u00dfe":1}'
    """
    if text.isascii():
        return text
    return _WIDE.sub(lambda found: json.dumps(found[0])[1:-1], text.decode()).encode()
