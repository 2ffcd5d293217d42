"""Which positions of a batch count: `mask=` and `lengths=`, and the layers that they are about."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.activations import describe
from actlens.errors import MaskError
from actlens.format.dtypes import is_floating
from actlens.format.schema import ACT, SHARED, Schema
from actlens.writing.host import Arrays, to_numpy

_POSITIONS = {"token", "time"}  # axes that an adapter names so


@dataclasses.dataclass(frozen=True, slots=True)
class Valid:
    """Which positions of each row of a batch count. `indices`: layer → index; `masks`: index → (rows,
    positions).

    Both are empty where rows are not ragged.
    """

    indices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    masks: Mapping[str, npt.NDArray[np.bool_]] = dataclasses.field(default_factory=dict)

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Valid:
        """Keep some rows."""
        return Valid(self.indices, {index: mask[rows] for index, mask in self.masks.items()})

    def flat(self, arrays: Arrays) -> Arrays:
        """Leave out the positions that do not count: (rows, positions, …) → (all that count, …)."""
        return {
            key: array[self.masks[self.indices[key]]] if key in self.indices else array
            for key, array in arrays.items()
        }


Positions = tuple[Any, Any]
"""`mask=` and `lengths=` as they were given; at most one of them is not None."""


def read_valid(acts: Mapping[str, Any], positions: Positions, rows: int, *, schema: Schema | None) -> Valid:
    """Read `mask=` or `lengths=`: for all layers that have positions, or a dict layer → its own.

    Raises:
        MaskError: neither booleans nor 0 and 1; other shapes than the layers'; a layer of which nothing tells
            whether its second axis is positions; none that is.
    """
    mask, lengths = positions
    if mask is not None and lengths is not None:
        raise MaskError.mask_and_lengths()
    given, name = (lengths, "lengths") if mask is None else (mask, "mask")
    if given is None:
        if schema is not None and schema.indices:
            raise MaskError.no_mask(next(layer.key for layer in schema.layers if layer.ragged))
        return Valid()
    if isinstance(given, Mapping):
        unknown = [key for key in given if key not in acts]
        if unknown or not given:
            raise MaskError.mask_of_nothing(name, unknown, acts)
        masks = {key: _mask(value, name, rows, _sizes(acts, [key])) for key, value in given.items()}
        return Valid({key: ACT + key for key in given}, {ACT + key: one for key, one in masks.items()})
    values = _array(given, name, rows)
    keys = _layers_with_positions(acts, values, name, schema)
    return Valid(dict.fromkeys(keys, SHARED), {SHARED: _mask(values, name, rows, _sizes(acts, keys))})


def _array(given: Any, name: str, rows: int) -> npt.NDArray[Any]:
    try:
        values = to_numpy(given)
    except (ValueError, OverflowError) as error:
        raise MaskError.bad_mask(name, f"rows of different lengths ({error})", rows) from error
    if values.ndim != (2 if name == "mask" else 1) or values.shape[0] != rows:
        raise MaskError.bad_mask(name, f"an array of shape {values.shape}", rows)
    return values


def _mask(given: Any, name: str, rows: int, sizes: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    """Give (rows, positions) booleans that fit the layers' second axes."""
    values = _array(given, name, rows)
    size = values.shape[1] if name == "mask" else next(iter(sizes.values()))
    wrong = [key for key, other in sizes.items() if other != size]
    if wrong:
        raise MaskError.mask_does_not_fit(name, wrong[0], size, sizes[wrong[0]])
    if name == "mask":
        number = values.dtype.kind in "biu" or is_floating(values.dtype)
        zeros_and_ones = number and bool(((values == 0) | (values == 1)).all())
        if not zeros_and_ones:
            raise MaskError.bad_mask(name, "values that are neither true and false nor 0 and 1", rows)
        return values.astype(bool)
    if values.dtype.kind not in "iu" or (rows and not 0 <= int(values.min()) <= int(values.max()) <= size):
        raise MaskError.bad_mask(name, f"numbers that are not whole or not from 0 to {size}", rows)
    return np.asarray(np.arange(size) < values.astype(np.int64)[:, None])


def _sizes(acts: Mapping[str, Any], keys: list[str]) -> dict[str, int]:
    shapes = {key: describe(acts[key])[0] for key in keys}
    flat = [key for key, shape in shapes.items() if len(shape) < 2]
    if flat:
        raise MaskError.no_positions(flat[0], shapes[flat[0]])
    return {key: shape[1] for key, shape in shapes.items()}


def _layers_with_positions(
    acts: Mapping[str, Any], values: npt.NDArray[Any], name: str, schema: Schema | None
) -> list[str]:
    """Name the layers whose second axis is the one that the mask is about.

    Where the adapter named the axes, they decide. Else a layer of three axes or more is taken to be
    (samples, positions, features), if all such layers of the batch are of the mask's size; what is less clear
    is refused.
    """
    if schema is not None:  # decided once, for the whole recording
        shared = [layer.key for layer in schema.layers if layer.ragged == SHARED]
        if not shared:
            raise MaskError.mask_only_now(name)
        return shared
    named = {key: axes[1] for key, axes in getattr(acts, "axes", {}).items() if axes and len(axes) > 1}
    shapes = {key: describe(acts[key])[0] for key in acts}
    sure = [key for key in acts if named.get(key) in _POSITIONS]
    nameless = [key for key in acts if named.get(key, "axis1") == "axis1" and len(shapes[key]) > 1]
    deep = [key for key in nameless if len(shapes[key]) > 2]
    first = next(iter([*sure, *deep]), None)
    size = values.shape[1] if name == "mask" else shapes[first][1] if first is not None else 0
    # of (samples, n, n, …) the first n may be heads or channels, and positions only the second
    unclear = [
        key for key in deep if shapes[key][1] != size or (shapes[key][2:3] == (size,) and shapes[key][3:])
    ]
    unclear += [key for key in nameless if len(shapes[key]) == 2 and shapes[key][1] == size]
    if unclear:
        raise MaskError.unclear_positions(name, unclear[0], shapes[unclear[0]], size)
    keys = [key for key in acts if key in {*sure, *deep}]
    if not keys:
        raise MaskError.mask_of_nothing(name, [], acts)
    return keys
