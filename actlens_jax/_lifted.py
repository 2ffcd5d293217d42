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

from actlens.errors import UncapturableValue
from actlens_jax._around import Kind
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
        return len(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the axes that were added, in stored order."""
        for _, two, three in self.payload.values():
            return tuple(two.shape[axis] for axis in _added(two, three))
        return ()

    @property
    def leading(self) -> bool:
        """Whether the axes that were added stand in front."""
        axes = [_added(two, three) for _, two, three in self.payload.values()]
        return all(added == tuple(range(len(added))) for added in axes)

    def unstacked(self, modes: Sequence[Mode]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Give (index of the layer or step on each added axis, suffix → array) for all of them."""
        arrays = {}
        for suffix, (array, two, three) in self.payload.items():
            axes = _added(two, three)
            arrays[suffix] = jnp.moveaxis(array, axes, range(len(axes))) if axes else array
        steps = [
            range(1) if mode == "batch" else range(size)
            for mode, size in zip(modes, self.sizes, strict=False)
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
        """Give one level for each added axis of an entry, outermost first.

        Raises:
            UncapturableValue: it cannot be told which axis is which.
        """
        prefixes: list[str] = []
        for prefix in _prefixes(entry.path):
            wanted = entry.added if prefix == entry.path else min(self._added.get(prefix, 0), entry.added)
            prefixes += [prefix] * (wanted - len(prefixes))
        if not prefixes:
            return []
        split = self._split(prefixes[0])
        kinds = self._memory.around.get(entry.path, ())
        modes = _modes(entry.sizes, split, kinds) if entry.leading or entry.added == 1 else None
        if modes is None:
            raise UncapturableValue.of(entry.path, *_UNCLEAR)
        return [Level(prefix, mode) for prefix, mode in zip(prefixes, modes, strict=True)]

    def _split(self, prefix: str) -> tuple[int, ...]:
        """Give the sizes that parameters below a path have outside and not inside, outermost first."""
        found: tuple[int, ...] = ()
        for path, seen in self._memory.inner.items():
            if path == prefix or path.startswith(prefix + "."):
                for inner, outer in zip(seen.shapes, self._outer(path), strict=False):
                    found = max(found, _left_over(outer, inner), key=len)
        return found


_UNCLEAR = (
    "one array for several loops or batches in one another, of which it cannot be told which axis is which",
    "In nn.scan and nn.vmap give 'intermediates' the axis 0 (NNX: nnx.Intermediate: 0), and give loops that "
    "are in one another different lengths; or capture the layer that contains them.",
)


def _modes(sizes: tuple[int, ...], split: tuple[int, ...], kinds: tuple[Kind, ...]) -> list[Mode] | None:
    """Say what each added axis means; None where that cannot be told.

    An axis that the parameters have too is one of layers. Another one is a batch where vmap added it, and the
    calls of one layer where scan did.

    >>> _modes((5, 3), (3,), ("vmap", "scan")), _modes((7,), (), ("scan",))
    (['batch', 'layers'], ['calls'])
    """
    places = itertools.combinations(range(len(sizes)), len(split))
    fitting = [at for at in places if tuple(sizes[n] for n in at) == split]
    if len(fitting) != 1:
        return None
    (layers,) = fitting
    if len(layers) == len(sizes):
        return ["layers"] * len(sizes)
    if len(kinds) != len(sizes):  # something around it that adds no axis
        if len(set(kinds)) != 1:
            return None
        kinds = kinds[:1] * len(sizes)
    shared: dict[Kind, Mode] = {"vmap": "batch", "scan": "calls"}
    return ["layers" if n in layers else shared[kind] for n, kind in enumerate(kinds)]


def _left_over(outer: Shape, inner: Shape) -> tuple[int, ...]:
    """Give the sizes of a shape that another does not have, in order.

    >>> _left_over((3, 4, 8), (4, 8)), _left_over((4, 3, 8), (4, 8)), _left_over((4, 8), (4, 8))
    ((3,), (3,), ())
    """
    rest = list(inner)
    left: list[int] = []
    for size in outer:
        if rest and size == rest[0]:
            del rest[0]
        else:
            left.append(size)
    return tuple(left)


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
