"""Activations as a pytree of jax: their names pass through jit, grad, vmap and scan with the arrays.

`jax.pmap` gives its results an axis of devices in front. The samples of a batch are told apart by their rows,
so it is folded back here: (devices, samples of one, …) → (samples, …).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import jax

from actlens.activations import Activations, Axes, Report


@dataclasses.dataclass(frozen=True, slots=True)
class _Beside:
    """What travels beside the arrays. Two trees are alike when keys and axes are; reports may differ."""

    keys: tuple[str, ...]
    axes: tuple[tuple[str, Axes], ...]
    ranks: tuple[int, ...] = dataclasses.field(compare=False)
    mapped: bool = dataclasses.field(compare=False)
    report: Report | None = dataclasses.field(compare=False)


def register() -> None:
    """Tell jax about Activations, once in a process."""
    with suppress(ValueError):  # known already
        jax.tree_util.register_pytree_with_keys(Activations, _flatten_with_keys, _unflatten, _flatten)


def _flatten(acts: Activations) -> tuple[list[Any], _Beside]:
    ranks = tuple(_rank(array) for array in acts.values())
    beside = _Beside(tuple(acts), tuple(acts.axes.items()), ranks, _on_one_device_of_many(), acts.report)
    return list(acts.values()), beside


def _flatten_with_keys(acts: Activations) -> tuple[list[tuple[Any, Any]], _Beside]:
    named = [(jax.tree_util.DictKey(key), array) for key, array in acts.items()]
    return named, _flatten(acts)[1]


def _unflatten(beside: _Beside, values: Iterable[Any]) -> Activations:
    arrays = dict(zip(beside.keys, values, strict=True))
    if beside.mapped and all(map(_has_devices_in_front, arrays.values(), beside.ranks)):
        arrays = {key: array.reshape(-1, *array.shape[2:]) for key, array in arrays.items()}
    axes = {key: names for key, names in beside.axes if _rank(arrays[key]) in {len(names), -1}}
    return Activations(arrays, axes, beside.report)


def _on_one_device_of_many() -> bool:
    """Say whether this is the inside of pmap or shard_map; of the two only pmap adds an axis."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _has_devices_in_front(value: Any, rank: int) -> bool:
    if not isinstance(value, jax.Array) or not 1 < _rank(value) == rank + 1:
        return False
    # inside, pmap gives each device an axis of one; a longer one is of a vmap or a scan there
    return value.shape[0] == 1 or not _on_one_device_of_many()


def _rank(value: Any) -> int:
    """Give the number of axes; -1 for what is no array, which jax puts into trees of its own."""
    shape = getattr(value, "shape", None)
    return len(shape) if isinstance(shape, tuple) else -1
