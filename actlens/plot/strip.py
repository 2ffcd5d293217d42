"""A column drawn as a narrow strip beside the rows of a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.plot import canvas, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def column_strip(ax: Axes, name: str, values: npt.NDArray[Any]) -> Axes:
    """Draw (rows,) values right of `ax`, with a legend below it or a second colour bar."""
    from matplotlib.colors import ListedColormap

    strip = ax.inset_axes((1.01, 0.0, 0.025, 1.0), sharey=ax)
    strip.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    strip.spines[:].set_visible(False)
    if colors.is_categorical(values):
        found = colors.classes(values)
        strip.imshow(
            found.codes[:, None],
            cmap=ListedColormap(list(found.colors)),
            vmin=-0.5,
            vmax=len(found.colors) - 0.5,
            aspect="auto",
            interpolation="nearest",
        )
        _legend_below(ax, found, name)
    else:
        numbers = colors.as_float("plot.heatmap", values)
        scale = colors.column_scale(numbers)
        shown = np.where(np.isfinite(numbers), numbers, np.nan)[:, None]
        drawn = strip.imshow(
            shown,
            cmap=canvas.colour_map(scale.cmap, colors.MISSING),
            vmin=scale.low,
            vmax=scale.high,
            aspect="auto",
            interpolation="nearest",
        )
        canvas.colour_bar(drawn, ax, scale, name)
    return strip


def _legend_below(ax: Axes, found: colors.Classes, name: str) -> None:
    from matplotlib.transforms import ScaledTranslation

    # Below tick labels and axis label, whatever the size of the figure: 36 points.
    below = ax.transAxes + ScaledTranslation(0, -36 / 72, ax.figure.dpi_scale_trans)
    columns = max(1, min(len(found.labels), 72 // (max(map(len, found.labels)) + 4)))
    canvas.legend(
        ax,
        found,
        name,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=below,
        ncols=columns,
        columnspacing=1.0,
    )
