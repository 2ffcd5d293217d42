"""Some rows of a lazy layer, as a lazy layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.reduce.source import Layer

Array = npt.NDArray[Any]

_CHUNK_BYTES = 16 << 20


class Picked:
    """The rows of `layer` at `positions` (rows,), in that order; nothing is read before it is asked for."""

    def __init__(self, layer: Layer, positions: Array) -> None:
        self._layer = layer
        self._positions = positions

    @property
    def name(self) -> str:
        """The layer's key."""
        return self._layer.name

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, …)."""
        return (len(self._positions), *self._layer.shape[1:])

    @property
    def dtype(self) -> Any:
        """The stored dtype."""
        return self._layer.dtype

    @property
    def axes(self) -> tuple[str, ...]:
        """As of the layer."""
        return self._layer.axes

    @property
    def ids(self) -> Array:
        """(rows,)."""
        return np.asarray(self._layer.ids)[self._positions]

    @property
    def columns(self) -> Mapping[str, Array]:
        """Column → (rows,)."""
        return {name: np.asarray(values)[self._positions] for name, values in self._layer.columns.items()}

    def chunks(self, rows: int | None = None, *, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Give consecutive blocks of rows, in order."""
        # A layer of a recording checks every byte of what it reads in chunks, and not of single rows.
        take = getattr(self._layer, "take", None)
        if take is not None:
            yield from take(self._positions).chunks(rows, start=start, stop=stop)
            return
        width = int(np.prod(self.shape[1:], dtype=np.int64)) * np.dtype(self.dtype).itemsize
        size = rows or max(1, _CHUNK_BYTES // max(1, width))
        end = len(self) if stop is None else stop
        for first in range(start, end, size):
            yield self._layer[self._positions[first : min(first + size, end)]]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: Any) -> Any:
        return self._layer[self._positions[rows]]
