"""An aligned Embedding as small pictures, one a frame: the same axes, colours and samples in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot import canvas, colors
from actlens.plot.layer import index_of
from actlens.plot.scatter import METHODS, caption
from actlens.reduce.aligning.alignment import Alignment
from actlens.reduce.embedding import Embedding

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Array = npt.NDArray[Any]

_FEATURE = "plot.trajectory"
_MOST = 24  # frames; more are too small to see
_IN_A_ROW = 5
_PAD = 0.04  # of the width, about the points
_LONGEST = 28  # letters of a name above a frame
_SMALL_TEXT: dict[str, Any] = {"fontsize": canvas.SMALL, "color": canvas.GREY, "parse_math": False}
_PLURALS = {"step": "steps", "epoch": "epochs", "layer": "layers"}


def trajectory(
    embedding: Embedding,
    *,
    color: str | npt.ArrayLike | None = None,
    components: Sequence[int] | None = None,
    figure: Figure | SubFigure | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Array:
    """Draw an Embedding of several steps or layers: one picture a frame, all with the same limits.

    >>> z = reduce.pca({"a": x[:, 0], "b": x[:, 4]}, by="layer", align="procrustes")
    >>> axes = trajectory(z)
    >>> axes[0].figure.savefig("steps.png")

    Parameters
    ----------
    embedding
        What reduce.pca, tsne or umap gave with `by=` and `align=`; of 2 components, or see `components`.
    color
        A column's name, or an array (samples,) over all frames, as for `scatter`. A class has one colour in
        all of them.
    components
        Which 2 components to draw, from 0, or negative from the end.
    figure
        Where to draw. None: a new figure (`plt.close(axes[0].figure)` frees it).
    legend
        False leaves out legend and colour bar.
    title
        Instead of layer · method · number of frames and samples.

    Returns
    -------
    ndarray of Axes
        (frames,); of more than 24 frames, 24 evenly spaced, and the title says so. Below them stand the
        motion between frames, and how much of it there is where nothing changed.

    Raises
    ------
    PlotError
        No Embedding, or one without `alignment`; other than 2 components; no such column or component.
    MissingDependency
        matplotlib is not installed.
    """
    canvas.matplotlib_for(_FEATURE)
    alignment = _alignment_of(embedding)
    chosen = _components(embedding, components)
    points = embedding.points[:, chosen].astype(np.float64)
    paint = _paint(embedding, color)
    count = len(alignment.frames)
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(np.int64)).tolist()
    figure = _figure(figure, len(shown), legend=legend and color is not None)
    axes = _grid(figure, len(shown))
    for ax, number in zip(axes, shown, strict=True):
        rows = np.flatnonzero(embedding.columns[alignment.by] == alignment.frames[number])
        rows = rows[np.random.default_rng(0).permutation(len(rows))]  # so that no class covers the others
        drawn = ax.scatter(*points[rows].T, **paint.of(rows), **_style(len(rows)))
        _frame(ax, points, _frame_name(alignment, number))
    if legend:
        paint.explain(axes, drawn)
    _write(
        figure,
        embedding,
        _title(embedding, len(shown)) if title is None else title,
        _shares(embedding, chosen),
    )
    return axes


@dataclasses.dataclass(frozen=True, eq=False)
class _Paint:
    """The colours of all rows, and their key: classes, a scale, or neither."""

    name: str = ""
    classes: colors.Classes | None = None
    numbers: Array | None = None  # (rows,)
    scale: colors.Scale | None = None

    def of(self, rows: Array) -> dict[str, Any]:
        """Give matplotlib's arguments for these rows."""
        if self.classes is not None:
            return {"c": np.asarray(self.classes.colors)[self.classes.codes[rows]].tolist()}
        if self.numbers is None or self.scale is None:
            return {"color": colors.SINGLE}
        return {
            "c": np.where(np.isfinite(self.numbers[rows]), self.numbers[rows], np.nan),
            "cmap": canvas.colour_map(self.scale.cmap, colors.MISSING),
            "vmin": self.scale.low,
            "vmax": self.scale.high,
            "plotnonfinite": True,
        }

    def explain(self, axes: Array, drawn: Any) -> None:
        """Draw the key once, beside the first row of frames or beside all of them."""
        if self.classes is not None:
            last = axes[min(len(axes), _IN_A_ROW) - 1]
            canvas.legend(last, self.classes, self.name, loc="upper left", bbox_to_anchor=(1.04, 1.0))
        elif self.numbers is not None and self.scale is not None:
            missing = int((~np.isfinite(self.numbers)).sum())
            name = f"{self.name}\ngrey: {missing:,} missing" if missing else self.name
            canvas.colour_bar(drawn, list(axes), self.scale, name)


def _paint(embedding: Embedding, color: str | npt.ArrayLike | None) -> _Paint:
    if color is None:
        return _Paint()
    name, values = colors.column_values(color, embedding.columns, len(embedding))
    if colors.is_categorical(values):
        return _Paint(name, classes=colors.classes(values))
    numbers = colors.as_float(_FEATURE, values)
    return _Paint(name, numbers=numbers, scale=colors.column_scale(numbers))


