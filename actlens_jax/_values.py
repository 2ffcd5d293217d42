"""What a module returned: which leaves are arrays, and how objects that only jax knows are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from actlens.keys import leaves

Shape = tuple[int, ...]


def is_array(value: Any) -> bool:
    """Say whether a leaf is an array of this framework; tracers are."""
    return isinstance(value, (jax.Array, np.ndarray))


def opened(value: Any) -> dict[str, Any]:
    """Take a value apart: suffix as in keys → leaf. Pytrees that only jax knows open by index."""
    return dict(leaves(_opened(value), is_array))


def _opened(value: Any) -> Any:
    if is_array(value) or value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, map(_opened, value), strict=True))
    if isinstance(value, (tuple, list)):
        return tuple(_opened(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _opened(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value if jax.tree_util.all_leaves([value]) else dict(enumerate(jax.tree.leaves(value)))
