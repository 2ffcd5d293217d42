"""Tables in plain text: for `layers()`, reports and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actlens.errors._base import printable

__all__ = ["bytes_text", "printable", "text_table"]


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Align columns of text; an empty column is left out.

    >>> print(text_table(["a", "b"], [[1, "x"], [22, "y"]]))
    a   b
    1   x
    22  y
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    used = [i for i in range(len(header)) if not cells or any(row[i] for row in cells)]
    lines = [[row[i] for i in used] for row in [list(header), *cells]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(used))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


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
