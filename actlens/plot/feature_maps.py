"""The channels of a convolutional layer as small images, for one sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot import canvas, colors
from actlens.plot.layer import Drawable, drawable, index_of
from actlens.reduce.source import LayerLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Array = npt.NDArray[Any]

_FEATURE = "plot.feature_maps"
_NEEDED = ("channel", "height", "width")


def feature_maps(
    layer: LayerLike,
    *,
    row: SupportsIndex = 0,
    channels: int | Sequence[int] | None = 16,
    image: npt.ArrayLike | None = None,
    axis_names: Sequence[str] | None = None,
    figure: Figure | SubFigure | None = None,
    title: str | None = None,
) -> Array:
    """Draw what each channel of a layer sees in one sample.

    >>> axes = feature_maps(run["conv1"], row=3, channels=[0, 5, 7], image=x[3])
    >>> axes[0].figure.savefig("conv1.png")

    Parameters
    ----------
    layer
        (samples, channel, height, width) in any order: the axes are found by their names. For a numpy array
        give `axis_names`.
    row
        The sample's row number; the title shows its id.
    channels
        How many, from the first; or which; or None: all.
    image
        What the model saw, drawn first: (height, width), (height, width, 1, 3 or 4) or channels first.
    axis_names
        One name an axis, "sample" first, where the array does not know them.
    figure
        Where to draw. None: a new figure (`plt.close(axes[0].figure)` frees it).
    title
        Instead of layer · sample · number of channels.

    Returns
    -------
    ndarray of Axes
        (maps,), after the image's when there is one. All maps share limits and one colour bar.

    Raises
    ------
    PlotError
        A layer without axes named channel, height and width; a row or channel that is not there.
    MissingDependency
        matplotlib is not installed.
    """
    canvas.matplotlib_for(_FEATURE)
    found = _with_names(drawable(layer, _FEATURE), axis_names)
    maps, number = _maps(found, row)
    chosen = _channels(channels, len(maps))
    picture = None if image is None else _image(np.asarray(image))
    _check_figure(figure)
    figure = figure if figure is not None else canvas.new_figure(_size(len(chosen), picture is not None))
    axes = _grid(figure, len(chosen), picture is not None)
    if picture is not None:
        axes[0].imshow(picture, cmap="gray", interpolation="nearest")
        _name(axes[0], "input")
    shown = list(axes[1:] if picture is not None else axes)
    scale = colors.activation_scale(maps[chosen])
    for ax, channel in zip(shown, chosen, strict=True):
        drawn = canvas.image(ax, maps[channel], scale)
        _name(ax, str(channel))
    canvas.colour_bar(drawn, shown, scale, "activation")
    part = "" if len(chosen) == len(maps) else f"{len(chosen)} of "
    default = f"{found.name} · sample {found.ids[number]} · {part}{len(maps)} channels"
    _suptitle(figure, title if title is not None else default.removeprefix(" · "))
    return axes


def _check_figure(figure: object) -> None:
    from matplotlib.figure import FigureBase

    if figure is not None and not isinstance(figure, FigureBase):
        raise PlotError.parameter(_FEATURE, "figure", figure, "a matplotlib Figure or SubFigure")


def _with_names(found: Drawable, names: Sequence[str] | None) -> Drawable:
    if names is not None:
        given = tuple(names)
        good = len(given) == len(set(given)) == len(found.shape) and given[0] == "sample"
        if not good:
            raise PlotError.axis_names(given, len(found.shape))
        found = dataclasses.replace(found, axes=given)
    if not found.axes:
        raise PlotError.unnamed_axes(found.shape)
    missing = [axis for axis in _NEEDED if axis not in found.axes]
    if missing or len(found.shape) != 4:
        raise PlotError.no_maps(found.name, found.shape, found.axes, missing)
    return found


def _maps(found: Drawable, row: SupportsIndex) -> tuple[Array, int]:
    """Give (channel, height, width) of one sample, whatever the stored order, and its row number."""
    number = found.row(row)
    order = [found.axes.index(axis) - 1 for axis in _NEEDED]
    return found.read(np.array([number]))[0].transpose(order), number


def _channels(channels: int | Sequence[int] | None, count: int) -> list[int]:
    if channels is None:
        return list(range(count))
    if isinstance(channels, (int, np.integer)):
        if channels < 1:
            raise PlotError.no_rows(_FEATURE, f"channels={channels}")
        return list(range(min(int(channels), count)))
    if not isinstance(channels, (Sequence, np.ndarray, range)):
        raise PlotError.parameter(
            _FEATURE, "channels", channels, "a number of channels, a list of them, or None"
        )
    chosen = [index_of(_FEATURE, "channel", channel, count) for channel in channels]
    if not chosen:
        raise PlotError.no_rows(_FEATURE, "channels=[]")
    return chosen


def _image(image: Array) -> Array:
    """Give (height, width) or (height, width, 3 or 4), scaled to 0 … 1 where it is not."""
    if image.ndim == 3 and image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3, 4):
        image = np.moveaxis(image, 0, -1)
    good = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3, 4))
    if not good or 0 in image.shape:
        raise PlotError.image_shape(image.shape)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if image.dtype == np.uint8:
        return image
    values = colors.as_float(_FEATURE, image)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # Normalised inputs are outside 0 … 1, where matplotlib would cut their colours off.
    return values if low >= 0 and high <= 1 else (values - low) / ((high - low) or 1.0)


def _columns(count: int) -> int:
    return min(count, max(4, int(np.ceil(np.sqrt(count)))))


def _size(count: int, with_image: bool) -> tuple[float, float]:
    columns = _columns(count)
    lines = -(-count // columns)
    return (max(1.15 * columns + 1.2 + (1.8 if with_image else 0), 4.2), max(1.25 * lines + 0.5, 2.2))


def _grid(figure: Figure | SubFigure, count: int, with_image: bool) -> Array:
    """Give the Axes (with_image + count,); the input is as large as two maps where there is room."""
    columns = _columns(count)
    lines = -(-count // columns)
    wide = min(2, lines) if with_image else 0
    grid = figure.add_gridspec(lines, wide + columns)
    places = [grid[:wide, :wide]] if with_image else []
    places += [grid[k // columns, wide + k % columns] for k in range(count)]
    axes = np.empty(len(places), object)
    for k, place in enumerate(places):
        axes[k] = figure.add_subplot(place)
        canvas.bare(axes[k])
    return axes


def _name(ax: Any, text: str) -> None:
    ax.set_title(text, fontsize=canvas.SMALL, pad=2, color=canvas.GREY)


def _suptitle(figure: Figure | SubFigure, text: str) -> None:
    shown = canvas.wrapped(canvas.drawable_text(text), 70)
    figure.suptitle(shown, fontsize=canvas.LARGE, x=0.01, ha="left", parse_math=False)
