"""How large a recording will be, measured on its first batch, against a limit and the free disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from actlens.errors import BudgetExceeded
from actlens.table import bytes_text

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGTP", 1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGTP", 1)}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Z]*)\s*", re.IGNORECASE)


def parse_bytes(budget: int | str) -> int:
    """Read a size: a number of bytes, or a text with a unit (GB = 10⁹, GiB = 2³⁰).

    >>> parse_bytes("2GB"), parse_bytes("1.5 KiB")
    (2000000000, 1536)
    """
    if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0:
        return budget
    match = _SIZE.fullmatch(budget) if isinstance(budget, str) else None
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or float(match[1]) <= 0:
        raise BudgetExceeded.bad_budget(budget)
    return int(float(match[1]) * unit)


class Budget:
    """A limit in bytes, or None; and always the free space of the disk, where the recording is on one."""

    def __init__(self, limit: int | str | None, path: Path | str) -> None:
        self._limit = None if limit is None else parse_bytes(limit)
        self._path = path

    def check(self, row_bytes: int, rows: int | None, fraction: float) -> None:
        """Refuse before anything is written, where the number of rows is known.

        Raises:
            BudgetExceeded: with the fraction of the samples that would fit.
        """
        if rows is None:
            return
        need = int(row_bytes * rows * fraction)
        limits = []
        if isinstance(self._path, Path):  # of an object store, nobody knows what is free
            free = shutil.disk_usage(_existing(self._path)).free
            limits.append((free, f"{bytes_text(free)} are free on the disk"))
        if self._limit is not None:
            limits.append((self._limit, f"budget= allows {bytes_text(self._limit)}"))
        for limit, text in sorted(limits)[:1]:
            if need > limit:
                share = limit / need * fraction
                raise BudgetExceeded.of(bytes_text(need), text, bytes_text(row_bytes), _remedies(share))

    def check_so_far(self, row_bytes: int, rows: int) -> bool:
        """Say whether so many rows are within the limit."""
        return self._limit is None or row_bytes * rows <= self._limit

    def __str__(self) -> str:
        return "no limit" if self._limit is None else bytes_text(self._limit)


def _remedies(share: float) -> list[str]:
    pooled = "fewer or pooled layers, e.g. layers={'layer*': 'b c h w -> b c'}"
    halves = "dtype='float16' or 'bfloat16' (half of float32)"
    if share >= 0.0001:
        digits = f"{share:.4f}"[:6].rstrip("0")
        return [f"sample={digits}", halves, pooled]
    return [halves, pooled]


def _existing(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    return next(parent for parent in [path, *path.parents] if parent.exists())
