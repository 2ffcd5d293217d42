"""RaggedArray: a layer whose samples differ in their number of positions, as texts do in tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import ArgumentError, NotFound
from actlens.format.dtypes import DTYPES, code_of
from actlens.format.schema import ID, LayerSpec
from actlens.layer_array import LayerArray
from actlens.row_source import Columns, RowSource
from actlens.shard_set import Rows, ShardSet
from actlens.table import printable
from actlens.tokens import PooledSource, TokenSource, mean_dtype, positions_of


class RaggedArray:
    """One layer, lazy: of each sample, the positions that counted when it was written.

    There is no one array of it; choose what is meant: `row(i)` is one sample `(positions, features)`,
    `tokens` all positions of all samples `(tokens, features)`, `mean()` each sample's average `(samples,
    features)`, `padded()` an array `(samples, longest, features)`.

    Attributes:
        name: the layer's key.
        dtype: as stored.
        axes: the names of the axes, 'sample' first, then that of the positions.

    >>> import actlens, tempfile, numpy as np
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"h": np.arange(12.0).reshape(2, 3, 2)}, lengths=[3, 1])
    2
    >>> h = actlens.open(rec.path)["h"]
    >>> h.lengths, h.row(1), h.tokens.shape
    (array([3, 1]), array([[6., 7.]]), (4, 2))
    >>> h.tokens.columns["sample"], h.tokens.columns["position"]
    (array([0, 0, 0, 1]), array([0, 1, 2, 0]))
    """

    def __init__(self, shards: ShardSet, spec: LayerSpec, rows: Rows | None) -> None:
        self._shards = shards
        self._spec = spec
        self._rows = rows

    @property
    def name(self) -> str:
        """The layer's key."""
        return self._spec.key

    @property
    def type(self) -> str:
        """The class of the layer in its framework, '' where it is not known."""
        return self._spec.type

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, in stored order."""
        return self._spec.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored dtype."""
        return DTYPES[self._spec.dtype]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(samples, None, …): the second size differs from sample to sample."""
        return (len(self), None, *self._spec.shape)

    @cached_property
    def lengths(self) -> Rows:
        """(samples,): how many positions each sample has."""
        lengths = self._shards.lengths(self._spec.ragged)
        return lengths if self._rows is None else lengths[self._rows]

    @property
    def ids(self) -> npt.NDArray[Any]:
        """(samples,) ids."""
        return self.columns[ID]

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """Column → (samples,) values."""
        return Columns(RowSource(self._shards), self._rows)

    @property
    def tokens(self) -> LayerArray:
        """All positions, sample after sample: `(tokens, features)`, lazy.

        Its columns are `sample` (the sample's id), `position` (where it was in its sample when it was
        written, padding counted) and those of the samples; its ids are the texts "sample:position".
        """
        source = TokenSource(self._shards, self._spec.ragged)
        spec = msgspec.structs.replace(self._spec, axes=("sample", *self.axes[2:]), ragged="")
        rows = None if self._rows is None else positions_of(self._ends, self._rows)
        return LayerArray(source, spec, rows)

    def row(self, number: int) -> npt.NDArray[Any]:
        """Read one sample: (positions, features).

        Raises:
            NotFound: there is no such row.
        """
        count = len(self)
        whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
        if not whole or not -count <= number < count:
            raise NotFound.row(self.name, number, count)
        row = int(number) % count if self._rows is None else int(self._rows[number])
        source = TokenSource(self._shards, self._spec.ragged)
        return source.read(self._spec, range(int(self._ends[row]), int(self._ends[row + 1])))

    def mean(self, *axes: str) -> LayerArray:
        """Average over the positions of each sample: `(samples, features)`, lazy; NaN where there are none.

        Raises:
            NotFound: another axis is named; those are averaged after it, `layer.mean().mean("head")`.
        """
        if set(axes) - {self.axes[1]}:
            raise NotFound.axis(self.name, next(a for a in axes if a != self.axes[1]), [self.axes[1]])
        code = code_of(mean_dtype(self.dtype))
        assert code is not None  # noqa: S101 - averages are floats or complex numbers
        source = PooledSource(self._shards, self._spec)
        spec = msgspec.structs.replace(self._spec, axes=("sample", *self.axes[2:]), ragged="", dtype=code)
        return LayerArray(source, spec, self._rows)

    def padded(self, *, fill: Any = None) -> npt.NDArray[Any]:
        """Read all into one array (samples, longest, features), each sample from its first valid position on.

        Args:
            fill: what stands where a sample has ended: NaN where left out; to be given for integers and
                bools.

        Raises:
            ArgumentError: integers or bools, and no `fill`; one that the dtype cannot hold.
        """
        if fill is None:
            if self.dtype.kind in "iub":
                raise ArgumentError.fill(self.name, self.dtype.name)
            fill = np.nan
        try:
            value = np.full((), fill, self.dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise ArgumentError.bad_fill(self.name, fill, self.dtype.name) from error
        lengths = self.lengths
        out = np.full((len(self), int(lengths.max(initial=0)), *self._spec.shape), value, self.dtype)
        at = 0
        for chunk in self.tokens.chunks():
            rows, places = self._cells(at, at + len(chunk))
            out[rows, places] = chunk
            at += len(chunk)
        return out

    def mask(self) -> npt.NDArray[np.bool_]:
        """Say where `padded()` holds values: (samples, longest)."""
        longest = int(self.lengths.max(initial=0))
        valid: npt.NDArray[np.bool_] = np.arange(longest) < self.lengths[:, None]
        return valid

    def _cells(self, first: int, last: int) -> tuple[Rows, Rows]:
        """Give the row, and the place in it, of positions [first, last)."""
        ends = np.cumsum(self.lengths)
        numbers = np.arange(first, last)
        rows = np.searchsorted(ends, numbers, "right")
        return rows, numbers - (ends - self.lengths)[rows]

    @cached_property
    def _ends(self) -> Rows:
        return np.concatenate([[0], np.cumsum(self._shards.lengths(self._spec.ragged))])

    def __len__(self) -> int:
        return sum(self._shards.counts()) if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Read sample after sample."""
        return (self.row(number) for number in range(len(self)))

    def __getitem__(self, item: Any) -> NoReturn:
        raise ArgumentError.ragged(self.name, self.axes[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise ArgumentError.ragged(self.name, self.axes[1])

    def __repr__(self) -> str:
        features = "".join(f"×{size}" for size in self._spec.shape)
        low, high = (int(self.lengths.min()), int(self.lengths.max())) if len(self) else (0, 0)
        return (
            f"<RaggedArray {printable(self.name)}: {len(self)}×({low} to {high}){features} {self.dtype.name} "
            f"({', '.join(map(printable, self.axes))})>"
        )
