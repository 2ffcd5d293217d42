"""Names of layers along an axis: as many as can be read, and cut in the middle where they are long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from actlens.plot import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 30  # characters of a name beside a picture
_SMALLEST = 5.5  # points
_LINE = 1.15  # of the size of a letter
_LETTER = 0.55  # width of an average letter, of its size
_KEPT = (
    2,
    1,
    0,
    3,
    4,
)  # fifths of a name that its beginning may be, best first: the end of a path tells more
_UPRIGHT = 20  # names; of more, those of the x axis stand on end


def shortened(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Cut long names where they are all alike, then in the middle; no two of them read alike afterwards.

    >>> shortened(["encoder.0.mlp", "encoder.1.mlp"], 10)
    ['…0.mlp', '…1.mlp']
    >>> shortened(["encoder.block.0", "decoder.block.1", "head"], 9)
    ['enc…ock.0', 'dec…ock.1', 'head']
    """
    shown = [canvas.drawable_text(name) for name in names]
    if len(shown) > 1 and max(map(len, shown)) > longest:
        same = _same_start(shown)
        shown = [f"…{name[same:]}" for name in shown] if same > 1 else shown
    for length in range(longest, max(map(len, shown), default=0)):
        for fifths in _KEPT:
            cut = [_cut(name, length, (length - 1) * fifths // 5) for name in shown]
            if len(set(cut)) == len(set(shown)):
                return cut
    return shown


def _same_start(names: list[str]) -> int:
    """Count the characters of the first parts of a path that all names share."""
    count = 0
    for parts in zip(*(re.split(r"(?<=[./])", name)[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        count += len(parts[0])
    return count


def _cut(name: str, length: int, first: int) -> str:
    return name if len(name) <= length else f"{name[:first]}…{name[first + 1 - length :]}"


def inches(names: Sequence[str]) -> float:
    """Give the room that names take beside a picture, at most."""
    return max((len(name) for name in shortened(names)), default=0) * canvas.SMALL * _LETTER / 72


def write(ax: Axes, axis: Literal["x", "y"], names: Sequence[str], length: float) -> None:
    """Tick 0, 1, … with names; `length` is that of the axis, in points.

    Where they are closer than letters are high, every k-th is written.
    """
    pitch = length / max(1, len(names))
    size = min(canvas.SMALL, max(_SMALLEST, pitch / _LINE))
    step = max(1, -int(-size * _LINE // pitch))
    texts = shortened(names)
    ticks = range(0, len(names), step)
    turned = _turned(texts, pitch, size) if axis == "x" else {}
    getattr(ax, f"set_{axis}ticks")(ticks, [texts[tick] for tick in ticks], fontsize=size, **turned)
    for label in getattr(ax, f"get_{axis}ticklabels")():
        label.set_parse_math(False)
    ax.tick_params(axis=axis, length=2)


def _turned(texts: Sequence[str], pitch: float, size: float) -> dict[str, Any]:
    """Turn names below a picture no more than they need."""
    if max(map(len, texts), default=0) * size * _LETTER < pitch:
        return {}
    if len(texts) > _UPRIGHT:
        return {"rotation": 90}
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
