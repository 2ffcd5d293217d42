"""Keys: what a captured value is called, the same in every framework.

    path            the first call of a layer in one forward
    path:2          its second call (never overwritten)
    path@input      what went into it
    path[0]         a leaf of an output that is a tuple; path[h] of a dict or a named tuple

and together `path:2@input[hidden_states]`. A loop over stacked layers is split: `path.0`, `path.1`, ….
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

INPUT = "@input"

_DEEPEST = 3  # loops in one another whose layers are told apart in a pattern


class Leaves(dict[str, Any]):
    """What a layer returned, taken apart already: suffix as in keys → leaf."""


def arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any], is_array: Callable[[Any], bool]) -> Any:
    """Give what goes into a layer: a single array as itself, else a dict by index and by name.

    >>> arguments((1,), {}, lambda leaf: True), arguments((1, 2), {"mask": 3}, lambda leaf: True)
    (1, {0: 1, 1: 2, 'mask': 3})
    """
    if len(args) == 1 and not kwargs and is_array(args[0]):
        return args[0]
    return {**dict(enumerate(args)), **kwargs}


def leaves(value: Any, is_array: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """Walk what a layer returned; give `(suffix, leaf)` with suffixes as in keys.

    Knows dicts (of every kind), named tuples, tuples, lists and dataclasses; everything else is a leaf.

    >>> list(leaves((1, {"h": 2}), lambda leaf: isinstance(leaf, int)))
    [('[0]', 1), ('[1][h]', 2)]
    """
    if isinstance(value, Leaves):
        yield from value.items()
        return
    for name, child in _children(value, is_array):
        if name is None:
            yield "", child
        else:
            for suffix, leaf in leaves(child, is_array):
                yield f"[{name}]{suffix}", leaf


def _children(value: Any, is_array: Callable[[Any], bool]) -> Iterator[tuple[object, Any]]:
    if is_array(value):
        yield None, value
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, (tuple, list)):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name)
    else:
        yield None, value


def numbered(path: str, call: int) -> str:
    """Name a call of a layer.

    >>> numbered("rnn.cell", 1), numbered("rnn.cell", 2)
    ('rnn.cell', 'rnn.cell:2')
    """
    return path if call == 1 else f"{path}:{call}"


def indexed(name: str, indices: Iterable[int]) -> Iterator[str]:
    """Give the names that a layer may get where loops over stacked layers are split, with some indices.

    >>> "layers.2.fc@input" in set(indexed("layers.fc@input", [0, 2]))
    True
    """
    path, at, rest = name.partition("@")
    parts, some = path.split("."), list(indices)
    for depth in range(1, min(_DEEPEST, len(parts)) + 1):
        for places in itertools.combinations(range(len(parts)), depth):
            for chosen in itertools.product(some if depth == 1 else some[:32], repeat=depth):
                behind = dict(zip(places, chosen, strict=True))
                yield ".".join(_with_indices(parts, behind)) + at + rest


def _with_indices(parts: list[str], behind: Mapping[int, int]) -> Iterator[str]:
    for at, part in enumerate(parts):
        yield part
        if at in behind:
            yield str(behind[at])
