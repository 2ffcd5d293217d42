"""What the modules of an NNX model are called: attribute paths, in the order in which they were set.

`nnx.iter_modules` gives them in the order of the alphabet, and an alias for the name where it comes first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from flax import nnx


@dataclasses.dataclass(slots=True)
class Place:
    """A module that can be called: its path, and other paths to it."""

    path: str
    module: nnx.Module
    aliases: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The class's own name."""
        return type(self.module).__name__


def places(model: nnx.Module) -> list[Place]:
    """List the modules of a model that can be called; the model itself is not among them."""
    found: dict[int, Place] = {}
    for path, module in _walk(model, (), (id(model),)):
        place = found.get(id(module))
        if place is not None:
            if path not in {place.path, *place.aliases}:
                place.aliases = (*place.aliases, path)
        elif _can_be_called(module):
            found[id(module)] = Place(path, module)
    return list(found.values())


def _can_be_called(module: nnx.Module) -> bool:
    # not getattr: a class that has no __call__ answers with its metaclass's, which makes instances
    return any("__call__" in vars(base) for base in type(module).__mro__)


def _walk(node: Any, prefix: tuple[object, ...], above: tuple[int, ...]) -> Iterator[tuple[str, nnx.Module]]:
    for name, child in _children(node):
        path = (*prefix, name)
        if id(child) in above:  # a module that holds itself
            continue
        if isinstance(child, nnx.Module):
            yield ".".join(map(str, path)), child
        if isinstance(child, (nnx.Module, Mapping, list, tuple)):
            yield from _walk(child, path, (*above, id(child)))
    if not prefix and isinstance(node, nnx.Module):  # what other kinds of containers hold
        for parts, module in nnx.iter_modules(node):
            if parts:
                yield ".".join(map(str, parts)), module


def _children(node: Any) -> Iterator[tuple[object, Any]]:
    if isinstance(node, nnx.Module):
        yield from ((name, child) for name, child in vars(node).items() if not name.startswith("_pytree__"))
    elif isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, (list, tuple)):
        yield from enumerate(node)
