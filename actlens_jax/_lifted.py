"""Axes that a transformation has added to a value: found by the marks, taken off again.

`nn.scan` and `nn.vmap` over layers stack what the layers gave: one array `(layers, samples, …)`. It is split
again, `layers.0`, `layers.1`, …, wherever each layer has parameters of its own. Where all steps share
their parameters, the steps of a scan are calls of one layer (`cell`, `cell:2`, …), and what a vmap added
is a batch axis, which stays.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax.numpy as jnp

from actlens_jax._memory import Memory, Slot
from actlens_jax._values import Shape

Payload = dict[str, tuple[Any, Any, Any]]
Mode = Literal["layers", "calls", "batch"]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What one call of a module sowed: suffix → array and its two marks."""

    path: str
    slot: Slot
    call: int
    payload: Payload

    @property
    def added(self) -> int:
        """How many axes were added on the way out."""
        return next((len(_added(*marks)) for _, *marks in self.payload.values()), 0)

    def unstacked(self, modes: Sequence[Mode]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Give (index of the layer or step on each added axis, suffix → array) for all of them."""
        sizes: tuple[int, ...] = ()
        arrays = {}
        for suffix, (array, two, three) in self.payload.items():
            axes = _added(two, three)
            arrays[suffix] = jnp.moveaxis(array, axes, range(len(axes))) if axes else array
            sizes = tuple(two.shape[axis] for axis in axes)
        steps = [
            range(1) if mode == "batch" else range(size) for mode, size in zip(modes, sizes, strict=False)
        ]
        for index in itertools.product(*steps):
            where = tuple(
                slice(None) if mode == "batch" else at for mode, at in zip(modes, index, strict=True)
            )
            yield index, {suffix: array[where] if where else array for suffix, array in arrays.items()}


def _added(two: Any, three: Any) -> tuple[int, ...]:
    return tuple(at for at, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a == b)


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """Where in a path an axis was added, and what the axis means."""

    prefix: str
    mode: Mode


class Lifts:
    """Which paths have added axes, and where their index goes.

    `outer(path)` gives the shapes of a module's own parameters as they are outside of everything.
    """

    def __init__(
        self, entries: Sequence[Entry], memory: Memory, outer: Callable[[str], tuple[Shape, ...]]
    ) -> None:
        self._added: dict[str, int] = {}
        for entry in entries:
            self._added[entry.path] = max(entry.added, self._added.get(entry.path, 0))
        self._memory = memory
        self._outer = outer

    def levels(self, entry: Entry) -> list[Level]:
        """Give one level for each added axis of an entry, outermost first."""
        levels: list[Level] = []
        for prefix in _prefixes(entry.path):
            wanted = entry.added if prefix == entry.path else min(self._added.get(prefix, 0), entry.added)
            while len(levels) < wanted:
                levels.append(Level(prefix, self._mode(prefix)))
        return levels

    def _mode(self, prefix: str) -> Mode:
        inside = {
            path: seen
            for path, seen in self._memory.inner.items()
            if path == prefix or path.startswith(prefix + ".")
        }
        if any(seen.shapes != self._outer(path) for path, seen in inside.items()):
            return "layers"
        return "batch" if self._memory.batched & inside.keys() else "calls"


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[: at + 1]) for at in range(len(parts)))


def with_indices(path: str, levels: Sequence[Level], index: Sequence[int]) -> str:
    """Put the indices of layers into a path, each behind the module that was stacked.

    >>> with_indices("enc.layers.fc", [Level("enc.layers", "layers")], [2])
    'enc.layers.2.fc'
    """
    result = []
    for prefix in _prefixes(path):
        result.append(prefix.rpartition(".")[2])
        result += [
            str(at)
            for level, at in zip(levels, index, strict=True)
            if level.prefix == prefix and level.mode == "layers"
        ]
    return ".".join(result)
