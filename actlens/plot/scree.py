"""How much of the variance the components of a PCA explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actlens.errors import PlotError
from actlens.plot import canvas, colors
from actlens.reduce.embedding import Embedding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEATURE = "plot.scree"
_BARS = 60  # components; more are drawn as lines alone


def scree(embedding: Embedding, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw the share of variance of each component, and their running sum, in per cent.

    >>> ax = scree(reduce.pca(run["fc1"], n_components=30))

    `embedding` is of reduce.pca. Raises PlotError for another; MissingDependency without matplotlib.
    """
    canvas.matplotlib_for(_FEATURE)
    if not isinstance(embedding, Embedding):
        raise PlotError.not_an_embedding(_FEATURE, embedding)
    if embedding.explained_variance_ratio is None:
        raise PlotError.no_variance_ratio(embedding.method)
    if ax is None:
        ax = canvas.new_axes((5.5, 3.8))
    canvas.check_axes(ax, _FEATURE)
    shares = 100 * embedding.explained_variance_ratio
    numbers = np.arange(1, len(shares) + 1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(shares) <= _BARS else {}
    if len(shares) <= _BARS:
        first: Any = ax.bar(
            numbers,
            shares,
            width=min(0.7, len(shares) / 8),
            color=colors.OKABE_ITO[0],
            label="each component",
        )
    else:
        (first,) = ax.plot(numbers, shares, color=colors.OKABE_ITO[0], label="each component")
    (second,) = ax.plot(numbers, np.cumsum(shares), color=colors.OKABE_ITO[1], label="cumulative", **marker)
    _decorate(ax, len(shares), first, second)
    default = " · ".join(part for part in (embedding.layer, "PCA", f"{len(embedding):,} samples") if part)
    canvas.set_title(ax, title if title is not None else default)
    return ax


def _decorate(ax: Axes, count: int, first: Any, second: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_ylim(0, 104)
    ax.set_xlim(0.4, count + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    canvas.set_labels(ax, "principal component", "explained variance (%)")
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    # Above the picture: within it, one of the two lines may run anywhere.
    ax.legend(
        handles=[first, second],
        fontsize=canvas.SMALL,
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        borderaxespad=0.2,
    )
