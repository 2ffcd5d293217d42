"""How alike layers are: a comparison as a heat map, layer × layer."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.compare.comparison import Comparison
from actlens.errors import CompareError, PlotError
from actlens.plot import canvas, cells, colors, layer_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_FEATURE = "plot.matrix"
_NUMBERED = 12  # layers of a side; of more, numbers in the cells are too small
_LARGEST = 7.5  # inches of the longer side of a new picture
_SMALLEST = 1.5  # inches of the shorter side
_BESIDE = 1.5  # inches of colour bar, name of a side and margins
_ABOVE_AND_BELOW = 1.3  # inches of title, name of a side and caption
_REASONS = 3  # of missing values, that are written out


def matrix(
    comparison: Comparison,
    *,
    z: float | None = None,
    best: bool = True,
    annotate: bool | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a comparison: the layers of a downwards, those of b to the right, in the order of the forward.

    >>> c = actlens.compare.matrix(run, positions="mean")
    >>> ax = matrix(c)
    >>> ax = matrix(c, z=3.0)                   # what chance explains is hatched

    Parameters
    ----------
    comparison
        What compare.matrix gave.
    z
        Veil and hatch cells whose |z| is below it; the caption counts them. None: none.
    best
        Draw a line through the best match of each layer of a.
    annotate
        Write the values into the cells. None: where there are at most 12 × 12.
    ax
        Where to draw. None: a new figure (`plt.close(ax.figure)` frees it), larger for more layers.
    title
        Instead of measure · number of rows · positions.

    Returns
    -------
    Axes
        A similarity is drawn from 0 to 1, or from -1 to 1 where it may be negative; a distance from 0, and
        the colour bar says that 0 is alike. A value beyond has an arrow there. NaN is black with a cross, and
        the reasons stand below, as do ids that were left out.

    Raises
    ------
    PlotError
        No Comparison; a measure that has no z; a z that is no positive number; ax= is no 2-D Axes.
    MissingDependency
        matplotlib is not installed.
    """
    canvas.matplotlib_for(_FEATURE)
    if not isinstance(comparison, Comparison):
        raise PlotError.not_a_comparison(_FEATURE, "Comparison", "compare.matrix", comparison)
    values = np.asarray(comparison.values, np.float64)
    faded = _faded(comparison, values, z)
    scale = colors.comparison_scale(values, similarity=comparison.similarity, signed=comparison.signed)
    if annotate is None:
        annotate = max(values.shape) <= _NUMBERED
    square = _near_square(values.shape)
    if ax is None:
        ax = _new_axes(comparison, square=square)
        length = 72 * _drawn_size(values.shape)
    else:
        canvas.check_axes(ax, _FEATURE)
        length = _length(ax)
    drawn = canvas.image(ax, values, scale, "equal" if square else "auto")
    size = 0.3 * float((length / values.shape).min())
    cells.hatched(ax, faded)
    if annotate:
        cells.numbers(ax, drawn, values, faded, size=min(canvas.SMALL, size), raised=best)
    else:
        cells.crosses(ax, ~np.isfinite(values), size=size)
    matches = _matches(comparison) if best else []
    cells.path(ax, matches, size=1.2 * size, lowered=annotate)
    caption = [
        "line: the best match of each row" if matches else "",
        f"hatched: |z| < {z:g}, in {faded.sum():,} of {faded.size:,} cells" if z is not None else "",
        _beyond(values, scale),
        canvas.left_out(comparison.only_a, comparison.only_b),
        _missing(comparison, values),
    ]
    _name(ax, comparison, length, caption)
    beside = canvas.axes_beside(ax) if square else None
    canvas.colour_bar(drawn, ax, scale, _bar(comparison), within=beside)
    canvas.set_title(ax, title if title is not None else _title(comparison))
    return ax


def _new_axes(comparison: Comparison, *, square: bool) -> Axes:
    """Make a figure whose cells are large enough for names beside them."""
    height, width = _drawn_size(np.shape(comparison.values))
    width += layer_names.inches(comparison.layers_a) + _BESIDE
    height += layer_names.inches(comparison.layers_b) + _ABOVE_AND_BELOW
    ax = canvas.new_axes((max(float(width), 4.5), float(height)))
    figure: Any = ax.figure
    if square:
        figure.set_layout_engine("compressed")  # the other engine lets names beside square cells leave it
    return ax


