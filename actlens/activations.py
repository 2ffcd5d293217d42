"""What one forward gave: the arrays, the names of their axes, and the report of what fired."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from actlens.errors import CaptureError
from actlens.format.dtypes import itemsize
from actlens.keys import INPUT, leaves, numbered
from actlens.table import bytes_text, text_table

Axes = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer, or one of the things it returned.

    `shape` and `dtype` are those of the whole batch in a dry run, `None` when nothing ran; `axes` are
    names in stored order; `note` says what a user must know, e.g. why the layer is never called;
    `aliases` are other paths to the same layer; `may_be_stack`: only a call can tell whether it is one layer,
    or several that a loop runs through, `path.0`, `path.1`, ….
    """

    type: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    axes: Axes | None = None
    note: str = ""
    aliases: tuple[str, ...] = ()
    may_be_stack: bool = False


def layer_table(layers: Mapping[str, LayerInfo]) -> str:
    """One line a layer: path, type, shape, dtype, axes, bytes per sample, note."""
    rows = [
        (
            key,
            info.type,
            "×".join(map(str, info.shape)) if info.shape is not None else "",
            info.dtype or "",
            " ".join(info.axes or ()),
            _per_sample(info),
            _note(info),
        )
        for key, info in layers.items()
    ]
    return text_table(["layer", "type", "shape", "dtype", "axes", "bytes/sample", "note"], rows)


def _note(info: LayerInfo) -> str:
    also = f"also: {', '.join(info.aliases)}" if info.aliases else ""
    return "; ".join(part for part in (info.note, also) if part)


def _per_sample(info: LayerInfo) -> str:
    if info.shape is None or info.dtype is None or not info.shape:
        return ""
    features = 1
    for size in info.shape[1:]:
        features *= size
    return bytes_text(features * itemsize(info.dtype))


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a forward captured, and what it did not.

    `layers`: key → type, shape, dtype, axes, as captured (after the transform), in the order of the
    forward. `calls`: how often each layer fired. `never_fired`: selected layers that did not, with the
    reason where it is known. `skipped`: values that were not asked for (''), or are not arrays (type).
    `met`: all layers of the forward, selected or not, where they are not known before it.
    """

    layers: dict[str, LayerInfo]
    calls: dict[str, int]
    never_fired: dict[str, str]
    skipped: dict[str, str]
    notes: tuple[str, ...] = ()
    met: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Give a table: key, type, shape, dtype, axes, calls."""
        extra = [f"never called: {path} {why}".rstrip() for path, why in self.never_fired.items()]
        extra += [f"not an array: {key} ({kind})" for key, kind in self.skipped.items() if kind]
        return "\n".join([layer_table(self.layers), *extra, *self.notes])


