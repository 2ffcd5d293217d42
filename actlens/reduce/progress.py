"""A bar over the frames of a long reduction; in a pipe or a log file there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def shown(items: Iterable[Item], feature: str, *, total: int) -> Iterator[Item]:
    """Give the items, and move a bar on with each."""
    from tqdm.auto import tqdm

    in_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
    quiet = not (in_notebook or sys.stderr.isatty())
    yield from tqdm(items, desc=feature, unit=" frames", total=total, disable=quiet, leave=False)
