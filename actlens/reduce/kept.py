"""Embeddings that lie with their recording: what a reducer needs for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from actlens.derived import Kind, remembered
from actlens.reduce.embedding import Embedding
from actlens.reduce.embedding_file import FORMAT, KIND, packed, unpacked
from actlens.reduce.fitted import Again
from actlens.reduce.source import Framed, rows_of

_STORED = Kind(KIND, FORMAT, write=packed, read=lambda bundle: unpacked(bundle, "the file"))
_WITHOUT_EFFECT = {"progress", "executor", "n_jobs"}  # on the numbers


def kept(
    layer: Framed,
    method: str,
    compute: Callable[[], Embedding],
    *,
    options: Mapping[str, Any],
    packages: Sequence[str],
    cache: bool,
) -> Embedding:
    """Give what `compute()` gives, read from the recording of `layer` where it was computed before.

    `options` are those that the reducer was called with, `packages` what computes beside numpy; see
    `actlens.derived.remembered`. Without a seed only PCA is the same again.
    """
    parameters = {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}
    found = remembered(
        [layer],
        _STORED,
        compute=compute,
        parameters={"method": method, **parameters},
        packages=["numpy", *packages],
        repeatable=method == "pca" or options["random_state"] is not None,
        cache=cache,
    )
    if found.rows is not None or found.alignment is not None:
        return found
    # It was read: its activations are still there, and its model can be fitted again when new rows come.
    rows = rows_of(layer, f"reduce.{method}")
    if found.parameters.get("dropped"):  # found again by their ids, not by reading all rows
        there = np.flatnonzero(np.isin(rows.ids, found.ids))
        if not np.array_equal(rows.ids[there], found.ids):  # ids that repeat
            return found
        rows = dataclasses.replace(rows.at(there), dropped=found.parameters["dropped"])
    return dataclasses.replace(found, rows=rows, fitted=None if method == "pca" else Again(compute))
