"""A stand-in for LayerArray: what reducers and pictures may use of it, and nothing else."""

from __future__ import annotations

import numpy as np


class FakeLayer:
    """Rows are made when they are read, so that a layer may be larger than memory."""

    def __init__(self, make, shape, *, name="fc1", axes=None, columns=None, ids=None, dtype="f4"):
        self._make = make  # (first, last) → the rows
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._name, self._axes = name, axes or ("sample", "unit")[: len(shape)]
        self._columns, self._ids = columns or {}, np.arange(shape[0]) + 1000 if ids is None else ids
        self.largest_read = 0

    @classmethod
    def of(cls, array, **about):
        return cls(lambda a, b: array[a:b], array.shape, dtype=array.dtype, **about)

    name = property(lambda self: self._name)
    shape = property(lambda self: self._shape)
    dtype = property(lambda self: self._dtype)
    axes = property(lambda self: self._axes)
    ids = property(lambda self: self._ids)
    columns = property(lambda self: self._columns)

    def chunks(self, rows=None, *, start=0, stop=None):
        size, end = rows or 7, len(self) if stop is None else stop
        for first in range(start, end, size):
            self.largest_read = max(self.largest_read, min(size, len(self)))
            yield self._make(first, min(first + size, end))

    def __len__(self):
        return self._shape[0]

    def __getitem__(self, rows):
        picked = np.arange(len(self))[rows]
        self.largest_read = max(self.largest_read, picked.size)
        return self._make(0, len(self))[picked]
