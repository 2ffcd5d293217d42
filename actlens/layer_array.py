"""LayerArray: one layer of a recording, read when indexed, never whole unless asked."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ArgumentError, NotFound, ReadFailed
from actlens.format.digests import hex128
from actlens.format.dtypes import DTYPES
from actlens.format.schema import ID, LayerSpec
from actlens.row_source import Columns, Source
from actlens.shard_set import Rows, ShardSet
from actlens.table import printable
from actlens.tokens import mean_dtype

if TYPE_CHECKING:
    from actlens.activations import Axes

_CHUNK_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    """How chunks are changed on the way: flattened, or averaged over some axes."""

    axes: Axes
    shape: tuple[int, ...]
    over: tuple[int, ...] | None = None

    def __call__(self, chunk: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.over is None:
            return chunk.reshape(len(chunk), *self.shape)
        mean: npt.NDArray[Any] = chunk.mean(axis=self.over, dtype=mean_dtype(chunk.dtype))
        return mean


class LayerArray:
    """One layer: `(samples, …)`, lazy. Index it for numpy; `np.asarray(layer)` reads all.

    Attributes:
        name: the layer's key.
        shape, dtype, ndim: as of a numpy array.
        axes: the names of the axes, 'sample' first.
    """

    def __init__(
        self, source: Source, spec: LayerSpec, rows: Rows | None, views: tuple[_View, ...] = ()
    ) -> None:
        self._source = source
        self._spec = spec
        self._rows = rows
        self._views = views

    @property
    def name(self) -> str:
        """The layer's key."""
        return self._spec.key

    @property
    def type(self) -> str:
        """The class of the layer in its framework, '' where it is not known."""
        return self._spec.type

    @property
    def axes(self) -> Axes:
        """Names of the axes, in stored order."""
        return self._views[-1].axes if self._views else self._spec.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, …)."""
        return (len(self), *(self._views[-1].shape if self._views else self._spec.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of what is read; an average over axes is float32 or wider."""
        stored = DTYPES[self._spec.dtype]
        if all(view.over is None for view in self._views):
            return stored
        return mean_dtype(stored)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, once read."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ids(self) -> npt.NDArray[Any]:
        """(samples,) ids."""
        return self.columns[ID]

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """Column → (samples,) values."""
        return Columns(self._source, self._rows)

    def __len__(self) -> int:
        return self._source.rows if self._rows is None else len(self._rows)

    def __getitem__(self, item: Any) -> npt.NDArray[Any]:
        """Read rows, and index within them: like numpy, but only those rows are read."""
        first, rest = (item[0], item[1:]) if isinstance(item, tuple) and item else (item, ())
        if first is Ellipsis or first is None or (isinstance(item, tuple) and not item):
            return self._whole(item)
        if isinstance(first, slice):
            return self._read(range(len(self))[first])[(slice(None), *rest)]
        mask = np.asarray(first)
        if mask.dtype == bool and mask.ndim != 1:
            return self._whole(item)
        rows = self._positions(first)
        chunk = self._read(rows.reshape(-1))
        if not rest:
            return chunk.reshape((*rows.shape, *chunk.shape[1:]))
        # The same kind of index again, so that numpy joins it with the others in its own way.
        again = np.arange(rows.size).reshape(rows.shape) if rows.ndim else 0
        picked: npt.NDArray[Any] = chunk[(again, *rest)]
        return picked

    def _positions(self, first: Any) -> Rows:
        """Give the numbers of rows that an index picks, by numpy's own rules and with its errors."""
        if isinstance(first, (int, np.integer)) and not isinstance(first, (bool, np.bool_)):
            np.broadcast_to(np.int8(0), len(self))[first]  # raises as an array of so many would
            return np.array(int(first) % len(self))
        try:
            numbers: Rows = np.arange(len(self))[first]
        except MemoryError as error:
            raise ReadFailed.too_large(self._source.where, 8 * len(self)) from error
        return numbers

    def _whole(self, item: Any) -> npt.NDArray[Any]:
        picked: npt.NDArray[Any] = np.asarray(self)[item]
        return picked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError(f"layer {self.name!r} is read from disk: np.asarray(layer) makes a copy")
        array = self._changed(self._source.read(self._spec, self._rows))
        return array if dtype is None else array.astype(dtype)

    @property
    def where(self) -> object:
        """The path or address of the recording."""
        return self._source.where

    def chunks(
        self, rows: int | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[npt.NDArray[Any]]:
        """Read the layer from end to end, `rows` rows at a time (about 16 MiB where left out).

        Every byte of a run of neighbouring rows is checked before it is given. `start` and `stop` are the
        numbers of the first row and of the one behind the last.
        """
        if rows is not None and rows < 1:
            raise ArgumentError.at_least("rows", rows, 1)
        size = rows or max(
            1, _CHUNK_BYTES // max(1, math.prod(self._spec.shape) * DTYPES[self._spec.dtype].itemsize)
        )
        end = len(self) if stop is None else min(stop, len(self))
        for first in range(start, end, size):
            last = min(first + size, end)
            some = range(first, last) if self._rows is None else self._rows[first:last]
            yield self._changed(self._source.read(self._spec, some, scan=True))

    def shortened(self, start: int, stop: int) -> tuple[LayerArray, int]:
        """Give a layer of at least the rows [start, stop), and the number here of its first row.

        It is for another process: of selected rows, the numbers travel, and these are no more than needed.
        """
        if self._rows is None:
            return self, 0
        return LayerArray(self._source, self._spec, self._rows[start:stop], self._views), start

    def flatten(self) -> LayerArray:
        """Give the layer as `(samples, features)`, in stored order; nothing is read."""
        _, *shape = self.shape
        name = "*".join(self.axes[1:]) or "unit"
        return self._with(_View(("sample", name), (math.prod(shape),)))

    def mean(self, *axes: str) -> LayerArray:
        """Average over axes by name, e.g. `layer.mean("height", "width")`; nothing is read.

        Raises:
            NotFound: the layer has no axis of that name.
        """
        for name in axes:
            if name not in self.axes[1:]:
                raise NotFound.axis(self.name, name, self.axes[1:])
        keep = [i for i, name in enumerate(self.axes) if name not in axes]
        over = tuple(i for i, name in enumerate(self.axes) if name in axes)
        shape = self.shape
        return self._with(_View(tuple(self.axes[i] for i in keep), tuple(shape[i] for i in keep[1:]), over))

    @property
    def recorded(self) -> ShardSet:
        """The shards that the layer is read from."""
        return self._source.shards

    def fingerprint(self) -> str:
        """Give 32 hex digits that tell the values, their ids and columns from any others; no data is read.

        Two opens of one recording agree, wherever it lies. One more shard, another selection of rows, another
        view (`flatten`, `mean`, `tokens`) give another one.
        """
        views = [[list(view.axes), list(view.shape), view.over and list(view.over)] for view in self._views]
        spec = [self._spec.key, self._spec.dtype, list(self._spec.shape), list(self._spec.axes)]
        said = json.dumps([self.recorded.fingerprint(), self._source.rows_are, spec, views])
        rows = self._rows
        if rows is None or np.array_equal(rows, np.arange(self._source.rows)):
            return hex128(said.encode(), b"all")
        return hex128(said.encode(), np.ascontiguousarray(rows, "<i8").view(np.uint8).data)

    def take(self, rows: npt.ArrayLike) -> LayerArray:
        """Give rows by position (rows,), in the order given; nothing is read.

        Raises:
            ArgumentError: not a list of positions, or a mask, along the samples.
        """
        picked = np.arange(len(self))[np.asarray(rows)]
        if picked.ndim != 1:
            raise ArgumentError.rows(rows)
        positions = picked if self._rows is None else self._rows[picked]
        return LayerArray(self._source, self._spec, positions, self._views)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        axes = ", ".join(map(printable, self.axes))
        return f"<LayerArray {printable(self.name)}: {shape} {self.dtype.name} ({axes})>"

    def _with(self, view: _View) -> LayerArray:
        return LayerArray(self._source, self._spec, self._rows, (*self._views, view))

    def _read(self, rows: Rows | range) -> npt.NDArray[Any]:
        if self._rows is not None:
            rows = self._rows[np.asarray(rows)]
        return self._changed(self._source.read(self._spec, rows))

    def _changed(self, chunk: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for view in self._views:
            chunk = view(chunk)
        return chunk
