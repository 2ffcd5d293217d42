"""Activations as a heat map: samples × units, one sample, or one unit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot import canvas, colors
from actlens.plot.layer import Drawable, drawable, index_of, rows_of
from actlens.plot.strip import column_strip
from actlens.reduce.source import LayerLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_FEATURE = "plot.heatmap"


def heatmap(
    layer: LayerLike,
    *,
    rows: SupportsIndex | slice | npt.ArrayLike | None = None,
    unit: SupportsIndex | None = None,
    color: str | npt.ArrayLike | None = None,
    sort: bool = False,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw activations as they are: no scaling, no clustering.

    >>> ax = heatmap(run["fc1"], rows=slice(0, 64), color="label", sort=True)     # samples × units
    >>> ax = heatmap(run["conv1"], rows=0)                                        # one sample
    >>> ax = heatmap(run["fc1"], unit=17)                                         # one unit, all samples

    Parameters
    ----------
    layer
        (samples, units): a numpy array or a layer of a recording, of which only the drawn rows are read.
        One sample may have more axes.
    rows
        A slice, row numbers or a mask: samples × units. One number: that sample alone; a vector is folded
        into a grid, (channel, height, width) becomes channels × positions. None: all, or 500 evenly
        spaced of more.
    unit
        One unit (the second axis, or the one named channel): its values over the samples, folded into a
        grid; where a sample has positions, samples × positions.
    color, sort
        A column's name or an array (samples,), drawn as a strip beside the rows; `sort=True` orders the
        rows by it, else their order is kept.
    ax
        Where to draw. None: a new figure (`plt.close(ax.figure)` frees it).
    title
        Instead of layer · what is drawn.

    Returns
    -------
    Axes
        Its colours are symmetric about 0 when any value is negative, else from 0; the limits hold 99.5 % of
        the values, and the colour bar states the share beyond. NaN and inf are black.

    Raises
    ------
    PlotError
        Several samples of more than one axis; a row or unit that is not there; `color` without rows.
    MissingDependency
        matplotlib is not installed.
    """
    canvas.matplotlib_for(_FEATURE)
    found = drawable(layer, _FEATURE)
    if sort and color is None:
        raise PlotError.conflict(_FEATURE, "sort=True sorts by color=; name a column or give an array")
    one = isinstance(rows, SupportsIndex) and not isinstance(rows, np.ndarray)
    if one and unit is not None:
        raise PlotError.conflict(_FEATURE, "rows= is one sample and unit= one unit of it, a single number")
    picture = _sample(found, rows) if one else _samples(found, rows, unit, color, sort)  # type: ignore[arg-type]
    if picture.order is None and color is not None:
        raise PlotError.conflict(_FEATURE, "color= is a strip beside samples; this picture has none as rows")
    return _draw(found, picture, color, ax, title)


@dataclasses.dataclass(frozen=True, eq=False)
class _Picture:
    """A matrix to draw, with its words. `order` (rows,) are the samples that its rows are, if they are."""

    values: Array
    title: str
    x: str
    y: str
    order: Array | None = None
    folded: bool = False  # values is then a vector, drawn as a grid
    sorted: bool = False  # rows are then in another order than in the layer: their numbers say nothing


def _sample(found: Drawable, row: SupportsIndex) -> _Picture:
    """One sample: a vector, a matrix, or channels × the rest."""
    number = found.row(row)
    values = found.read(np.array([number]))[0]
    title = f"sample {found.ids[number]}" if found.axes else f"row {number}"
    if values.ndim == 1:
        return _Picture(values, title, "", found.axis_name(1), folded=True)
    if values.ndim == 2:
        return _Picture(values, title, found.axis_name(2), found.axis_name(1))
    first = found.axes.index("channel") if "channel" in found.axes else 1
    rest = [axis for axis in range(1, len(found.shape)) if axis != first]
    matrix = np.moveaxis(values, first - 1, 0).reshape(found.shape[first], -1)  # (channels, positions)
    x = f"position ({' × '.join(found.axis_name(axis) for axis in rest)}, row by row)"
    return _Picture(matrix, title, x, found.axis_name(first))


