"""The axes of every layer of one side, also of layers that have only numbers for names.

An activation is stored with the axes ("sample", "axis1", …), because nobody told what they are. What goes
into it
has names: an activation has the shape, and so the axes, of the layer before it; and the input of a layer with
as many axes has the names of that layer's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from actlens.compare.axes import in_one_order, unnamed
from actlens.compare.given import Given
from actlens.keys import INPUT

_UNROLLED = 3  # layers of as many values as a flat one that are tried for its shape
_SAMPLE = "sample"


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """The values of one sample (*sizes), as they are stored, and what their axes are called.

    `source` is the layer that the names are from; "" where they are the layer's own.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    source: str = ""

    @property
    def named(self) -> bool:
        """Whether every axis has a name of its own."""
        return not any(unnamed(axis) for axis in self.axes) and len(set(self.axes)) == len(self.axes)

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of the axes in the one order of all frameworks: positions by name, then features."""
        return tuple(self.axes.index(axis) for axis in in_one_order((_SAMPLE, *self.axes)))

    def ordered(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Give the axes and sizes in that order."""
        return tuple(self.axes[i] for i in self.order), tuple(self.sizes[i] for i in self.order)


def views_of(side: Sequence[Given]) -> dict[str, tuple[View, ...]]:
    """Give, of each layer of a side, how its values may be seen: first as they are named themselves.

    >>> import numpy as np
    >>> views_of([Given("fc", "a", np.zeros((8, 5)))])
    {'fc': (View(axes=('unit',), sizes=(5,), source=''),)}
    """
    own = {each.name: View(each.axes[1:], each.shape[1:]) for each in side if not each.ragged}
    full = {name: _inferred(name, own) or view for name, view in own.items()}
    names = list(own)
    found = {}
    for place, name in enumerate(names):
        views = [own[name]]
        if full[name] != own[name]:
            views.append(full[name])
        if len(own[name].sizes) == 1:
            views += _unrolled(place, names, full)
        found[name] = tuple(views)
    return found


def _inferred(name: str, own: dict[str, View]) -> View | None:
    """Name the axes of a layer after those of another."""
    view = own[name]
    if view.named:
        return None
    layer, at, leaf = name.partition(INPUT)
    if at and not leaf and layer in own and own[layer].named and len(own[layer].axes) == len(view.axes):
        return View(own[layer].axes, view.sizes, layer)
    names = list(own)
    for before in reversed(names[: names.index(name)]):
        if own[before].sizes != view.sizes:
            return None
        if own[before].named:
            return View(own[before].axes, view.sizes, before)
    return None


def _unrolled(place: int, names: Sequence[str], full: dict[str, View]) -> list[View]:
    """Give the shapes that a flat layer may have had: those of the nearest layers of as many values."""
    features = full[names[place]].sizes[0]
    found: list[View] = []
    for other in sorted(range(len(names)), key=lambda each: (abs(each - place), each)):
        view = full[names[other]]
        if len(view.sizes) > 1 and view.named and math.prod(view.sizes) == features:
            seen = View(view.axes, view.sizes, names[other])
            if all((seen.axes, seen.sizes) != (each.axes, each.sizes) for each in found):
                found.append(seen)
    return found[:_UNROLLED]
