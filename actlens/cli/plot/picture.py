"""What the four pictures share: a file for them, and numbers in their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actlens.cli.output import check, writing
from actlens.cli.problems import Misuse


def check_picture(out: Path, *, force: bool) -> None:
    """Refuse an output before the work. Raises Misuse."""
    from actlens.demo.picture_file import SUFFIXES

    check(out, SUFFIXES, force=force)


def save(axes: Any, out: Path) -> None:
    """Write the figure of some axes. Raises Failed where the disk refuses."""
    from actlens.demo.picture_file import save as save_figure

    with writing(out):
        save_figure(axes.figure, out)


def save_sized(axes: Any, out: Path) -> None:
    """Write a figure that a picture made for itself, in the size that it needs, and free it."""
    from matplotlib import pyplot as plt

    try:
        save(axes, out)
    finally:
        plt.close(axes.figure)


def numbers(option: str, given: str) -> list[int]:
    """Read "0,2".

    Raises:
        Misuse: not whole numbers with commas between them.
    """
    try:
        return [int(text) for text in given.split(",")]
    except ValueError as error:
        raise Misuse.numbers(option, given) from error


def rows(given: str) -> int | slice:
    """Read "3" as one sample, "0:64" as a range.

    Raises:
        Misuse: something else.
    """
    try:
        parts = [int(text) if text else None for text in given.split(":")]
    except ValueError as error:
        raise Misuse.rows(given) from error
    if len(parts) == 1 and parts[0] is not None:
        return parts[0]
    if len(parts) not in (2, 3) or parts[2:] == [0]:
        raise Misuse.rows(given)
    return slice(*parts)
