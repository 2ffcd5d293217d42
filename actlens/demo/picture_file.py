"""Pictures without a window: figures that no global state keeps, and files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from actlens.reduce.optional import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches, without pyplot: no display is needed, and it is freed by itself.

    Raises MissingDependency without matplotlib.
    """
    need("matplotlib", feature="drawing", package="matplotlib", extra="plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float, *, three_d: bool = False) -> Axes:
    """Make a figure with one Axes."""
    axes: Axes = new_figure(width, height).add_subplot(projection="3d" if three_d else None)
    return axes


def save(figure: Figure, path: Path) -> Path:
    """Write a picture in the format of the path's suffix, aside and renamed.

    Raises:
        OSError: the disk refuses; an old picture is then still whole.
    """
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        figure.savefig(aside, dpi=_DPI, facecolor="white")
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
    return path
