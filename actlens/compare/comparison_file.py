"""A Comparison as a JSON object and arrays, and back: what a file of it holds (docs/format.md, 9.1)."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.compare.comparison import Comparison
from actlens.errors import CompareError
from actlens.format.bundle import Bundle
from actlens.format.result_file import load_result, save_result

Array = npt.NDArray[Any]

KIND = "comparison"
FORMAT = 1
_ARRAYS = ("values", "only_a", "only_b")


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """All of a Comparison that is no array; unknown fields of a later version are left out."""

    format: int
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    measure: str
    options: dict[str, bool | int | float | str | None]
    title: str
    similarity: bool
    symmetric: bool
    signed: bool
    same: bool
    rows: int
    samples: int
    positions: str | None
    path: str
    why: str
    reasons: tuple[tuple[str, str, str], ...]
    name_a: str
    name_b: str


def packed(comparison: Comparison) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give the metadata and the arrays of a bundle."""
    fields = {name: getattr(comparison, name) for name in _About.__struct_fields__ if name != "format"}
    fields["reasons"] = [[a, b, why] for (a, b), why in comparison.reasons.items()]
    about = msgspec.to_builtins(_About(format=FORMAT, **fields))
    return about, {name: np.asarray(getattr(comparison, name)) for name in _ARRAYS}


def unpacked(bundle: Bundle, path: object) -> Comparison:
    """Undo `packed`. Raises CompareError where parts are missing, of the wrong type, or do not fit."""
    found = bundle.about.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise CompareError.newer(path, found, FORMAT)
    try:
        about = msgspec.convert(bundle.about, _About)
        arrays: dict[str, Any] = {name: bundle.arrays[name] for name in _ARRAYS}
    except (msgspec.ValidationError, KeyError) as error:
        raise CompareError.not_saved(
            path, f"it lacks a part, or has one of another type ({error})"
        ) from error
    values = arrays["values"]
    if values.dtype != np.float64 or values.shape != (len(about.layers_a), len(about.layers_b)):
        raise CompareError.not_saved(path, f"its values are {values.dtype} of shape {values.shape}")
    if arrays["only_a"].ndim != 1 or arrays["only_b"].ndim != 1:
        raise CompareError.not_saved(path, "its lists of ids are no lists")
    fields = msgspec.structs.asdict(about)
    del fields["format"]
    fields["reasons"] = {(a, b): why for a, b, why in about.reasons}
    return Comparison(**arrays, **fields)


def save(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    save_result(path, KIND, packed(comparison), errors=CompareError)


def load(path: str | os.PathLike[str]) -> Comparison:
    """Read a Comparison; everything in it must be of the right type and fit together."""
    return unpacked(load_result(path, KIND, errors=CompareError), path)
