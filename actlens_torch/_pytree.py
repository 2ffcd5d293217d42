"""Activations as a pytree, so that they pass through torch.func, torch.compile and their kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch.utils._pytree as pytree

from actlens.activations import Activations, Axes, Report


@dataclasses.dataclass(frozen=True, slots=True)
class _Context:
    """What travels beside the arrays. Two trees are alike when keys and axes are; reports may differ."""

    keys: tuple[str, ...]
    axes: tuple[tuple[str, Axes], ...]
    report: Report | None = dataclasses.field(compare=False)


def register() -> None:
    """Tell torch's pytrees about Activations, once in a process."""
    if Activations not in pytree.SUPPORTED_NODES:
        pytree.register_pytree_node(
            Activations, _flatten, _unflatten, serialized_type_name="actlens.activations.Activations"
        )


def _flatten(acts: Activations) -> tuple[list[Any], _Context]:
    return list(acts.values()), _Context(tuple(acts), tuple(acts.axes.items()), acts.report)


def _unflatten(values: Iterable[Any], context: _Context) -> Activations:
    return Activations(dict(zip(context.keys, values, strict=True)), dict(context.axes), context.report)
