"""What a loop written by hand does with the arrays of a batch: np.save for each, synced or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np


def saved(
    batches: Iterator, capture: Callable[[object], Mapping[str, object]], out: Path, *, sync: bool
) -> None:
    """Write what `capture(batch)` gives, a file for each layer and batch."""
    for number, batch in enumerate(batches):
        for name, value in capture(batch).items():
            with (out / f"{name}-{number}.npy").open("wb") as file:
                np.save(file, np.asarray(value))
                if sync:
                    file.flush()
                    os.fsync(file.fileno())


def noise(shape: tuple[int, ...], rows: int) -> Iterator[np.ndarray]:
    """Give batches of noise; one array, so that the data takes no memory that grows."""
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for at in range(0, rows, len(batch)):
        yield batch[: min(len(batch), rows - at)]


def once(make: Callable[..., Callable]) -> Callable[..., Callable]:
    """Keep what is made for a model: a loop written by hand compiles its function once."""
    made: dict[tuple, Callable] = {}

    def kept(model, *options) -> Callable:
        key = (id(model), *options)
        if key not in made:
            made[key] = make(model, *options)
        return made[key]

    return kept
