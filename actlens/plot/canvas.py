"""Where pictures are drawn: a figure when none is given, and text that is shown as it is written."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot.colors import NOT_FINITE, Classes, Scale
from actlens.reduce.optional import need
from actlens.table import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "0.35"
SMALL, NORMAL, LARGE = 8.0, 9.0, 10.0  # points
CELLS = 500  # rows or columns that a picture of usual size has pixels for
MANY = 5_000  # marks; a vector file with more is slow to open, so they are drawn as pixels in it


def matplotlib_for(feature: str) -> None:
    """Raise MissingDependency now, with the feature's name, rather than somewhere below."""
    need("matplotlib", feature=feature, package="matplotlib", extra="plot")


def new_figure(size: tuple[float, float]) -> Figure:
    """Make a figure of (width, height) inches that arranges itself.

    With pyplot, because a person is looking: in a notebook such a figure shows under its cell, and in a
    script plt.show() shows it. A bare matplotlib.figure.Figure would do neither. The price is that pyplot
    keeps it until plt.close(ax.figure); programs that draw many pass their own ax= or figure=.
    """
    from matplotlib import pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def new_axes(size: tuple[float, float], projection: str | None = None) -> Axes:
    """Make a figure with one Axes; `projection` is None or "3d"."""
    axes: Axes = new_figure(size).add_subplot(projection=projection)
    return axes


def check_axes(ax: object, feature: str, *, flat: bool = True) -> None:
    """Raise PlotError for what is no Axes, or one of the other kind."""
    from matplotlib.axes import Axes

    needs = "a 2-D matplotlib Axes" if flat else "a 3-D Axes: figure.add_subplot(projection='3d')"
    if not isinstance(ax, Axes):
        raise PlotError.wrong_axes(feature, f"{needs}; got {type(ax).__name__}")
    if (ax.name == "3d") is flat:
        raise PlotError.wrong_axes(feature, f"{needs} for this picture")


def set_title(ax: Axes, text: str) -> None:
    """Set the title, wrapped; a $ in a layer's name is a $."""
    ax.set_title(wrapped(drawable_text(text), 60), fontsize=LARGE, loc="left", parse_math=False)


def set_labels(ax: Axes, x: str = "", y: str = "") -> None:
    """Label both axes, in the same size everywhere."""
    ax.set_xlabel(wrapped(drawable_text(x), 70), fontsize=NORMAL, parse_math=False)
    ax.set_ylabel(wrapped(drawable_text(y), 60), fontsize=NORMAL, parse_math=False)
    ax.tick_params(labelsize=SMALL)


def legend(ax: Axes, found: Classes, title: str, **place: Any) -> None:
    """Draw a legend of classes: coloured dots, labels as they are written."""
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], linestyle="none", marker="o", markersize=5, markeredgewidth=0, color=color)
        for color in found.colors
    ]
    # matplotlib leaves out labels that begin with "_" and reads "$…$" as a formula: set afterwards, as text.
    drawn = ax.legend(
        dots,
        [str(number) for number in range(len(dots))],
        title=" ",
        fontsize=SMALL,
        frameon=False,
        handletextpad=0.3,
        borderaxespad=0.0,
        alignment="left",
        **place,
    )
    for text, label in zip(drawn.get_texts(), found.labels, strict=True):
        text.set_parse_math(False)
        text.set_text(drawable_text(label))
    drawn.get_title().set_parse_math(False)
    drawn.get_title().set_fontsize(NORMAL)
    drawn.set_title(wrapped(drawable_text(title), 32))


def room_for_legend(ax: Axes) -> None:
    """Widen the figure for the legend of a 3-D Axes: such Axes are square, which the layout does not know."""
    drawn = ax.get_legend()
    if drawn is not None:
        longest = max(len(text.get_text()) for text in (*drawn.get_texts(), drawn.get_title()))
        figure: Any = ax.figure
        figure.set_figwidth(figure.get_figwidth() + 0.08 * max(0, longest - 16))  # inches a letter, at most


def colour_bar(
    mappable: Any, ax: Axes | Sequence[Axes], scale: Scale, name: str, *, within: Axes | None = None
) -> Any:
    """Draw the labelled colour bar of a picture, with arrowheads where values are beyond the limits.

    `within` is an Axes for it; None: it takes some of the room of `ax`.
    """
    extend = "neither"
    if scale.clipped:
        extend = scale.beyond or ("both" if scale.low < 0 else "max")
    first = ax if not isinstance(ax, Sequence) else ax[0]
    pad = 0.02 if first.name != "3d" else 0.08  # past the label of the z axis
    place: dict[str, Any] = {"ax": ax, "shrink": 0.9, "aspect": 30, "pad": pad}
    bar: Any = first.figure.colorbar(mappable, extend=extend, **({"cax": within} if within else place))
    bar.set_label(drawable_text(scale.label(name)), fontsize=NORMAL, parse_math=False)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1.0)  # the marks may be translucent; their key is not
    return bar


def axes_beside(ax: Axes) -> Axes:
    """Make a narrow Axes right of one that keeps its aspect, as high as that is drawn."""
    from matplotlib.transforms import Bbox

    def locator(_beside: Any, _renderer: Any) -> Bbox:
        box, inch = ax.get_position(), float(ax.figure.dpi) / float(ax.figure.bbox.width)
        return Bbox.from_bounds(box.x1 + 0.1 * inch, box.y0, 0.13 * inch, box.height)

    beside = ax.inset_axes((1.02, 0.0, 0.03, 1.0))
    beside.set_axes_locator(locator)
    return beside


def colour_map(name: str, bad: str) -> Any:
    """Give a colour map that shows `bad` for NaN."""
    import matplotlib as mpl

    return mpl.colormaps[name].with_extremes(bad=bad)


def image(
    ax: Axes, values: npt.NDArray[Any], scale: Scale, aspect: Literal["equal", "auto"] = "equal"
) -> Any:
    """Draw a matrix (rows, columns) on a scale; inf is shown as NaN is."""
    shown = np.where(np.isfinite(values), values, np.nan)
    return ax.imshow(
        shown,
        cmap=colour_map(scale.cmap, NOT_FINITE),
        vmin=scale.low,
        vmax=scale.high,
        aspect=aspect,
        # Sharp cells, while there are pixels for each; more are averaged rather than picked at random.
        interpolation="nearest" if max(values.shape) <= CELLS else "auto",
    )


def left_out(only_a: npt.NDArray[Any], only_b: npt.NDArray[Any]) -> str:
    """Say how many ids (ids,) two sides had not in common; "" for none."""
    counts = [(len(only_a), "a"), (len(only_b), "b")]
    texts = [f"{count:,} only in {side}" for count, side in counts if count]
    return f"ids left out: {', '.join(texts)}" if texts else ""


def drawable_text(text: str) -> str:
    """Give a text without the characters that no font has; lines stay lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def wrapped(text: str, width: int) -> str:
    """Break a text at spaces into lines of `width` characters."""
    return "\n".join(textwrap.wrap(text, width)) if len(text) > width else text


def bare(ax: Axes) -> None:
    """Take the ticks away, and the frame back into the paper."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("0.8")
