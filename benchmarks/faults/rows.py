"""Rows that are known from their ids alone, so that any row can be checked wherever it turns up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from actlens.recording import Recording

Ids = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray]

WIDTH = 16
"""Floats in a row of the layer `wide`."""


def rows_of(ids: Ids, width: int = WIDTH) -> tuple[Arrays, Arrays]:
    """Give the activations and the columns of some ids."""
    ids = np.asarray(ids, np.int64)
    wide = (ids[:, None] * 2_654_435_761 + np.arange(width) * 40_503) % 16_777_213  # exact in float32
    small = (ids[:, None] * 7 + np.arange(6)) % 32_749
    acts = {"wide": wide.astype("f4"), "small": small.astype("i2").reshape(-1, 2, 3)}
    labels = np.array([f"class {ident % 7}é" for ident in ids.tolist()], dtype=str)
    return acts, {"label": labels, "weight": (ids % 1009 / 8).astype("f4")}


def row_bytes(width: int = WIDTH) -> int:
    """What the recorder takes a row for."""
    return 4 * width + 12 + 8 + 16 + 4


def differences(run: Recording, ids: Ids, width: int = WIDTH) -> Iterator[str]:
    """Say what of a recording is not as the formula has it; the ids must be these, in this order."""
    acts, columns = rows_of(ids, width)
    if list(run) != list(acts) or set(run.columns) != {"id", *columns}:
        yield f"layers {list(run)}, columns {list(run.columns)}"
        return
    if not same(run.ids, np.asarray(ids)):
        yield "ids"
    yield from (f"layer {key}" for key, value in acts.items() if not same(run[key][:], value))
    yield from (f"column {name}" for name, value in columns.items() if not same(run.columns[name], value))


def same(found: npt.NDArray, wanted: npt.NDArray) -> bool:
    """Say whether two arrays are equal to the bit; texts may have another width."""
    kinds = found.dtype.kind == wanted.dtype.kind == "U" or found.dtype == wanted.dtype
    return kinds and found.shape == wanted.shape and bool((found == wanted).all())
