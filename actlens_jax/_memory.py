"""What is learnt of a model while it is traced, and stays true when a compiled part of it runs again.

A module inside `nn.jit` or `nnx.jit` runs its Python once. Its values come out of every call, but its
name, its type and its place in the order were seen in the first call only; so they are kept here.
"""

from __future__ import annotations

import dataclasses
import itertools

from actlens.activations import Layer, Selector
from actlens.keys import indexed
from actlens_jax._around import Kind
from actlens_jax._values import Shape

Slot = str
"""Where a module keeps what is taken down: OUT or IN, with INNER behind it inside a transformation."""

OUT: Slot = "@out"
IN: Slot = "@in"
INNER = "~"
MARK: Slot = "@mark"


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """A module as it is called: its layer, and the shapes of its own parameters as they are there."""

    layer: Layer
    shapes: tuple[Shape, ...]


class Memory:
    """One per forward."""

    def __init__(self, select: Selector) -> None:
        self._select = select
        self._decided: dict[tuple[str, bool], bool] = {}
        self._order: dict[tuple[str, Slot, int], int] = {}
        self.seen: dict[str, Seen] = {}
        self.inner: dict[str, Seen] = {}
        self.around: dict[str, tuple[Kind, ...]] = {}
        self.suffixes: dict[tuple[str, Slot], dict[str, object]] = {}
        self.lost: set[tuple[str, Slot]] = set()
        self.methods: dict[str, str] = {}

    def wants(self, name: str, *, inner: bool) -> bool:
        """Say whether `path` or `path@input` was asked for; inside a transformation, with any index."""
        if (name, inner) not in self._decided:
            names = itertools.chain([name], indexed(name, self._select.indices()) if inner else [])
            self._decided[name, inner] = any(self._select.layer(each) for each in names)
        return self._decided[name, inner]

    def place(self, path: str, slot: Slot, call: int) -> None:
        """Keep the place of a call in the order of the forward."""
        self._order.setdefault((path, slot, call), len(self._order))

    def place_of(self, path: str, slot: Slot, call: int) -> int:
        """Give the place of a call; after all others where it is not known."""
        return self._order.get((path, slot, call), len(self._order))