def _samples(
    found: Drawable,
    rows: slice | npt.ArrayLike | None,
    unit: SupportsIndex | None,
    color: str | npt.ArrayLike | None,
    sort: bool,
) -> _Picture:
    """Several samples, or one unit of them."""
    many = len(found.shape) > 2
    if many and (unit is None or "channel" not in found.axes):
        raise PlotError.too_many_axes(_FEATURE, found.name, found.shape, found.axes)
    order = rows_of(found, rows, found.shape[0] if unit is not None and not many else canvas.CELLS)
    y = "row number"
    if color is not None:
        name, column = colors.column_values(color, found.columns, found.shape[0])
        if sort:
            order = order[_sorted(column[order])]
            y = f"samples, sorted by {name}" if name else "samples, sorted"
    values = found.read(order)
    every, total = len(order), found.shape[0]
    count = f"{every:,} samples" if every == total else f"{every:,} of {total:,} samples"
    count += ", evenly spaced" if rows is None and every < total else ""
    if unit is None:
        return _Picture(
            values, f"{count} × {found.shape[1]:,} units", found.axis_name(1), y, order, sorted=sort
        )
    axis = found.axes.index("channel") if many else 1
    number = index_of(_FEATURE, "unit", unit, found.shape[axis])
    values = np.take(values, number, axis=axis).reshape(every, -1)
    title = f"{found.axis_name(axis) if found.axes else 'unit'} {number} · {count}"
    if many:
        return _Picture(values, title, "position, row by row", y, order, sorted=sort)
    return _Picture(values[:, 0], title, "", "row" if every == total else "position in rows=", folded=True)


def _sorted(values: Array) -> Array:
    try:
        return np.argsort(values, kind="stable")
    except TypeError as error:  # objects of several kinds
        raise PlotError.unsortable(_FEATURE, values.dtype, error) from error


def _draw(
    found: Drawable,
    picture: _Picture,
    color: str | npt.ArrayLike | None,
    ax: Axes | None,
    title: str | None,
) -> Axes:
    scale = colors.activation_scale(picture.values)
    if ax is None:
        ax = canvas.new_axes((6.4, 4.6))
    canvas.check_axes(ax, _FEATURE)
    if picture.folded:
        drawn = _fold(ax, picture, scale)
    else:
        drawn = canvas.image(ax, picture.values, scale, "auto")
        canvas.set_labels(ax, picture.x, picture.y)
        _number(ax, picture.order)
        if picture.sorted:
            ax.set_yticks([])
    if picture.order is not None and color is not None:
        name, column = colors.column_values(color, found.columns, found.shape[0])
        column_strip(ax, name, column[picture.order])
    canvas.colour_bar(drawn, ax, scale, "activation")
    default = " · ".join(part for part in (found.name, picture.title) if part)
    canvas.set_title(ax, title if title is not None else default)
    return ax


def _fold(ax: Axes, picture: _Picture, scale: colors.Scale) -> Any:
    """Draw a vector in reading order, in a grid as near to a square as it gets."""
    count = len(picture.values)
    columns = int(np.ceil(np.sqrt(count)))
    lines = -(-count // columns)
    grid = np.zeros(lines * columns)
    grid[:count] = picture.values
    drawn = canvas.image(ax, grid.reshape(lines, columns), scale)
    _cover(ax, count, columns, lines)
    step = max(1, lines // 10)
    ax.set_yticks(range(0, lines, step), [f"{line * columns:,}" for line in range(0, lines, step)])
    step = max(1, columns // 8)
    ax.set_xticks(range(0, columns, step), [f"+{column}" for column in range(0, columns, step)])
    canvas.set_labels(ax, f"{picture.y} = number at the left + number here", picture.y)
    ax.spines[:].set_visible(False)
    return drawn


def _cover(ax: Axes, count: int, columns: int, lines: int) -> None:
    """Hide the cells after the last value: they are no zeros."""
    from matplotlib.patches import Rectangle

    used = count - (lines - 1) * columns
    if used < columns:
        corner = (used - 0.5, lines - 1.5)
        ax.add_patch(Rectangle(corner, columns - used, 1.05, facecolor=ax.get_facecolor(), linewidth=0))


def _number(ax: Axes, order: Array | None) -> None:
    """Tick whole numbers; rows of samples by their number in the layer, whatever was left out or sorted."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if order is not None:

        def name(position: float, _tick: int | None = None) -> str:
            inside = 0 <= position < len(order) and position == int(position)
            return str(order[int(position)]) if inside else ""

        ax.yaxis.set_major_formatter(FuncFormatter(name))
