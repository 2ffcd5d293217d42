"""assert_close(): a port check as an assertion, for pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actlens.compare.diff import diff
from actlens.errors import NotClose
from actlens.selection import Layers


def assert_close(
    a: Any,
    b: Any,
    *,
    layers: Layers | Mapping[str, str] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> None:
    """Raise if a layer of b differs from that of a by more than the tolerance; arguments as of
    `compare.diff`.

    Raises:
        NotClose: an AssertionError with the table, the first layer that diverges and what is wrong with it.
        CompareError: the two cannot be compared.

    >>> from actlens.compare.assert_close import assert_close
    >>> assert_close(run, run)
    """
    found = diff(a, b, layers=layers, rtol=rtol, atol=atol)
    if not found.ok:
        raise NotClose.of(str(found))
