"""How far two runs are apart, layer by layer: where the first mistake of a port is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diff_result import Diff
from actlens.errors import PlotError
from actlens.plot import canvas, colors, layer_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_FEATURE = "plot.diff"
_KINDS = (  # of error: the field of a layer, what it is called, its colour and mark
    ("relative", "‖b − a‖ / ‖a‖", colors.OKABE_ITO[0], "o"),
    ("max_abs", "max |b − a|", colors.OKABE_ITO[4], "s"),
    ("cka_gap", "1 − CKA", colors.OKABE_ITO[2], "^"),
)
_FIRST = colors.OKABE_ITO[1]
_BAND = "0.94"
_EXACT = 1e-16  # of 1 − CKA
_PITCH = 0.4  # inches between layers, while there are few
_NARROWEST, _WIDEST = 4.0, 11.0  # inches that all layers take
_MANY = 60  # layers; marks of more are small
_TICKS = 8  # of decades
_LETTERS = 12  # of the diagnosis to an inch
_LISTED, _LONGEST = 4, 24  # layers that are named below, and characters of each


def diff(diff: Diff, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw the errors of compare.diff by depth, on a log scale: where the two runs part.

    >>> ax = diff(actlens.compare.diff(run, run))

    Parameters
    ----------
    diff
        What compare.diff gave.
    ax
        Where to draw. None: a new figure (`plt.close(ax.figure)` frees it), wider for more layers.
    title
        Instead of the number of layers, samples, and layers that diverge.

    Returns
    -------
    Axes
        For each layer, in the order of the forward, the relative error in the Frobenius norm, the largest
        absolute one, and 1 − CKA; the dashed line is rtol, the tolerance of the relative one. The layer that
        diverges first is marked, with the diagnosis above. What is 0 lies in a band of its own below the
        decades, and layers with NaN, inf or shapes that cannot be joined in one above.

    Raises
    ------
    PlotError
        No Diff; ax= is no 2-D Axes.
    MissingDependency
        matplotlib is not installed.
    """
    canvas.matplotlib_for(_FEATURE)
    if not isinstance(diff, Diff):
        raise PlotError.not_a_comparison(_FEATURE, "Diff", "compare.diff", diff)
    names = [layer.name_a for layer in diff.layers]
    if ax is None:
        length = min(_WIDEST, max(_NARROWEST, _PITCH * len(names)))
        ax = canvas.new_axes((length + 2.8, 4.0 + layer_names.inches(names)))
    else:
        canvas.check_axes(ax, _FEATURE)
        length = 0.7 * float(ax.get_window_extent().width) / float(ax.figure.dpi)
    errors = {field: _values(diff, field) for field, *_ in _KINDS}
    # What a difference from 1 is below its own rounding, or below 0, is noise: decades of it hide the rest.
    rounded = {"cka_gap"} if ((errors["cka_gap"] < _EXACT) & (errors["cka_gap"] != 0)).any() else set()
    errors["cka_gap"] = np.where(errors["cka_gap"] < _EXACT, 0.0, errors["cka_gap"])
    missing = {"NaN or inf": _not_finite(diff), "cannot be joined": _not_joined(diff)}
    levels = _levels([*errors.values()], diff.rtol, beyond=any(where.any() for where in missing.values()))
    for field, name, color, mark in _KINDS:
        text = f"{name} (below {_EXACT:g}: at 0)" if field in rounded else name
        _line(ax, levels.place(errors[field]), text, color, mark)
    if diff.rtol > 0:
        ax.axhline(diff.rtol, color=_KINDS[0][2], linewidth=0.9, linestyle="--", label=f"rtol {diff.rtol:g}")
    for (name, where), mark in zip(missing.items(), "XD", strict=True):
        _marks(ax, np.flatnonzero(where), levels.beyond, name, mark)
    _scale(ax, levels)
    _first(ax, diff, length)
    _words(ax, diff, names, length)
    canvas.set_title(ax, title if title is not None else _title(diff))
    return ax


@dataclasses.dataclass(frozen=True)
class _Levels:
    """Decades from `low` to `high` (exponents of 10), and what there is that has no logarithm.

    `has_zero` and `has_beyond` say whether there are bands of what is 0 and of what is no number.
    """

    low: int
    high: int
    has_zero: bool
    has_beyond: bool

    @property
    def bottom(self) -> float:
        """The middle of the band of 0."""
        return 10.0 ** (self.low - 1)

    @property
    def beyond(self) -> float:
        """The middle of the band of NaN and inf."""
        return 10.0 ** (self.high + 1)

    def place(self, values: Array) -> Array:
        """Give the heights of (layers,) errors; NaN for what is not finite."""
        return np.where(np.isfinite(values), np.where(values > 0, values, self.bottom), np.nan)


def _values(found: Diff, field: str) -> Array:
    return np.array([getattr(layer, field) for layer in found.layers], np.float64)


def _not_finite(found: Diff) -> Array:
    """Say which layers (layers,) have values that are not finite, or errors beyond float64."""
    unlike = [min(layer.finite_a, layer.finite_b) < layer.values for layer in found.layers]
    joined = np.array([layer.values > 0 for layer in found.layers])
    return np.array(unlike) | (joined & ~np.isfinite(_values(found, "relative")))


