"""A batch smaller than the one before, filled up to its size so that nothing is compiled again for it.

For frameworks that compile for each shape. A model may mix the samples of a batch (a batch mean, a queue of
experts); then what is filled in changes what the real samples give. So a batch is filled in two ways, with
copies of its own last sample and with samples of the batch before, and the result is kept only if the real
samples gave the same both times, to the bit. Else the small batch is run as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from actlens.activations import Activations

Step = Callable[[list[Any]], Activations]
"""Gives what was captured for the arrays of one batch; compiled for their shapes."""
Shapes = Callable[[Step, list[Any], list[Any], int, int], "Mapping[str, Any] | None"]
"""`(step, small batch, full batch, rows, size)`: the shapes that the step gives for the small batch; None
where it does something else for it than for the full one, as if the size were a number to compute with."""


class Filler:
    """Runs a step on the batches of a data set, and remembers the last full one."""

    def __init__(self) -> None:
        self._full: list[Any] = []

    def run(self, step: Step, arrays: list[Any], shapes: Shapes) -> Activations:
        """Run a step on the arrays of a batch; of a filled one give the real rows.

        `shapes` tells what has a row for each sample: an array that only happens to be as long as the batch
        is given whole.
        """
        rows = self._rows(arrays)
        if rows is None:
            if not self._is_smaller(arrays):
                self._full = list(arrays)
            return step(arrays)
        pairs = list(zip(arrays, self._full, strict=True))
        size = next(int(full.shape[0]) for array, full in pairs if not _like(array, full))
        given = shapes(step, arrays, self._full, rows, size)
        if given is None:
            return step(arrays)
        real = {key: tuple(array.shape) for key, array in given.items()}
        own = step([_joined(array, array, full, at=-1) for array, full in pairs])
        if not all(_is_here(array) for array in own.values()):
            return step(arrays)
        others = step([_joined(array, full, full) for array, full in pairs])
        kept, again = ({key: _cut(a, real[key]) for key, a in acts.items()} for acts in (own, others))
        if any(kept[key].shape != real[key] for key in kept) or any(
            kept[key].tobytes() != again[key].tobytes() for key in kept
        ):
            return step(arrays)
        return Activations(kept, own.axes, own.report)

    def _rows(self, arrays: Sequence[Any]) -> int | None:
        """Give the number of real rows of a batch that can be filled up; None where it is run as it is."""
        if not self._full or len(self._full) != len(arrays):
            return None
        pairs = list(zip(arrays, self._full, strict=True))
        found = {_part_of(array, full) for array, full in pairs if not _like(array, full)}
        sizes = {full.shape[0] for array, full in pairs if not _like(array, full) and full.shape}
        return found.pop() if len(found) == 1 and len(sizes) == 1 else None

    def _is_smaller(self, arrays: Sequence[Any]) -> bool:
        pairs = zip(arrays, self._full, strict=False)
        return any(len(a.shape) and len(b.shape) and a.shape[0] < b.shape[0] for a, b in pairs)


def _like(array: Any, full: Any) -> bool:
    return bool(array.shape == full.shape and array.dtype == full.dtype)


def _part_of(array: Any, full: Any) -> int | None:
    alike = array.dtype == full.dtype and array.shape[1:] == full.shape[1:] and len(array.shape) > 0
    return int(array.shape[0]) if alike and 0 < array.shape[0] < full.shape[0] else None


def _joined(array: Any, filling: Any, full: Any, *, at: int | None = None) -> Any:
    """Put the last rows of `filling` behind those of `array`, or one of them, `at`, over and over."""
    if _like(array, full):
        return array
    missing = full.shape[0] - array.shape[0]
    rows = (
        np.asarray(filling)[-missing:] if at is None else np.repeat(np.asarray(filling)[at:], missing, axis=0)
    )
    return np.concatenate([np.asarray(array), rows])


def _is_here(array: Any) -> bool:
    return bool(getattr(array, "is_fully_addressable", True))  # no part of it is on another host


def _cut(array: Any, real: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Give the real rows on the host: a slice on the device would be compiled for their number."""
    host = np.asarray(array)
    return host[: real[0]] if host.ndim and len(real) == host.ndim else host