def _drawn_size(shape: tuple[int, ...]) -> Array:
    """Give height and width of the cells together, in inches."""
    cell = min(0.5 if max(shape) <= _NUMBERED else 0.3, _LARGEST / max(shape))
    return cell * np.array(shape) if _near_square(shape) else np.maximum(cell * np.array(shape), _SMALLEST)


def _near_square(shape: tuple[int, ...]) -> bool:
    return max(shape) <= 3 * min(shape)


def _length(ax: Axes) -> Array:
    """Give height and width of Axes in points, before there are names beside them."""
    box = ax.get_window_extent()
    return 0.85 * 72 / float(ax.figure.dpi) * np.array([box.height, box.width])


def _faded(comparison: Comparison, values: Array, z: float | None) -> Array:
    """Say which cells (rows, columns) have a number that is not z away from chance."""
    if z is None:
        return np.zeros(values.shape, bool)
    if isinstance(z, bool) or not isinstance(z, (int, float, np.integer, np.floating)) or not 0 < z < np.inf:
        raise PlotError.parameter(_FEATURE, "z", z, "a number above 0, e.g. 3.0, or None")
    try:
        known = np.asarray(comparison.z, np.float64)
    except CompareError as error:
        raise PlotError.no_z(z, error) from error
    return np.isfinite(values) & ~(np.abs(known) >= z)  # a z that is NaN is not z away, either


def _matches(comparison: Comparison) -> list[tuple[int, int]]:
    a, b = (
        {name: number for number, name in enumerate(names)}
        for names in (comparison.layers_a, comparison.layers_b)
    )
    return [(a[match.layer_a], b[match.layer_b]) for match in comparison.best()]


def _name(ax: Axes, comparison: Comparison, length: Array, caption: list[str]) -> None:
    """Write the layers along both axes, and below them what else is to be known."""
    layer_names.write(ax, "y", comparison.layers_a, float(length[0]))
    layer_names.write(ax, "x", comparison.layers_b, float(length[1]))
    for spine in ax.spines.values():
        spine.set_color("0.8")
    a, b = (layer_names.shortened([name], 48)[0] for name in (comparison.name_a, comparison.name_b))
    lines = [canvas.wrapped(canvas.drawable_text(line), 70) for line in (b, *caption) if line]
    ax.set_ylabel(a, fontsize=canvas.NORMAL, parse_math=False)
    ax.set_xlabel("\n".join(lines), fontsize=canvas.NORMAL, parse_math=False)


def _bar(comparison: Comparison) -> str:
    return comparison.title if comparison.similarity else f"{comparison.title}: 0 is alike"


def _title(comparison: Comparison) -> str:
    rows = f"{comparison.rows:,} row{'s' if comparison.rows != 1 else ''}"
    if comparison.samples != comparison.rows:
        rows += f" of {comparison.samples:,} samples"
    positions = f"positions: {comparison.positions}" if comparison.positions else ""
    return " · ".join(part for part in (comparison.title, rows, positions) if part)


def _beyond(values: Array, scale: colors.Scale) -> str:
    if not scale.clipped:
        return ""
    good = values[np.isfinite(values)]
    return f"values from {good.min():.3g} to {good.max():.3g}, beyond the colours".replace("-", "−")


def _missing(comparison: Comparison, values: Array) -> str:
    count = int((~np.isfinite(values)).sum())
    if not count:
        return ""
    seen = collections.Counter(comparison.reasons.values()).most_common()
    texts = [f"{reason} ({times:,})" for reason, times in seen[:_REASONS]]
    if len(seen) > _REASONS:
        texts.append(f"{len(seen) - _REASONS} more reasons")
    cells_ = f"{count:,} cell{'s' if count != 1 else ''}"
    return ": ".join([f"black: no value in {cells_}", *(["; ".join(texts)] if texts else [])])