def _alignment_of(embedding: object) -> Alignment:
    if not isinstance(embedding, Embedding):
        raise PlotError.not_an_embedding(_FEATURE, embedding)
    if embedding.alignment is None or embedding.alignment.by not in embedding.columns:
        raise PlotError.not_aligned()
    return embedding.alignment


def _components(embedding: Embedding, components: Sequence[int] | None) -> list[int]:
    count = embedding.points.shape[1]
    given = range(count) if components is None else components
    if not hasattr(given, "__len__") or (components is not None and len(given) != 2):
        raise PlotError.parameter(_FEATURE, "components", components, "2 numbers of components, e.g. (0, 1)")
    if len(given) != 2:
        raise PlotError.not_flat(count)
    return [index_of(_FEATURE, "component", component, count) for component in given]


def _figure(figure: Figure | SubFigure | None, count: int, *, legend: bool) -> Figure | SubFigure:
    from matplotlib.figure import FigureBase

    if figure is not None:
        if not isinstance(figure, FigureBase):
            raise PlotError.parameter(_FEATURE, "figure", figure, "a matplotlib Figure or SubFigure")
        return figure
    across, down = min(count, _IN_A_ROW), -(-count // _IN_A_ROW)
    return canvas.new_figure((max(2.1 * across + (1.0 if legend else 0.0), 5.0), 2.25 * down + 1.0))


def _grid(figure: Figure | SubFigure, count: int) -> Array:
    across = min(count, _IN_A_ROW)
    grid = figure.add_gridspec(-(-count // across), across)
    axes = np.empty(count, object)
    for number in range(count):
        axes[number] = figure.add_subplot(grid[number // across, number % across])
    return axes


def _style(samples: int) -> dict[str, Any]:
    return {
        "s": float(np.clip(150 / np.sqrt(samples), 1, 14)),
        "alpha": 0.9 if samples <= 1_000 else 0.6,
        "linewidths": 0,
        "rasterized": samples > canvas.MANY,
    }


def _frame(ax: Any, points: Array, name: str) -> None:
    """Give one picture the limits of all (rows, 2) points, a square, and its name."""
    canvas.bare(ax)
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) * (0.5 + _PAD) or 1.0
    middle = (low + high) / 2
    ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    ax.set_aspect("equal")
    text = canvas.drawable_text(name)
    ax.set_title(text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}", **_SMALL_TEXT)


def _frame_name(alignment: Alignment, number: int) -> str:
    value = str(alignment.frames[number])
    return value if alignment.by == "layer" else f"{alignment.by} {value}"


def _title(embedding: Embedding, shown: int) -> str:
    alignment = _alignment_of(embedding)
    count = len(alignment.frames)
    parts = [
        embedding.layer,
        METHODS.get(embedding.method, embedding.method),
        f"{count} {_plural(alignment)}" if shown == count else f"{shown} of {count} {_plural(alignment)}",
        f"{len(np.unique(embedding.ids)):,} samples",
    ]
    return " · ".join(part for part in parts if part)


def _shares(embedding: Embedding, chosen: list[int]) -> str:
    ratio = embedding.explained_variance_ratio
    if ratio is None:
        return ""
    return f"{', '.join(f'PC {c + 1}: {100 * ratio[c]:.1f} %' for c in chosen)} of the variance."


def _write(figure: Figure | SubFigure, embedding: Embedding, title: str, shares: str) -> None:
    """Write what it is above, and below how much of the motion to believe."""
    width = round(figure.get_figwidth() * 16) if hasattr(figure, "get_figwidth") else 78
    text = canvas.wrapped(canvas.drawable_text(title), width)
    figure.suptitle(text, fontsize=canvas.LARGE, x=0.01, ha="left", parse_math=False)
    below = [" ".join(part for part in (_motion(_alignment_of(embedding)), shares) if part)]
    if embedding.method in ("tsne", "umap"):
        below += caption(embedding, width=width).split("\n")
    lines = "\n".join(canvas.wrapped(canvas.drawable_text(line), width) for line in below)
    figure.supxlabel(lines, x=0.01, ha="left", **_SMALL_TEXT)


def _motion(alignment: Alignment) -> str:
    """Say the motion, and how much of it the method invents."""
    if alignment.method == "none":
        return "Fitted apart: frames cannot be compared, and positions that differ mean nothing."
    low, high = (f"{value:.2f}" for value in (min(alignment.residual_motion), max(alignment.residual_motion)))
    seen = low if low == high else f"{low} to {high}"
    return (
        f"Median motion between {_plural(alignment)} {seen} of the radius; "
        f"{alignment.noise_floor:.2f} where nothing changed ({alignment.method})."
    )


def _plural(alignment: Alignment) -> str:
    return _PLURALS.get(alignment.by, "frames")
