"""What the options of a Recorder may be."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from actlens.errors import AddressError, ArgumentError
from actlens.format.commit import DURABILITIES, Durability
from actlens.format.dtypes import DTYPES, is_floating, named
from actlens.format.local import LocalPlace
from actlens.format.place import WritablePlace

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")  # what pathlib makes of an address


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
    try:
        fits = isinstance(path, (str, os.PathLike)) and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half a character is no part of a name
        fits = False
    if not fits:
        raise ArgumentError.path(path)
    if isinstance(path, Path) and _COLLAPSED.match(str(path)) and not Path(path.parts[0]).exists():
        raise AddressError.collapsed(path)
    return Path(path)


def local_folder(path: Any, what: str) -> Path:
    """Read a path where no address does; `what` says in a message what it is for."""
    if is_address(path):
        address = importlib.import_module("actlens.remote.address").Address
        raise AddressError.only_folders(address.parse(path), what)
    return folder_path(path)


def rank_of(rank: Any, ranks: int) -> int:
    """Read the number of a process, of so many."""
    if at_least("rank", rank, 0) >= ranks:
        raise ArgumentError.rank(rank, ranks)
    return int(rank)


def is_address(path: Any) -> bool:
    """Say whether a path is an address, such as s3://bucket/run."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def place_to_write(path: Any, durability: Durability) -> WritablePlace:
    """Give the place of a new recording, or of one to go on with."""
    check_durability(durability)
    if is_address(path):
        place: WritablePlace = importlib.import_module("actlens.remote").place_to_write(path)
        return place
    return LocalPlace(folder_path(path), durability)


def check_durability(durability: str) -> None:
    """Refuse what is neither "fsync" nor "rename"."""
    if durability not in DURABILITIES:
        raise ArgumentError.choice("durability", durability, DURABILITIES)
