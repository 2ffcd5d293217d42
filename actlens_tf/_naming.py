"""Which layers a model has, and what each is called: as in the code that made them.

In a functional or sequential model a layer is called by its `name`, elsewhere by the attribute that holds it
(`enc.dense`), with the index or key where that is a list or a dict (`blocks.0`, `heads.a`). The names are the
same on all backends of Keras.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras

_Child = tuple[str, Any]
_RESERVED = re.compile(r"[.:@*?!\[\]]")  # what keys and patterns are made of
_BOOKKEEPING = re.compile(r"_self_|_tracked$|_modules$|_functional$")


_COMPILED = (
    "runs inside of {kind}.call, a compiled function (@tf.function, @jax.jit), which values cannot leave; "
    "take the decorator away, since Keras compiles by itself"
)


@dataclasses.dataclass(slots=True, eq=False)
class Place:
    """A layer in a model: its path, and the layer around it that calls it in a loop."""

    path: str
    layer: Any
    around: Place | None = None
    loop: Place | None = None
    aliases: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The class's own name."""
        return type(self.layer).__name__

    @property
    def why_not(self) -> str:
        """Why this layer is seldom called at all; empty where nothing is known."""
        return self._why_compiled or self._why_fused

    @property
    def why_inside(self) -> str:
        """Why values of this layer may not come out of the loop around it; empty where there is none."""
        if self.loop is None:
            return ""
        kind, path = self.loop.type, self.loop.path
        around = f"{kind} layer {path!r}" if path else f"{kind} itself"
        cure = f"capture {path!r} itself" if path else "capture it as a layer of a model"
        if is_rnn(self.loop.layer):
            cure += ", with return_sequences=True"
        return f"runs inside the loop of the {around}, where values cannot leave the graph; {cure}"

    @property
    def _why_compiled(self) -> str:
        around = self.around
        while around is not None:
            if any(hasattr(type(around.layer).call, mark) for mark in ("get_concrete_function", "lower")):
                return _COMPILED.format(kind=around.type)
            around = around.around
        return ""

    @property
    def _why_fused(self) -> str:
        if self.around is None or not isinstance(self.around.layer, _ATTENTION):
            return ""
        own = vars(self.around.layer)
        own = own | own.get("_modules", {})
        if all(self.layer is not own.get(name) for name in ("_softmax", "_dropout_layer")):
            return ""
        return f"{self.around.type} fuses it with its products, unless return_attention_scores=True is given"


def is_rnn(layer: Any) -> bool:
    """Say whether a layer calls its `cell` once for each step."""
    return isinstance(layer, keras.layers.RNN)


def places(model: Any) -> list[Place]:
    """List the layers of a model in the order in which they were made known to it.

    The model itself is not a layer, nor are inputs. A layer that stands in two places has the first path as
    its name.
    """
    found: dict[int, Place] = {}
    for place in _walk(Place("", model), (id(model),)):
        first = found.setdefault(id(place.layer), place)
        if first is not place:
            first.aliases = (*first.aliases, place.path)
    return list(found.values())


def _walk(around: Place, above: tuple[int, ...]) -> Iterator[Place]:
    loop = around if _loops(around.layer) else around.loop
    for name, child in _children(around.layer):
        if id(child) not in above:  # a layer may hold the one around it
            place = Place(f"{around.path}.{name}".removeprefix("."), child, around, loop)
            yield place
            yield from _walk(place, (*above, id(child)))


def _loops(layer: Any) -> bool:
    return isinstance(layer, (keras.layers.RNN, keras.layers.TimeDistributed))


def _children(layer: Any) -> list[_Child]:
    """Give the layers that a layer holds, named, each name once."""
    named: list[_Child] = []
    if _is_graph(layer):
        named += [(child.name, child) for child in layer.layers if _is_layer(child)]
    for more in (_held(layer), [(child.name, child) for child in _tracked(layer)]):
        known = {id(child) for _, child in named}
        named += [(name, child) for name, child in more if id(child) not in known]
    return _unique(named)


_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
_INPUT = keras.layers.InputLayer


def _is_graph(model: Any) -> bool:
    """Say whether a model is functional or sequential: then its layers have no attributes."""
    functional = isinstance(model, keras.Model) and hasattr(model, "operations")
    return functional or isinstance(model, keras.Sequential)


def _tracked(layer: Any) -> list[Any]:
    return [child for child in getattr(layer, "_layers", ()) if _is_layer(child)]


def _held(layer: Any) -> list[_Child]:
    """Give what the attributes hold, in the order in which Keras came to know it.

    On PyTorch an attribute that is a layer stands in another dict than a list of layers: only Keras's own
    list has the same order on every backend.
    """
    order = {id(child): at for at, child in enumerate(_tracked(layer))}
    own = {**vars(layer), **vars(layer).get("_modules", {})}
    found: list[tuple[int, bool, _Child]] = []
    for name, value in own.items():
        if name not in _internal() and not _BOOKKEEPING.match(name):
            for path, child in _inside(name, value):
                found.append((order.get(id(child), len(order)), path != name, (path, child)))
    found.sort(key=lambda entry: entry[:2])
    return [child for _, _, child in found]


def _inside(name: str, value: Any, above: tuple[int, ...] = ()) -> Iterator[_Child]:
    """Give the layers in an attribute: the layer itself, or those in lists, tuples and dicts."""
    if _is_layer(value):
        yield name, value
        return
    if isinstance(value, Mapping):
        items: Any = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    if id(value) in above:
        return
    for key, item in items:
        part = str(key).replace("/", "_")
        yield from _inside(f"{name}/{part}", item, (*above, id(value)))


def _is_layer(value: Any) -> bool:
    return isinstance(value, keras.layers.Layer) and not isinstance(value, (_INPUT, keras.metrics.Metric))


@functools.cache
def _internal() -> frozenset[str]:
    """Give the attributes that Keras itself has on every layer and model."""
    plain = keras.layers.Layer(name="plain")
    return frozenset(vars(plain)) | {"_operations", "_operations_by_depth", "nnx_operations"}


def _unique(named: list[_Child]) -> list[_Child]:
    """Give names that are one legal part of a path each: no two of them alike, for different layers."""
    taken: dict[str, int] = {}
    result = []
    for raw, child in named:
        parts = [_RESERVED.sub("_", part) or "_" for part in raw.split("/")]
        stem = name = ".".join(parts)
        count = 1
        while taken.setdefault(name, id(child)) != id(child):
            name, count = f"{stem}_{count}", count + 1
        result.append((name, child))
    return result
