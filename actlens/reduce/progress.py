"""The line that says how far a reducer is, where somebody can see it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from actlens.errors import ReduceError

Item = TypeVar("Item")


class Line:
    """A progress line: `say` what is being done, `count` the iterations."""

    def __init__(self, bar: Any, name: str) -> None:
        self._bar = bar
        self._name = name

    def say(self, text: str) -> None:
        """Replace the text beside the name."""
        self._bar.set_description_str(f"{self._name}: {text}")

    def count(self, done: int, total: int) -> None:
        """Move to `done` of `total` iterations."""
        self._bar.total = total
        self._bar.n = done
        self._bar.refresh()  # the last of them too, which update() may leave out


@contextmanager
def line(feature: str, progress: bool | None) -> Iterator[Line]:
    """Show a line for as long as this lasts. None: in a terminal or a notebook, not in a pipe or a log file.

    Raises ReduceError for anything but None, True and False.
    """
    if progress is not None and not isinstance(progress, bool):
        raise ReduceError.parameter(feature, "progress", progress, "None, True or False")
    from tqdm.auto import tqdm

    in_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
    quiet = not (in_notebook or sys.stderr.isatty()) if progress is None else not progress
    with tqdm(desc=feature, unit=" iterations", disable=quiet, leave=False) as bar:
        yield Line(bar, feature)


def shown(items: Iterable[Item], feature: str, *, total: int) -> Iterator[Item]:
    """Give the frames of a long reduction, and move a bar on with each, in a terminal or a notebook."""
    from tqdm.auto import tqdm

    in_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
    quiet = not (in_notebook or sys.stderr.isatty())
    yield from tqdm(items, desc=feature, unit=" frames", total=total, disable=quiet, leave=False)
