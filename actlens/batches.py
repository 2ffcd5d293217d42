"""What an iterable of batches yields: what goes to the model, and what become columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actlens.errors import BatchError, ColumnError

Inputs = str | int | Sequence[str] | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModelBatch:
    """One batch: the call of the model, the columns beside it, the samples, the positions that count."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    columns: dict[str, Any]
    rows: int
    mask: Any = None


class BatchReader:
    """Takes batches apart.

    An array goes to the model. Of a tuple, the first item does (`inputs=2`: the first two), and `columns`
    names the rest. Of a dict, `inputs` names what goes to the model, one key as its argument or a
    list of keys by name, and the rest become columns (those in `columns` only, where it is given). `mask`
    names the item that says which positions count; it is no column.
    """

    def __init__(self, inputs: Inputs, columns: Iterable[str], mask: str | None = None) -> None:
        self._inputs = inputs
        self._mask = mask
        self._columns = [columns] if isinstance(columns, str) else list(columns)
        for name in self._columns:
            if not isinstance(name, str):
                raise ColumnError.bad_name(name)
        twice = [name for name in set(self._columns) if self._columns.count(name) > 1]
        if twice:
            raise ColumnError.twice(twice)

    def read(self, batch: Any) -> ModelBatch:
        """Take one batch apart."""
        if isinstance(batch, Mapping):
            return self._from_mapping(batch)
        items = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        count = 1 if self._inputs is None else self._inputs
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(items):
            raise BatchError.bad_inputs(self._inputs)
        rest = items[count:]
        if self._columns and len(self._columns) != len(rest):
            raise ColumnError.names(self._columns, len(rest))
        columns = dict(zip(self._columns, rest, strict=False))
        if self._mask is not None and self._mask not in columns:
            raise ColumnError.no_mask(self._mask, self._columns)
        mask = columns.pop(self._mask) if self._mask is not None else None
        return ModelBatch(items[:count], {}, columns, _rows(items[0]), mask)

    def _from_mapping(self, batch: Mapping[str, Any]) -> ModelBatch:
        if self._inputs is None:
            raise BatchError.need_inputs(batch)
        if isinstance(self._inputs, int):
            raise BatchError.bad_inputs(self._inputs)
        names = [self._inputs] if isinstance(self._inputs, str) else list(self._inputs)
        wanted = [*names, *self._columns, *([] if self._mask is None else [self._mask])]
        missing = [name for name in wanted if name not in batch]
        if missing:
            raise ColumnError.missing(missing, batch)
        rest = self._columns or [name for name in batch if name not in names]
        columns = {name: batch[name] for name in rest if name != self._mask}
        rows = _rows(batch[names[0]])
        mask = None if self._mask is None else batch[self._mask]
        if isinstance(self._inputs, str):
            return ModelBatch((batch[self._inputs],), {}, columns, rows, mask)
        return ModelBatch((), {name: batch[name] for name in names}, columns, rows, mask)


def _rows(value: Any) -> int:
    """Give the number of samples of what goes to the model: an array, or the first in a dict or a tuple."""
    first = value
    while isinstance(first, (Mapping, tuple, list)) and len(first):
        first = next(iter(first.values() if isinstance(first, Mapping) else first))
    shape = getattr(first, "shape", None)
    if shape is None or len(shape) == 0:
        raise BatchError.no_rows(value)
    return int(shape[0])


def sample_count(batches: Any, first: ModelBatch) -> int | None:
    """Give the number of samples of an iterable where it tells its length; an upper bound, else None."""
    try:
        return len(batches) * first.rows
    except TypeError:
        return None
