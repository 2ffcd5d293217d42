"""An embedding as points, coloured by a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError
from actlens.plot import canvas, colors
from actlens.plot.layer import index_of
from actlens.reduce.embedding import Embedding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_FEATURE = "plot.scatter"
METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP", "densmap": "densMAP", "pacmap": "PaCMAP"}
_WITHOUT_UNITS = {"tsne", "umap", "densmap", "pacmap"}
_CAUTION = "Axes have no units; distances between clusters are not meaningful."
_NO_BREAK = "\u00a0"  # a space where no line ends
_UNSHOWN = {"n_components", "n_jobs"}  # parameters that the picture shows, or that change nothing in it


def scatter(
    embedding: Embedding,
    *,
    color: str | npt.ArrayLike | None = None,
    components: Sequence[int] | None = None,
    ax: Axes | None = None,
    size: float | None = None,
    alpha: float | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw an Embedding in two or three dimensions.

    >>> ax = scatter(z, color="label")
    >>> ax.figure.savefig("fc1.pdf")

    Parameters
    ----------
    embedding
        What reduce.pca, tsne, umap or fit gave; of 2 or 3 components, or see `components`.
    color
        A column's name, or an array (samples,). Text, booleans and integers of at most 20 different values
        are classes with a legend; other numbers have a colour bar. More than 10 classes: the 8 largest in
        colour, the rest grey.
    components
        Which 2 or 3 components to draw, from 0, or negative from the end: `components=(0, 2)`.
    ax
        Where to draw: a 3-D Axes for three components. None: a new figure (`plt.close(ax.figure)` frees it).
    size, alpha
        Area of a dot in points², and its opacity, 0 to 1; both fall with the number of samples.
    legend
        False leaves out legend and colour bar.
    title
        Instead of layer · step · method · number of samples.

    Returns
    -------
    Axes
        PCA has labelled axes in equal units. t-SNE, UMAP, densMAP and PaCMAP have no ticks, their parameters,
        and a caution. Where `embedding.quality()` was called, its line stands below.

    Raises
    ------
    PlotError
        No Embedding; 1, or more than 3 components; no such column; another kind of ax; a size or opacity
        that cannot be.
    MissingDependency
        matplotlib is not installed.

    Samples are drawn in a shuffled order (always the same), so that no class covers the others.
    """
    canvas.matplotlib_for(_FEATURE)
    if not isinstance(embedding, Embedding):
        raise PlotError.not_an_embedding(_FEATURE, embedding)
    chosen = _components(embedding, components)
    points = embedding.points[:, chosen].astype(np.float64)  # its limits are padded: float32 may overflow
    _check_style(size, alpha)
    ours = ax is None
    ax = _axes(ax, flat=len(chosen) == 2)
    order = np.random.default_rng(0).permutation(len(points))
    style: dict[str, Any] = {
        "s": size if size is not None else float(np.clip(500 / np.sqrt(len(points)), 1, 36)),
        "alpha": alpha if alpha is not None else _alpha(len(points)),
        "linewidths": 0,
        "rasterized": len(points) > canvas.MANY,
    }
    if len(chosen) == 3:
        style["depthshade"] = False  # it would change the colours that the legend explains
    drawn = points[order].T
    if color is None:
        _any(ax).scatter(*drawn, color=colors.SINGLE, **style)
    else:
        name, values = colors.column_values(color, embedding.columns, len(points))
        # Of a 3-D box without and with labels.
        beside = 0.93 if embedding.method in _WITHOUT_UNITS else 1.06
        _draw(ax, drawn, values[order], style, name if legend else None, beside=beside)
    _decorate(ax, embedding, chosen)
    canvas.set_title(ax, title if title is not None else _title(embedding))
    if ours and ax.name == "3d":
        canvas.room_for_legend(ax)
    return ax


def _draw(
    ax: Any, points: Array, values: Array, style: dict[str, Any], name: str | None, *, beside: float
) -> None:
    """Draw points (k, samples) by values (samples,).

    `name` is None for no legend; `beside` is where it begins in 3-D, in widths of the Axes.
    """
    if colors.is_categorical(values):
        found = colors.classes(values)
        ax.scatter(*points, c=np.asarray(found.colors)[found.codes].tolist(), **style)
        if name is not None:
            flat = ax.name != "3d"
            loc, place = ("upper left", (1.02, 1.0)) if flat else ("center left", (beside, 0.5))
            canvas.legend(ax, found, name, loc=loc, bbox_to_anchor=place)
        return
    numbers = colors.as_float(_FEATURE, values)
    scale = colors.column_scale(numbers)
    shown = ax.scatter(
        *points,
        c=np.where(np.isfinite(numbers), numbers, np.nan),
        cmap=canvas.colour_map(scale.cmap, colors.MISSING),
        vmin=scale.low,
        vmax=scale.high,
        plotnonfinite=True,
        **style,
    )
    if name is not None:
        missing = int((~np.isfinite(numbers)).sum())
        canvas.colour_bar(shown, ax, scale, f"{name}\ngrey: {missing:,} missing" if missing else name)


