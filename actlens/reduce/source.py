"""What reducers read: a numpy array or a lazy layer, checked once and then given chunk by chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError

Array: TypeAlias = npt.NDArray[Any]

_CHUNK_BYTES = 32 << 20  # of one chunk in float64: large enough for a fast GEMM, small beside a model
_SMALL = 1 << 22  # values; below this a whole copy in float64 is small, so precision is free
_NARROW_INTEGERS = 2  # bytes: what float32 holds exactly


@runtime_checkable
class Layer(Protocol):
    """A layer of a recording, as `actlens.open(path)["fc1"]` gives it: lazy, rows first."""

    @property
    def name(self) -> str:
        """The layer's key."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, …)."""

    @property
    def dtype(self) -> Any:
        """The stored dtype."""

    @property
    def axes(self) -> tuple[str, ...]:
        """One name an axis, in stored order: ("sample", "channel", "height", "width")."""

    @property
    def ids(self) -> Array:
        """(samples,)."""

    @property
    def columns(self) -> Mapping[str, Array]:
        """Column → (samples,)."""

    def chunks(self, rows: int | None = None) -> Iterator[Array]:
        """Consecutive blocks of rows, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


LayerLike: TypeAlias = "Layer | npt.ArrayLike"


def is_layer(given: object) -> TypeGuard[Layer]:
    """Tell a lazy layer from an array: only the first has names, ids and chunks."""
    # Not isinstance(given, Layer): that would evaluate every property, and `columns` may read a disk.
    return all(hasattr(type(given), name) for name in ("chunks", "axes", "ids", "columns"))


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Checked activations (samples, features): numbers with their ids and columns, not yet read.

    `chunks()` gives consecutive blocks in float64, `load()` all rows in `dtype` (float32 or float64); both
    refuse NaN and inf.
    """

    feature: str  # who reads, for messages: "reduce.pca"
    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ids: Array
    columns: dict[str, Array]
    _read: Callable[[int], Iterator[Array]]

    def chunks(self) -> Iterator[Array]:
        """Give (rows, features) blocks of at most 32 MiB, finite, in float64: one copy of one block lives."""
        return self._blocks(np.dtype(np.float64))

    def _blocks(self, dtype: np.dtype[Any]) -> Iterator[Array]:
        start = 0
        for block in self._read(max(1, _CHUNK_BYTES // (8 * self.shape[1]))):
            # Half precision is widened before any arithmetic: its sums overflow at 65504.
            chunk = np.asarray(block).astype(dtype, copy=False)
            self._check_finite(chunk, start)
            start += len(chunk)
            yield chunk
        if start != self.shape[0]:
            raise ReduceError.wrong_rows(self.name, self.shape[0], start)

    def load(self) -> Array:
        """Read all rows into one (samples, features) array."""
        whole = np.empty(self.shape, self.dtype)
        start = 0
        for chunk in self._blocks(self.dtype):
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
        return whole

    def _check_finite(self, chunk: Array, start: int) -> None:
        good = np.isfinite(chunk).all(axis=1)
        if not good.all():
            bad = np.flatnonzero(~good)
            raise ReduceError.not_finite(self.feature, self.name, len(bad), self.ids[start + bad])


def rows_of(layer: LayerLike, feature: str) -> Rows:
    """Check `layer` and wrap it; `feature` is the caller's public name, for the messages.

    Raises ReduceError for more or fewer than two axes, for nothing to read, for what is no real number.
    """
    if is_layer(layer):
        name, axes, shape, dtype = layer.name, tuple(layer.axes), tuple(layer.shape), np.dtype(layer.dtype)
        ids, columns = np.asarray(layer.ids), {key: np.asarray(value) for key, value in layer.columns.items()}
        read: Callable[[int], Iterator[Array]] = layer.chunks
    else:
        if isinstance(layer, np.ma.MaskedArray):
            raise ReduceError.masked(feature)
        if any(kind.__module__.partition(".")[0] == "torch" for kind in type(layer).__mro__):
            raise ReduceError.tensor(feature, layer)
        try:
            array = np.asarray(layer)
        except (TypeError, ValueError, RuntimeError) as error:  # a list of unequal rows, an array on a device
            raise ReduceError.not_an_array(feature, layer, error) from error
        name, axes, shape, dtype = "", (), array.shape, array.dtype
        ids, columns = np.arange(shape[0] if shape else 0), {}

        def read(rows: int) -> Iterator[Array]:
            return (array[start : start + rows] for start in range(0, len(array), rows))

    working = _working_dtype(dtype, shape)
    if working is None:
        raise ReduceError.not_numeric(feature, name, dtype)
    if len(shape) > 2:
        raise ReduceError.too_many_axes(feature, name, shape, axes)
    if len(shape) < 2:
        raise ReduceError.too_few_axes(feature, name, shape)
    if 0 in shape:
        raise ReduceError.empty(feature, name, shape)
    return Rows(feature, name, (shape[0], shape[1]), working, ids, columns, read)


def _working_dtype(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.dtype[Any] | None:
    """Give the dtype for all rows at once: float64 where the input needs it or is small, else float32.

    None for what is no real number.
    """
    extension = dtype.kind == "V" and dtype.fields is None  # bfloat16 and float8, from ml_dtypes
    if extension and not _is_float_extension(dtype):
        return None
    if not extension and dtype.kind not in "biuf":
        return None
    narrow = extension or dtype.itemsize <= _NARROW_INTEGERS or (dtype.kind == "f" and dtype.itemsize <= 4)
    if narrow and np.prod(shape, dtype=np.int64) > _SMALL:
        return np.dtype(np.float32)
    return np.dtype(np.float64)


def _is_float_extension(dtype: np.dtype[Any]) -> bool:
    return dtype.type.__module__.partition(".")[0] == "ml_dtypes"