def _not_joined(found: Diff) -> Array:
    """Say which layers (layers,) have shapes of which nobody knows what goes with what."""
    return np.array([layer.values == 0 for layer in found.layers])


def _levels(errors: list[Array], rtol: float, *, beyond: bool) -> _Levels:
    given = np.concatenate(errors)
    shown = np.append(given, rtol)
    positive = shown[np.isfinite(shown) & (shown > 0)]
    powers = np.log10(positive) if len(positive) else np.zeros(1)
    low, high = int(np.floor(powers.min())), int(np.floor(powers.max())) + 1
    return _Levels(low, high, bool((given == 0).any()), beyond)


def _line(ax: Axes, heights: Array, name: str, color: str, mark: str) -> None:
    size = 4.5 if len(heights) <= _MANY else 2.5
    style: dict[str, Any] = {"marker": mark, "markersize": size, "markeredgewidth": 0, "linewidth": 1.0}
    ax.plot(heights, color=color, label=name, clip_on=False, **style)


def _marks(ax: Axes, where: Array, height: float, name: str, mark: str) -> None:
    """Mark layers (of these numbers) in the band above."""
    if len(where):
        ax.plot(where, np.full(len(where), height), mark, color=colors.NOT_FINITE, markersize=5, label=name)


def _scale(ax: Axes, levels: _Levels) -> None:
    """Tick decades, and name the bands beyond them."""
    low = levels.low - (1.5 if levels.has_zero else 0.3)
    high = levels.high + (1.5 if levels.has_beyond else 0.3)
    ax.set_yscale("log")
    ax.set_ylim(10.0**low, 10.0**high)
    step = -(-(levels.high - levels.low + 1) // _TICKS)
    ticks = {
        10.0**power: f"$\\mathdefault{{10^{{{power}}}}}$"
        for power in range(levels.low, levels.high + 1, step)
    }
    if levels.has_zero:
        ax.axhspan(10.0**low, 10.0 ** (levels.low - 0.5), color=_BAND, linewidth=0, zorder=0)
        ticks[levels.bottom] = "0"
    if levels.has_beyond:
        ax.axhspan(10.0 ** (levels.high + 0.5), 10.0**high, color=_BAND, linewidth=0, zorder=0)
        ticks[levels.beyond] = "no number"
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _first(ax: Axes, found: Diff, length: float) -> None:
    """Mark the first layer that diverges; the diagnosis is a tick label above, so that it covers nothing."""
    number = next((number for number, layer in enumerate(found.layers) if layer.diverges), None)
    if number is None:
        return
    layer = found.layers[number]
    text = f"{layer.name_a} diverges first ({layer.reason})"
    text += f": {layer.diagnosis}" if layer.diagnosis else ""
    ax.axvline(number, color=_FIRST, linewidth=1.2, zorder=1)
    place = (number + 0.6) / (len(found.layers) + 0.2)
    side = "left" if place < 0.35 else "right" if place > 0.65 else "center"
    above = ax.secondary_xaxis("top")
    lines = canvas.wrapped(canvas.drawable_text(text), max(40, round(_LETTERS * length)))
    above.set_xticks([number], [lines], fontsize=canvas.SMALL, color=_FIRST, ha=side)
    above.get_xticklabels()[0].set_parse_math(False)
    above.tick_params(length=4, color=_FIRST)
    above.spines["top"].set_visible(False)


def _words(ax: Axes, found: Diff, names: list[str], length: float) -> None:
    """Write the layers along the axis, what else is to be known below, and the key beside."""
    lines = [canvas.wrapped(canvas.drawable_text(line), 80) for line in _caption(found) if line]
    canvas.set_labels(ax, "", "error")
    ax.set_xlabel("\n".join(lines), fontsize=canvas.NORMAL, parse_math=False)
    layer_names.write(ax, "x", names, 72 * length)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.legend(fontsize=canvas.SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _title(found: Diff) -> str:
    diverging = sum(layer.diverges for layer in found.layers)
    count = f"{len(found.layers):,} layer{'s' if len(found.layers) != 1 else ''}"
    verdict = f"{diverging:,} diverge{'s' if diverging == 1 else ''}" if diverging else "none diverges"
    return f"{count} · {found.rows:,} samples · {verdict}"


def _caption(found: Diff) -> list[str]:
    renamed = [layer for layer in found.layers if layer.name_a != layer.name_b]
    pairs = (_cut([getattr(layer, side) for layer in renamed]) for side in ("name_a", "name_b"))
    texts = {
        "a = b": [f"{a} = {b}" for a, b in zip(*pairs, strict=True)],
        "only in a": _cut(found.unmatched_a),
        "only in b": _cut(found.unmatched_b),
    }
    lines = [f"{what}: {_listed(names)}" for what, names in texts.items() if names]
    return [*lines, canvas.left_out(found.only_a, found.only_b)]


def _cut(names: Sequence[str]) -> list[str]:
    return layer_names.shortened(names, _LONGEST)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest:,} more" if rest > 0 else "")