def _components(embedding: Embedding, components: Sequence[int] | None) -> list[int]:
    count = embedding.points.shape[1]
    if components is None:
        if count not in (2, 3):
            raise PlotError.dimensions(count)
        return list(range(count))
    if not hasattr(components, "__len__"):
        allowed = "2 or 3 numbers of components, e.g. (0, 1)"
        raise PlotError.parameter(_FEATURE, "components", components, allowed)
    if len(components) not in (2, 3):
        raise PlotError.conflict(_FEATURE, f"components={tuple(components)} must name 2 or 3 components")
    return [index_of(_FEATURE, "component", component, count) for component in components]


def _check_style(size: object, alpha: object) -> None:
    for name, given, most in (("size", size, np.inf), ("alpha", alpha, 1.0)):
        number = isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool)
        if given is None or (number and 0 <= given <= most and given < np.inf):  # type: ignore[operator]
            continue
        allowed = "a number from 0 to 1" if most == 1 else "a number of points², 0 or more"
        raise PlotError.parameter(_FEATURE, name, given, allowed)


def _axes(ax: Axes | None, *, flat: bool) -> Axes:
    if ax is None:
        made = canvas.new_axes((6.0, 4.5), None if flat else "3d")
        if not flat:
            made.set_anchor("W")  # it is a square in a wide figure: the room is for the legend
        return made
    canvas.check_axes(ax, _FEATURE, flat=flat)
    return ax


def _any(ax: Axes) -> Any:
    """Give the Axes to calls that only a 3-D one has, or that take two or three coordinates."""
    return ax


def _alpha(samples: int) -> float:
    return 0.9 if samples <= 1_000 else 0.7 if samples <= 20_000 else 0.4


def _title(embedding: Embedding) -> str:
    step = embedding.step
    parts = [
        embedding.layer,
        f"step {step}" if step is not None else "",
        METHODS.get(embedding.method, embedding.method),
        f"{len(embedding):,} sample{'s' if len(embedding) != 1 else ''}",
    ]
    return " · ".join(part for part in parts if part)


def _decorate(ax: Axes, embedding: Embedding, chosen: list[int]) -> None:
    """Say what the axes are: components with their share of variance, or nothing that has units."""
    flat = ax.name != "3d"
    if flat:
        ax.set_aspect("equal", adjustable="datalim")  # a distance is the same length in every direction
    else:
        _any(ax).set_box_aspect(None, zoom=0.88)  # or the labels leave the figure
    if embedding.method in _WITHOUT_UNITS:
        _without_units(ax, caption(embedding))
        return
    ax.tick_params(labelsize=canvas.SMALL)
    for axis, component in zip("xyz", chosen, strict=False):
        text = _component_label(embedding, component)
        if flat and axis == "x" and embedding.quality_ is not None:
            text = f"{text}\n{_quality(embedding)}"
        getattr(ax, f"set_{axis}label")(text, fontsize=canvas.NORMAL, parse_math=False)
    if flat:
        ax.spines[["top", "right"]].set_visible(False)
    elif embedding.quality_ is not None:
        _below(ax, _quality(embedding))


def _without_units(ax: Axes, caption: str) -> None:
    canvas.bare(ax)
    if ax.name == "3d":
        _any(ax).set_zticks([])
        _below(ax, caption)
    else:
        ax.set_xlabel(caption, fontsize=canvas.SMALL, color=canvas.GREY, parse_math=False)


def _below(ax: Axes, caption: str) -> None:
    """Write below a 3-D box."""
    style: dict[str, Any] = {"fontsize": canvas.SMALL, "color": canvas.GREY, "parse_math": False}
    _any(ax).text2D(0.5, -0.02, caption, transform=ax.transAxes, ha="center", va="top", **style)


def _quality(embedding: Embedding) -> str:
    parts = str(embedding.quality_).replace(" ", _NO_BREAK).replace(f"·{_NO_BREAK}", "· ")
    return canvas.wrapped(parts, 78).replace(_NO_BREAK, " ")


def _component_label(embedding: Embedding, component: int) -> str:
    if embedding.method != "pca":
        return f"{embedding.method} {component + 1}"
    ratio = embedding.explained_variance_ratio
    share = f" ({100 * ratio[component]:.1f} %)" if ratio is not None else ""
    return f"PC {component + 1}{share}"


def caption(embedding: Embedding, *, width: int = 78) -> str:
    """Say what a picture by t-SNE or UMAP does not mean, and how it was made, in lines of `width` letters."""
    shown = {key: value for key, value in embedding.parameters.items() if key not in _UNSHOWN}
    texts = [f"{key}={_short(value)}" for key, value in shown.items() if value is not None]
    method = f"{METHODS[embedding.method]}: {', '.join(texts)}"
    lines = [_CAUTION, canvas.wrapped(method, width)]
    return "\n".join(lines if embedding.quality_ is None else [*lines, _quality(embedding)])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
