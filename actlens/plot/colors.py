"""Every rule about colour, for all pictures. Numbers and names only; no matplotlib here.

Classes or a scale?  Text, booleans, and integers with at most 20 different values are classes; every
other number is a scale. `column.astype(str)` and `column.astype(float)` choose otherwise.

Classes: up to 8, Okabe & Ito (2008); up to 10, Petroff (arXiv 2107.02270); more cannot be told apart, so
the 8 largest are coloured and the rest is grey, and the legend says so.

Activations: a diverging map, white at 0, when there are negative values, else viridis from 0. The limits
hold 99.5 % of the values, and the colour bar states the share beyond them.

Comparisons: viridis from 0 to 1 for a similarity, white at 0 between -1 and 1 where it may be negative, and
for a distance viridis turned round, from 0, so that yellow is alike in both.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from actlens.errors import PlotError

Array = npt.NDArray[Any]

# Okabe & Ito's eight, the ones that are strong on white first.
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
PETROFF10 = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
SINGLE = OKABE_ITO[0]
REST = "#d0d0d0"  # classes beyond those that can be told apart
MISSING = "#9e9e9e"  # NaN in a column
NOT_FINITE = "#000000"  # NaN or inf in an activation: to be seen

SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"
# White dots do not show on white paper: for points, a diverging map whose middle is grey (Moreland 2009).
DIVERGING_POINTS = "coolwarm"

_LARGEST = 1e300  # matplotlib subtracts limits and pads them
_ROUNDING = 1e-6  # a layer is as like itself as sums in float32 say
_MANY_INTEGERS = 20
_PERCENTILE = 99.5
_LONGEST = 32  # characters of a class in a legend


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """Samples in classes: `codes` (samples,) into `labels` and `colors`, both (classes,).

    `rest` is how many classes the last, grey one stands for; 0 when each class has its colour.
    """

    codes: Array
    labels: tuple[str, ...]
    colors: tuple[str, ...]
    rest: int = 0


@dataclasses.dataclass(frozen=True)
class Scale:
    """A colour map's name and limits, and the share of values beyond them (0 to 1).

    `beyond` says at which of the two, where it is not both of a diverging map and else the upper one.
    """

    cmap: str
    low: float
    high: float
    clipped: float = 0.0
    not_finite: int = 0
    beyond: Literal["min", "max", "both"] | None = None

    def label(self, name: str) -> str:
        """Give the colour bar's text: what it is, and what it does not show."""
        parts = [name]
        if self.clipped:
            parts.append(f"{100 * self.clipped:.2g} % beyond the limits")
        if self.not_finite:
            parts.append(f"black: {self.not_finite:,} NaN or inf")
        return "\n".join(part for part in parts if part)


def is_categorical(values: Array) -> bool:
    """Apply the first rule above to (samples,) values."""
    kind = values.dtype.kind
    if kind in "fc" or _is_extension_float(values.dtype):
        return False
    if kind in "iu":
        return len(np.unique(values)) <= _MANY_INTEGERS
    return True


def classes(values: Array) -> Classes:
    """Give every class of (samples,) values a colour and a label, in sorted order."""
    texts = values if values.dtype.kind in "biuUT" else np.array([_text(v) for v in values], dtype=np.str_)
    names, codes, counts = np.unique(texts, return_inverse=True, return_counts=True)
    labels = tuple(_short(str(name)) for name in names)
    if len(names) <= len(PETROFF10):
        palette = OKABE_ITO if len(names) <= len(OKABE_ITO) else PETROFF10
        return Classes(codes, labels, palette[: len(names)])
    # A stable sort: among classes of one size the first in order are coloured.
    shown = np.sort(np.argsort(-counts, kind="stable")[: len(OKABE_ITO)])
    new = np.full(len(names), len(shown))
    new[shown] = np.arange(len(shown))
    rest = len(names) - len(shown)
    return Classes(
        new[codes],
        (*(labels[index] for index in shown), f"{rest} other classes"),
        (*OKABE_ITO, REST),
        rest,
    )


def column_scale(values: Array) -> Scale:
    """Give the scale of a column: all of its range; diverging about 0 when it has both signs."""
    good = values[np.isfinite(values)]
    _check_size(good)
    low, high = (float(good.min()), float(good.max())) if len(good) else (0.0, 1.0)
    if low < 0 < high:
        most = max(-low, high)
        return Scale(DIVERGING_POINTS, -most, most)
    return Scale(SEQUENTIAL, low, high if high > low else low + 1.0)


def activation_scale(values: Array) -> Scale:
    """Give the scale of activations of any shape: from 0, or symmetric about 0 when any is negative."""
    finite = np.isfinite(values)
    sizes = np.abs(values[finite])
    _check_size(sizes)
    # "higher" takes a value that is there: fewer than 200 values are never clipped.
    limit = float(np.percentile(sizes, _PERCENTILE, method="higher")) if sizes.size else 0.0
    limit = limit or float(sizes.max(initial=0.0)) or 1.0
    clipped = float((sizes > limit).mean()) if sizes.size else 0.0
    signed = bool((values[finite] < 0).any())
    cmap, low = (DIVERGING, -limit) if signed else (SEQUENTIAL, 0.0)
    return Scale(cmap, low, limit, clipped, int(values.size - sizes.size))


def comparison_scale(values: Array, *, similarity: bool, signed: bool) -> Scale:
    """Give the scale of measures between layers: the limits are the measure's, where it has any."""
    good = values[np.isfinite(values)]
    _check_size(good)
    high = 1.0 if similarity else float(np.abs(good).max(initial=0.0)) or 1.0
    low = -high if signed else 0.0
    below, above = good < low - _ROUNDING, good > high + _ROUNDING
    clipped = float((below | above).mean()) if good.size else 0.0
    beyond: Literal["min", "max", "both"] = "max"
    if below.any():
        beyond = "both" if above.any() else "min"
    upright = SEQUENTIAL if similarity else f"{SEQUENTIAL}_r"
    missing = int(values.size - good.size)
    return Scale(DIVERGING if signed else upright, low, high, clipped, missing, beyond if clipped else None)


def _check_size(finite: Array) -> None:
    largest = max(float(finite.max()), -float(finite.min())) if finite.size else 0.0
    if largest > _LARGEST:
        raise PlotError.too_large(largest, _LARGEST)


def column_values(color: str | npt.ArrayLike, columns: dict[str, Array], samples: int) -> tuple[str, Array]:
    """Give name and (samples,) values of `color`: a column's name, or an array.

    Raises PlotError for a name that is no column, listing those there are, and for another length.
    """
    if isinstance(color, str):
        if color not in columns:
            raise PlotError.no_column(color, columns)
        return color, np.asarray(columns[color])
    try:
        values = np.asarray(color)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # lists of unequal length, a tensor with a gradient
        raise PlotError.not_an_array("color=", color, error) from error
    if values.shape != (samples,):
        raise PlotError.color_length(samples, values.shape)
    return "", values


def as_float(feature: str, values: Array) -> Array:
    """Widen activations for drawing. Raises PlotError for what is no real number."""
    if values.dtype.kind not in "biuf" and not _is_extension_float(values.dtype):
        raise PlotError.not_numeric(feature, values.dtype)
    return values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)


def _is_extension_float(dtype: np.dtype[Any]) -> bool:
    return dtype.type.__module__.partition(".")[0] == "ml_dtypes"  # bfloat16, float8


def _text(value: object) -> str:
    return "(none)" if value is None or value != value else str(value)  # noqa: PLR0124  NaN


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