class Activations(dict[str, Any]):
    """Key → the framework's own array, of one forward; with the axes' names and the report.

    A dict like any other. Adapters register it as a pytree, so that it passes through `jax.jit`,
    `torch.func` and the like with its names.
    """

    axes: dict[str, Axes]
    report: Report | None

    def __init__(
        self,
        arrays: Mapping[str, Any] | None = None,
        axes: Mapping[str, Axes] | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(arrays or {})
        self.axes = dict(axes or {})
        self.report = report


class Selector(Protocol):
    """What was asked for. The core makes one from `layers=`; an adapter only asks it."""

    def layer(self, name: str) -> bool:
        """Whether to listen to this layer: `path` for what it returns, `path@input` for what it gets."""

    def indices(self) -> Iterable[int]:
        """Which indices to try on the name of a layer that a loop may split into `path.0`, `path.1`, …."""

    def wants(self, key: str) -> bool:
        """Whether this one value was asked for (`path:2[0]`), once the layer has fired."""

    def transform(self, key: str, array: Any) -> Any:
        """Pool, cast or slice the framework's own array; the same object where nothing was asked."""

    def axes(self, key: str, axes: Axes | None) -> Axes | None:
        """Give the names of the axes after the transform."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """What an adapter says of a layer when it fires: its path, its type, and how it names the axes.

    `axes(leaf suffix, array)` gives the names of an output's axes, or None where they are not known.
    """

    path: str
    type: str
    axes: Callable[[str, Any], Axes | None]


class Tape:
    """Takes down what fires in one forward, under the keys that all frameworks share.

    An adapter makes one per forward, says which layers it listens to (`expect`), and hands over every
    value (`output`, `input`). `keep(key, array)` is the adapter's way to take a value for good: after
    it, nothing that the model does later may change the value.
    """

    def __init__(
        self, select: Selector, *, is_array: Callable[[Any], bool], keep: Callable[[str, Any], Any]
    ) -> None:
        self._select = select
        self._is_array = is_array
        self._keep = keep
        self._expected: dict[str, str] = {}
        self._calls: dict[str, int] = {}
        self._skipped: dict[str, str] = {}
        self._met: dict[str, None] = {}
        self._layers: dict[str, Layer] = {}
        self._axes: dict[str, Axes | None] = {}
        self.arrays: dict[str, Any] = {}

    def expect(self, name: str, why_not: str = "") -> None:
        """Say that `path` or `path@input` is listened to; `why_not` is why it will not fire, if known."""
        self._expected[name] = why_not

    def meet(self, path: str) -> None:
        """Say that there is a layer, where a framework knows its layers only in the call."""
        self._met[path] = None

    def input(self, layer: Layer, value: Any) -> None:
        """Take what goes into a call of a layer."""
        call = self._called(layer.path + INPUT)
        self._take(dataclasses.replace(layer, axes=_unnamed), numbered(layer.path, call) + INPUT, value)

    def output(self, layer: Layer, value: Any) -> None:
        """Take what a call of a layer returned."""
        self._take(layer, numbered(layer.path, self._called(layer.path)), value)

    def _called(self, name: str) -> int:
        self._calls[name] = self._calls.get(name, 0) + 1
        return self._calls[name]

    def _take(self, layer: Layer, stem: str, value: Any) -> None:
        for suffix, leaf in leaves(value, self._is_array):
            key = stem + suffix
            if not self._select.wants(key):
                self._skipped.setdefault(key, "")
            elif not self._is_array(leaf):
                self._skipped[key] = type(leaf).__name__
            elif key in self.arrays:
                raise CaptureError.same_key(key)
            else:
                named = layer.axes(suffix, leaf)
                self._axes[key] = named if named is not None and len(named) == len(leaf.shape) else None
                self._layers[key] = layer
                self.arrays[key] = self._keep(key, leaf)

    def activations(self, *notes: str, finish: Callable[[str, Any], Any] | None = None) -> Activations:
        """Close the tape: the arrays in the order in which they came, named, with the report.

        `finish(key, array)` is applied to each array first, for transforms that could not run earlier.
        """
        arrays = {key: finish(key, array) if finish else array for key, array in self.arrays.items()}
        axes = {key: self._select.axes(key, self._axes[key]) for key in arrays}
        named = {key: names for key, names in axes.items() if names and len(names) == len(arrays[key].shape)}
        infos = {
            key: LayerInfo(self._layers[key].type, *describe(array), named.get(key))
            for key, array in arrays.items()
        }
        never = {name: why for name, why in self._expected.items() if name not in self._calls}
        report = Report(infos, dict(self._calls), never, self._skipped, notes, tuple(self._met))
        return Activations(arrays, named, report)


def _unnamed(_suffix: str, _array: Any) -> None:
    """Name the axes of an input: the layer before it knows them, this one does not."""


def describe(array: Any) -> tuple[tuple[int, ...], str]:
    """Give the shape of any framework's array and its dtype by numpy's name.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3), np.float32))
    ((2, 3), 'float32')
    """
    dtype = getattr(array.dtype, "name", None) or str(array.dtype).rpartition(".")[2]
    return tuple(int(size) for size in array.shape), dtype
