"""Marks on the cells of a heat map: their numbers, a path through some, a veil over what says little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_HIGH, _LOW = 0.08, 0.3  # of a cell that has both: where the number is and where the path is
_EYE = np.array([0.2126, 0.7152, 0.0722])  # luminance of red, green and blue (ITU-R BT.709)
_BRIGHT = 0.45  # luminance of a colour that black is read on
_GREY = "0.35"  # of a number that says little
_HATCH = "0.5"
_VEIL = 0.6  # how opaque


def numbers(ax: Axes, drawn: Any, values: Array, faded: Array, *, size: float, raised: bool) -> None:
    """Write each value (rows, columns) into its cell, in black or white, whichever is seen."""
    from matplotlib.patheffects import withStroke

    texts = _texts(values)
    colours = drawn.to_rgba(np.where(np.isfinite(values), values, np.nan))[..., :3]
    colours[faded] += _VEIL * (1 - colours[faded])
    for row, column in np.ndindex(values.shape):
        behind = colours[row, column]
        ax.text(
            column,
            row - (_HIGH if raised else 0.0),
            texts[row][column],
            ha="center",
            va="center_baseline",
            fontsize=size,
            color=_GREY if faded[row, column] else "black" if behind @ _EYE > _BRIGHT else "white",
            # A rim of the cell's colour, for lines pass behind.
            path_effects=[withStroke(linewidth=3, foreground=tuple(behind))],
            zorder=3,
        )


def _texts(values: Array) -> list[list[str]]:
    """Write two decimals, as most measures need; fewer of large numbers, more of small ones."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    power = int(np.floor(np.log10(largest)))
    decimals = int(np.clip((2 if power >= 0 else 1) - power, 0, 4))
    return [[_text(value, decimals) for value in row] for row in values.tolist()]


def _text(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}" if np.isfinite(value) else f"{value}"
    return text.replace("nan", "NaN").replace("-", "−")


def crosses(ax: Axes, where: Array, *, size: float) -> None:
    """Cross cells (rows, columns) out: black beside the darkest colour of a map is not seen for itself."""
    rows, columns = np.nonzero(where)
    if len(rows):
        ax.scatter(columns, rows, s=size**2, marker="x", color="white", linewidths=0.8)


def hatched(ax: Axes, where: Array) -> None:
    """Veil cells (rows, columns), so that their colour is still seen and nobody looks there first."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY]
    places = np.argwhere(where)[:, ::-1]  # (cells, x and y)
    if len(places):
        path = Path((places[:, None] + corners).reshape(-1, 2), codes * len(places))
        ax.add_patch(PathPatch(path, facecolor=(1, 1, 1, _VEIL), linewidth=0))
        # One patch for all of them, because a vector file repeats a hatch for each.
        ax.add_patch(PathPatch(path, facecolor="none", edgecolor=_HATCH, hatch="//", linewidth=0))


def path(ax: Axes, places: Sequence[tuple[int, int]], *, size: float, lowered: bool) -> None:
    """Join (row, column) places by a thin line with dots, broken where a row has none."""
    from matplotlib.patheffects import Normal, Stroke

    if not places:
        return
    known = dict(places)
    rows = range(min(known), max(known) + 1)
    columns = [known.get(row, np.nan) for row in rows]
    (line,) = ax.plot(
        columns,
        np.array(rows) + (_LOW if lowered else 0.0),
        color="white",
        linewidth=1.0,
        marker="o",
        markersize=min(3.5, size),
        markeredgewidth=0.6,
        markeredgecolor="black",
    )
    line.set_path_effects([Stroke(linewidth=2.0, foreground="black"), Normal()])
