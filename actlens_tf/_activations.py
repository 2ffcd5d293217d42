"""Activations that keep their names on the way through tf.function, jax.jit and torch.func."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from actlens.activations import Activations, Axes, Report
from actlens_tf._framework import framework


class KerasActivations(Activations):
    """A class of its own, so that pytrees can be told about it beside the other adapters' Activations."""

    _axes: ClassVar[dict[str, Axes]] = {}
    _report: ClassVar[Report | None] = None

    def __init__(
        self,
        arrays: Mapping[str, Any] | None = None,
        axes: Mapping[str, Axes] | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            arrays, self._axes if axes is None else axes, self._report if report is None else report
        )


def traced(arrays: Mapping[str, Any], axes: Mapping[str, Axes], report: Report | None) -> KerasActivations:
    """Give activations inside a graph of TensorFlow.

    tf.nest rebuilds a dict as `type(it)()` and then fills it: what else it held has to be in the type.
    """
    kind = type("KerasActivations", (KerasActivations,), {"_axes": dict(axes), "_report": report})
    result: KerasActivations = kind(arrays)
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What travels beside the arrays. Two trees are alike when keys and axes are; reports may differ."""

    keys: tuple[str, ...]
    axes: tuple[tuple[str, Axes], ...]
    report: Report | None = dataclasses.field(compare=False)


def flattened(acts: KerasActivations) -> tuple[list[Any], Context]:
    """Give the arrays, and what stays beside them."""
    return list(acts.values()), Context(tuple(acts), tuple(acts.axes.items()), acts.report)


def rebuilt(*parts: Any) -> KerasActivations:
    """Give activations from `flattened`, in whichever order the framework hands the two back."""
    first, second = parts
    values: Iterable[Any]
    context, values = (first, second) if isinstance(first, Context) else (second, first)
    return KerasActivations(dict(zip(context.keys, values, strict=True)), dict(context.axes), context.report)


def register() -> None:
    """Tell the pytrees of the backend that Keras runs on, once in a process."""
    framework().register(KerasActivations)
