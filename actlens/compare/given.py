"""The layers that were given to a comparison: a recording's or a dict's, checked, nothing read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ArgumentError, CompareError
from actlens.format.dtypes import code_of
from actlens.format.schema import POSITION, SAMPLE
from actlens.layer_array import LayerArray
from actlens.ragged_array import RaggedArray
from actlens.selection import Layers, Selection

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Given:
    """One layer (samples, …) as it was handed in: a lazy one with ids, or an array without.

    `values` is a LayerArray, a RaggedArray or an array; `side` says whose it is, for messages.
    """

    name: str
    side: str
    values: Any

    @property
    def has_ids(self) -> bool:
        """Whether the rows can be told apart by more than their order."""
        return not isinstance(self.values, np.ndarray)

    @property
    def ragged(self) -> bool:
        """Whether the samples differ in their number of positions."""
        return isinstance(self.values, RaggedArray)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, 'sample' first."""
        if self.has_ids:
            return tuple(self.values.axes)
        count = self.values.ndim - 1
        return ("sample", "unit") if count == 1 else ("sample", *(f"axis{i + 1}" for i in range(count)))

    @property
    def shape(self) -> tuple[Any, ...]:
        """(samples, …); None for positions that differ from sample to sample."""
        return tuple(self.values.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        stored: np.dtype[Any] = np.dtype(self.values.dtype)
        return stored

    @property
    def is_tokens(self) -> bool:
        """Whether its rows are positions of samples already: `layer.tokens`."""
        if not self.has_ids or self.ragged:
            return False
        return {SAMPLE, POSITION} <= set(self.values.columns)


def layers_of(given: Any, side: str, feature: str, layers: Layers | None = None) -> list[Given]:
    """Give the layers of a recording, or of a dict, that patterns name; all of them for None.

    Raises:
        CompareError: none is left, or one that cannot be compared.
    """
    if not isinstance(given, Mapping):
        raise CompareError.not_layers(feature, given)
    names = [str(name) for name in given]
    if not names:
        raise CompareError.no_layers(feature, side)
    for name in names:
        if names.count(name) > 1:
            raise CompareError.same_name(feature, name)
    chosen = names if layers is None else _chosen(layers, names, side, feature)
    wanted = set(chosen)
    return [_checked(str(name), given[name], side, feature) for name in given if str(name) in wanted]


def _chosen(layers: Layers, names: list[str], side: str, feature: str) -> list[str]:
    """Choose as record() does; a name that is written out is itself, whatever signs are in it."""
    patterns = [layers] if isinstance(layers, str) else layers
    if not callable(patterns) and isinstance(patterns, Iterable):
        patterns = list(patterns)
        if patterns and all(pattern in names for pattern in patterns):
            return list(patterns)
    selection = Selection.of(patterns)
    chosen = [name for name in names if selection.wants(name)]
    if not chosen:
        raise CompareError.no_match(feature, side, layers, names)
    return chosen


def _checked(name: str, values: Any, side: str, feature: str) -> Given:
    if isinstance(values, np.ma.MaskedArray):
        raise CompareError.masked(feature, name)
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(values).__mro__):
        raise CompareError.tensor(feature, name, values)
    if not isinstance(values, (LayerArray, RaggedArray)):
        try:
            values = np.asarray(values)
        except (TypeError, ValueError, RuntimeError, ArgumentError) as error:
            raise CompareError.not_an_array(feature, name, error) from error
    found = Given(name, side, values)
    if not (found.dtype.kind in "biuf" or (found.dtype.kind == "V" and code_of(found.dtype) is not None)):
        raise CompareError.not_numeric(feature, name, found.dtype)
    if len(found.shape) < 2 or 0 in found.shape[1:]:
        raise CompareError.no_features(feature, name, found.shape)
    return found
