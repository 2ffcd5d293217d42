"""Moments in one safetensors file: a bundle (docs/format.md, 9.1), readable by any safetensors reader."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.compare.sums import Shape, Sums
from actlens.errors import CompareError
from actlens.format.bundle import Bundle
from actlens.format.result_file import load_result, save_result

if TYPE_CHECKING:
    from actlens.compare.moments import Moments

Array = npt.NDArray[Any]

KIND = "moments"
FORMAT = 1
_ARRAYS = ("shift", "count", "total", "norms", "norm_products", "weighted")
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 32)]


class _About(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    folds: Size
    precision: Literal["float64", "float32"]
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    widths_a: tuple[Size, ...]
    widths_b: tuple[Size, ...]


def save(moments: Moments, path: str | os.PathLike[str]) -> None:
    """Write the file aside and rename it: a crash leaves the old file or none, never half a file."""
    if moments.sums is None:
        raise CompareError.cannot_write(path, "no batch was summed up yet")
    save_result(path, KIND, _packed(moments, moments.sums), errors=CompareError)


def _packed(moments: Moments, sums: Sums) -> tuple[dict[str, Any], dict[str, Array]]:
    about = _About(
        format=FORMAT,
        folds=moments.folds,
        precision="float32" if moments.precision == "float32" else "float64",
        layers_a=moments.layers_a,
        layers_b=moments.layers_b,
        widths_a=sums.shape.a,
        widths_b=sums.shape.b,
    )
    arrays = {name: getattr(sums, name) for name in _ARRAYS}
    return msgspec.to_builtins(about), arrays | {
        f"product:{i}:{j}": product for (i, j), product in sums.products.items()
    }


def load(path: str | os.PathLike[str]) -> Moments:
    """Read Moments; everything in it must be of the right type and fit together."""
    from actlens.compare.moments import Moments

    bundle = load_result(path, KIND, errors=CompareError)
    found = bundle.about.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise CompareError.newer(path, found, FORMAT)
    try:
        about = msgspec.convert(bundle.about, _About)
    except msgspec.ValidationError as error:
        raise CompareError.not_saved(path, error) from error
    moments = Moments(folds=about.folds, precision=about.precision)
    moments.layers_a, moments.layers_b = about.layers_a, about.layers_b
    moments.sums = _sums(about, bundle, path)
    return moments


def _sums(about: _About, bundle: Bundle, path: object) -> Sums:
    """Hold every array to the shape that the metadata ask for, before one of that shape is made."""
    shape = Shape(about.widths_a, about.widths_b, about.folds)
    same = about.layers_b == about.layers_a if shape.same else len(about.layers_b) == len(shape.b)
    if not shape.a or len(about.layers_a) != len(shape.a) or not same:
        raise CompareError.not_saved(path, "its layers and their features do not fit together")
    features, layers, folds = sum(shape.widths), len(shape.widths), shape.folds
    expected: dict[str, tuple[int, ...]] = {
        "shift": (features,),
        "count": (folds,),
        "total": (folds, features),
        "norms": (folds, layers),
        "norm_products": (folds, layers, layers),
        "weighted": (folds, layers, features),
    }
    pairs = sorted({(i, j) for i, j, _, _ in shape.panels()}) if layers < 1 << 12 else []
    expected |= {f"product:{i}:{j}": (folds, shape.widths[i], shape.widths[j]) for i, j in pairs}
    for name, size in expected.items():
        array = bundle.arrays.get(name)
        kind = np.int64 if name == "count" else np.float64
        if array is None or array.shape != size or array.dtype != kind:
            seen = "is missing" if array is None else f"is {array.dtype} of shape {array.shape}"
            raise CompareError.not_saved(path, f"its array {name!r} {seen}")
    if (bundle.arrays["count"] < 0).any():
        raise CompareError.not_saved(path, "it counts fewer than no rows")
    products = {(i, j): bundle.arrays[f"product:{i}:{j}"] for i, j in pairs}
    return Sums(shape=shape, products=products, **{name: bundle.arrays[name] for name in _ARRAYS})
