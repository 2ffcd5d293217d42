"""Stats in one safetensors file: a bundle (docs/format.md, 9.1), readable by any safetensors reader."""

from __future__ import annotations

import os

from actlens.errors import StatisticsError
from actlens.format.result_file import load_result, save_result
from actlens.statistics.packing import KIND, packed, unpacked
from actlens.statistics.result import Stats


def save(stats: Stats, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    save_result(path, KIND, packed(stats), errors=StatisticsError)


def load(path: str | os.PathLike[str]) -> Stats:
    """Read Stats; everything in it must be of the right type and fit together."""
    return unpacked(load_result(path, KIND, errors=StatisticsError), path)
