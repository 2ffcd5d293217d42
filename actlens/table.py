"""Tables in plain text: for `layers()`, reports and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actlens.activations import LayerInfo


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Align columns of text; an empty column is left out.

    >>> print(text_table(["a", "b"], [[1, "x"], [22, "y"]]))
    a   b
    1   x
    22  y
    """
    cells = [[str(cell) for cell in row] for row in rows]
    used = [i for i in range(len(header)) if not cells or any(row[i] for row in cells)]
    lines = [[row[i] for i in used] for row in [list(header), *cells]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(used))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def layer_table(layers: Mapping[str, LayerInfo]) -> str:
    """One line a layer: path, type, shape, dtype, axes, bytes per sample, note."""
    rows = [
        (
            key,
            info.type,
            "×".join(map(str, info.shape)) if info.shape is not None else "",
            info.dtype or "",
            " ".join(info.axes or ()),
            _per_sample(info),
            info.note,
        )
        for key, info in layers.items()
    ]
    return text_table(["layer", "type", "shape", "dtype", "axes", "bytes/sample", "note"], rows)


def bytes_text(count: float) -> str:
    """Give a byte count as a person reads it: powers of 1024, three figures.

    >>> bytes_text(1536), bytes_text(3 * 1024**3)
    ('1.5 KiB', '3 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"


def _per_sample(info: LayerInfo) -> str:
    if info.shape is None or info.dtype is None or not info.shape:
        return ""
    from actlens.format.dtypes import itemsize

    features = 1
    for size in info.shape[1:]:
        features *= size
    return bytes_text(features * itemsize(info.dtype))
