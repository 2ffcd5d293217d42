"""Arrays in containers, and arrays kept so that nothing changes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from actlens.activations import Selector
from actlens.errors import UncapturableValue
from actlens_tf._framework import framework


def is_array(value: Any) -> bool:
    """Say whether a leaf is an array of the backend that Keras runs on."""
    return bool(keras.ops.is_tensor(value)) or isinstance(value, keras.Variable)


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the leaves of dicts, lists and tuples; the same containers come back."""
    if isinstance(value, Mapping) and not is_array(value):
        return {key: mapped(item, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not is_array(value):
        items = [mapped(item, function) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return tuple(items) if isinstance(value, tuple) else items
    return function(value)


def leaves_of(value: Any) -> list[Any]:
    """List the leaves of dicts, lists and tuples."""
    found: list[Any] = []
    mapped(value, found.append)
    return found


def without_aliases(value: Any) -> Any:
    """Copy numpy arrays: Keras may use their memory, and whoever owns it may write into it later."""
    if not any(isinstance(leaf, np.ndarray) for leaf in leaves_of(value)):
        return value
    return mapped(value, lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf)


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An array as a tape sees it: in a graph, a size that is not known yet is -1."""

    array: Any
    shape: tuple[int, ...]
    dtype: Any

    @classmethod
    def of(cls, array: Any) -> Kept:
        """Describe an array."""
        return cls(array, sizes(array), array.dtype)


def sizes(array: Any) -> tuple[int, ...]:
    """Give the shape of an array, -1 for a size that is not known yet."""
    return tuple(size if isinstance(size, int) else -1 for size in array.shape)


class Keeper:
    """Takes arrays for good, transformed."""

    def __init__(self, select: Selector) -> None:
        self._select = select

    def keep(self, key: str, array: Any) -> Kept:
        """Take an array, for `Tape(keep=)`.

        Raises:
            UncapturableValue: it is not a plain dense array.
        """
        result = self._select.transform(key, framework().owned(array))
        kind = framework().unusual(result)
        if kind:
            raise UncapturableValue.of(key, *kind)
        return Kept.of(result)
