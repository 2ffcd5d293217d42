"""What reducers read: a numpy array or a lazy layer, checked once and then given chunk by chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.streaming.part import Part, parts_of
from actlens.streaming.reader import ArrayReader, KeptRows, LayerReader, Reader

Array: TypeAlias = npt.NDArray[Any]

_CHUNK_BYTES = 16 << 20  # of one chunk in float64: large enough for a fast GEMM, small beside a model
_TALL = 2048  # rows; below, adding up the square matrices costs more than making them
_WIDE = 1 << 14  # features; above, no square matrix of them is made
_NAN = ("raise", "drop")
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

    def chunks(self, rows: int | None = None, *, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Consecutive blocks of rows [start, stop), in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


LayerLike: TypeAlias = "Layer | npt.ArrayLike"
Framed: TypeAlias = "LayerLike | Mapping[str, Any]"  # with by=: also a recording, or a dict of layers


def is_layer(given: object) -> TypeGuard[Layer]:
    """Tell a lazy layer from an array: only the first has names, ids and chunks."""
    # Not isinstance(given, Layer): that would evaluate every property, and `columns` may read a disk.
    return all(hasattr(type(given), name) for name in ("chunks", "axes", "ids", "columns"))


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Checked activations (samples, features): numbers with their ids and columns, not yet read.

    `chunks()` gives consecutive blocks in float64, `load()` all rows in `dtype` (float32 or float64); both
    refuse NaN and inf. `dropped` rows with NaN or inf were left out, where that was asked for.
    """

    feature: str  # who reads, for messages: "reduce.pca"
    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ids: Array
    columns: dict[str, Array]
    reader: Reader
    dropped: int | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """What an embedding records of nan="drop": how many rows; nothing where it was not asked for."""
        return {} if self.dropped is None else {"dropped": self.dropped}

    @property
    def block(self) -> int:
        """The rows of one block: 8 MiB of float32, and enough for a fast product."""
        return max(1, _CHUNK_BYTES // (8 * self.shape[1]), _TALL if self.shape[1] <= _WIDE else 1)

    def parts(self, pieces: int = 1, *, ahead: bool = True) -> list[Part]:
        """Cut the rows into parts of whole blocks."""
        return parts_of(self.reader, self.shape[0], rows=self.block, pieces=pieces, ahead=ahead)

    def chunks(self) -> Iterator[Array]:
        """Give (rows, features) blocks of at most 16 MiB, finite, in float64: one copy of one block lives."""
        return self._blocks(np.dtype(np.float64))

    def _blocks(self, dtype: np.dtype[Any]) -> Iterator[Array]:
        start = 0
        for block in self.reader.blocks(0, self.shape[0], max(1, _CHUNK_BYTES // (8 * self.shape[1]))):
            # Half precision is widened before any arithmetic: its sums overflow at 65504.
            chunk = np.asarray(block).astype(dtype, copy=False)
            if not np.isfinite(chunk).all():
                self.check_finite()
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

    def check_finite(self) -> None:
        """Raise the error that lists the rows with NaN or inf, if there are any; all rows are read for it."""
        bad = self._bad()
        if len(bad):
            raise ReduceError.not_finite(self.feature, self.name, len(bad), self.ids[bad])

    def _bad(self) -> npt.NDArray[np.int64]:
        part = parts_of(self.reader, self.shape[0], rows=self.block)[0]
        found = [start + np.flatnonzero(~np.isfinite(block).all(axis=1)) for start, block in part.blocks()]
        return np.concatenate(found)

    def finite(self) -> Rows:
        """Give the rows without NaN and inf; they are read once to find them.

        Raises ReduceError where none is left.
        """
        bad = self._bad()
        if not len(bad):
            return dataclasses.replace(self, dropped=0)
        kept = np.delete(np.arange(self.shape[0]), bad)
        if not len(kept):
            raise ReduceError.none_finite(self.feature, self.name, len(bad))
        return dataclasses.replace(self.at(kept), dropped=len(bad))

    def at(self, positions: npt.NDArray[np.int64]) -> Rows:
        """Give some of the rows, at rising positions."""
        return dataclasses.replace(
            self,
            shape=(len(positions), self.shape[1]),
            ids=self.ids[positions],
            columns={name: column[positions] for name, column in self.columns.items()},
            reader=KeptRows(self.reader, positions),
        )


def rows_of(layer: Framed, feature: str, *, nan: str = "raise") -> Rows:
    """Check `layer` and wrap it; `feature` is the caller's public name, for the messages.

    Rows with NaN or inf are refused when they are read, or left out with nan="drop". Raises ReduceError for
    more or fewer than two axes, for nothing to read, for what is no real number.
    """
    if nan not in _NAN:
        raise ReduceError.parameter(feature, "nan", nan, "'raise' or 'drop'")
    if is_layer(layer):
        name, axes, shape, dtype = layer.name, tuple(layer.axes), tuple(layer.shape), np.dtype(layer.dtype)
        ids, columns = np.asarray(layer.ids), {key: np.asarray(value) for key, value in layer.columns.items()}
        reader: Reader = LayerReader(layer)
    else:
        _refuse(layer, feature)
        try:
            array = np.asarray(layer)
        except (TypeError, ValueError, RuntimeError) as error:  # a list of unequal rows, an array on a device
            raise ReduceError.not_an_array(feature, layer, error) from error
        name, axes, shape, dtype = "", (), array.shape, array.dtype
        ids, columns = np.arange(shape[0] if shape else 0), {}
        reader = ArrayReader(array)

    working = _working_dtype(dtype, shape)
    if working is None:
        raise ReduceError.not_numeric(feature, name, dtype)
    if len(shape) > 2:
        raise ReduceError.too_many_axes(feature, name, shape, axes)
    if len(shape) < 2:
        raise ReduceError.too_few_axes(feature, name, shape)
    if 0 in shape:
        raise ReduceError.empty(feature, name, shape)
    rows = Rows(feature, name, (shape[0], shape[1]), working, ids, columns, reader)
    return rows.finite() if nan == "drop" else rows


def _refuse(given: object, feature: str) -> None:
    """Raise ReduceError for what numpy would read as something else than meant."""
    if isinstance(given, Mapping):
        raise ReduceError.many_layers(feature, given)
    if isinstance(given, np.ma.MaskedArray):
        raise ReduceError.masked(feature)
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(given).__mro__):
        raise ReduceError.tensor(feature, given)


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
