"""What statistics are made of: the layers that were asked for, checked, with the columns that they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.errors import StatisticsError
from actlens.format.dtypes import code_of
from actlens.ragged_array import RaggedArray
from actlens.selection import Layers, Selection
from actlens.streaming.reader import ArrayReader, LayerReader, Reader

Array = npt.NDArray[Any]

MOST_VALUES = 10_000  # of labels= or by=


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Source:
    """One layer, not yet read: rows are samples, or tokens where samples differ in length (`ragged`)."""

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reader: Reader
    layer: Any  # has columns and ids; None for an array
    ragged: Any = None

    @property
    def row(self) -> str:
        """What a row is."""
        return "sample" if self.ragged is None else self.ragged.axes[1]

    def ids(self, rows: Array) -> Array:
        """Give the ids of some rows; of tokens "sample:position", without making those of all."""
        if self.layer is None:
            return rows
        if self.ragged is None:
            return np.asarray(self.layer.ids)[rows]
        columns = self.layer.columns
        samples, positions = columns["sample"][rows].tolist(), columns["position"][rows].tolist()
        return np.array(
            [f"{sample}:{position}" for sample, position in zip(samples, positions, strict=True)], str
        )

    def column(self, argument: str, wanted: Any) -> tuple[Array, Array]:
        """Give the sorted values (values,) of a column or of an array of all samples, and each row's code."""
        if isinstance(wanted, str):
            columns = {} if self.layer is None else self.layer.columns
            if wanted not in columns:
                raise StatisticsError.no_column(argument, wanted, columns)
            values = np.asarray(columns[wanted])
        else:
            try:
                values = np.asarray(wanted)
            except (TypeError, ValueError) as error:
                raise StatisticsError.column_values(argument, error) from error
            samples = self.shape[0] if self.ragged is None else len(self.ragged)
            if values.shape != (samples,):
                raise StatisticsError.column_rows(argument, values.shape, self.name, samples)
            if self.ragged is not None:
                values = np.repeat(values, self.ragged.lengths)
        if values.dtype.kind not in "biufU":
            raise StatisticsError.column_kind(argument, values.dtype)
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise StatisticsError.column_nan(argument, self.name, int(np.isnan(values).sum()))
        names, codes = np.unique(values, return_inverse=True)
        if len(names) > MOST_VALUES:
            raise StatisticsError.many_values(argument, len(names), MOST_VALUES)
        return names, codes.reshape(-1).astype(np.int16)  # they travel to workers


def sources(run: Any, layers: Layers | None) -> list[Source]:
    """Give the layers of a recording, or of a dict, that patterns name; all of them for None.

    Raises:
        StatisticsError: none is left, or one that cannot be read.
    """
    if not isinstance(run, Mapping):
        raise StatisticsError.not_layers(run)
    names = list(run)
    if not names:
        raise StatisticsError.no_layers()
    if layers is not None:
        names = _chosen(layers, names)
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise StatisticsError.same_name(name)
        seen.add(name)
    return [_source(str(name), run[name]) for name in names]


def _chosen(layers: Layers, names: list[Any]) -> list[Any]:
    """Choose as record() does; a name that is written out is itself, whatever signs are in it."""
    patterns = [layers] if isinstance(layers, str) else layers
    if not callable(patterns) and isinstance(patterns, Iterable):
        patterns = list(patterns)
        if patterns and all(pattern in names for pattern in patterns):
            return [name for name in names if name in patterns]
        selection = Selection.of(patterns)
        for pattern in patterns:
            if not pattern.startswith("!") and not any(map(Selection.of(pattern).wants, names)):
                raise StatisticsError.no_match([pattern], names)
    else:
        selection = Selection.of(patterns)
        patterns = ["the function"]
    chosen = [name for name in names if selection.wants(name)]
    if not chosen:
        raise StatisticsError.no_match(patterns, names)
    return chosen


def _source(name: str, given: Any) -> Source:
    ragged = given if isinstance(given, RaggedArray) else None
    layer = given.tokens if isinstance(given, RaggedArray) else given
    if all(hasattr(type(layer), each) for each in ("chunks", "axes", "ids", "columns")):
        shape, axes, reader = tuple(layer.shape), tuple(layer.axes), LayerReader(layer)
        source = Source(name, axes, shape, np.dtype(layer.dtype), reader, layer, ragged)
    else:
        array = _array(name, given)
        known = (
            ("sample", "unit") if array.ndim == 2 else ("sample", *(f"axis{i}" for i in range(1, array.ndim)))
        )
        source = Source(name, known, array.shape, array.dtype, ArrayReader(array), None)
    if not _real(source.dtype):
        raise StatisticsError.not_numeric(name, source.dtype)
    if not source.shape:
        raise StatisticsError.scalar(name)
    if 0 in source.shape:
        raise StatisticsError.no_rows(name, source.shape)
    return source


def _array(name: str, given: Any) -> Array:
    if isinstance(given, np.ma.MaskedArray):
        raise StatisticsError.masked(name)
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(given).__mro__):
        raise StatisticsError.tensor(name, given)
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StatisticsError.not_an_array(name, given, error) from error


def _real(dtype: np.dtype[Any]) -> bool:
    """Say whether values are real numbers or booleans, ml_dtypes' floats included."""
    return dtype.kind in "biuf" or (dtype.kind == "V" and code_of(dtype) is not None)
