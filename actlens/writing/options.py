"""What the options of a Recorder may be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from actlens.errors import ArgumentError
from actlens.format.commit import DURABILITIES, Durability
from actlens.format.dtypes import DTYPES, is_floating, named
from actlens.format.local import LocalPlace
from actlens.format.place import WritablePlace


def float_dtype(name: str | None) -> np.dtype[Any] | None:
    """Read `dtype=`: the name of a floating-point type that can be stored."""
    if name is None:
        return None
    dtype = named(str(name))
    if dtype is None or not is_floating(dtype):
        raise ArgumentError.choice(
            "dtype", name, [kind.name for kind in DTYPES.values() if is_floating(kind)]
        )
    return dtype


def at_least(name: str, value: Any, least: int, *, most: int | None = None) -> int:
    """Read a whole number of up to 64 bits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= ((1 << 64) - 1 if most is None else most):
        raise ArgumentError.at_least(name, value, least, most)
    return int(value)


def folder_path(path: Any) -> Path:
    """Read a path."""
    if not isinstance(path, (str, os.PathLike)) or "\0" in os.fspath(path):
        raise ArgumentError.path(path)
    return Path(path)


def rank_of(rank: Any, ranks: int) -> int:
    """Read the number of a process, of so many."""
    if at_least("rank", rank, 0) >= ranks:
        raise ArgumentError.rank(rank, ranks)
    return int(rank)


def place_to_write(path: Any, durability: Durability) -> WritablePlace:
    """Give the place of a new recording, or of one to go on with."""
    check_durability(durability)
    return LocalPlace(folder_path(path), durability)


def check_durability(durability: str) -> None:
    """Refuse what is neither "fsync" nor "rename"."""
    if durability not in DURABILITIES:
        raise ArgumentError.choice("durability", durability, DURABILITIES)
