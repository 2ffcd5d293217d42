"""The mean of every layer, in one pass: what rows are centred by."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.finite import refuse_not_finite
from actlens.compare.joining import Joined
from actlens.compare.part import JoinedPart, parts
from actlens.streaming.fold import threaded, workers_of
from actlens.streaming.threads import threads_here

Array = npt.NDArray[Any]


def means(joined: Joined, feature: str, executor: Executor | None = None) -> list[Array]:
    """Give the mean (features,) of each layer, in float64.

    Raises:
        CompareError: NaN or inf, with the ids of the rows.
    """
    pieces = workers_of(executor) if executor is not None else threads_here()
    sums = functools.reduce(_joined, threaded(_sums, parts(joined, pieces), executor=executor))
    found = [total / joined.rows for total in sums.totals]
    if sums.rows != joined.rows or not all(np.isfinite(mean).all() for mean in found):
        refuse_not_finite(joined, feature)
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class _Sums:
    rows: int
    totals: list[Array]


def _sums(part: JoinedPart) -> _Sums:
    totals = [np.zeros(layer.features) for layer in part.layers]
    rows = 0
    for _, blocks in part.blocks():
        rows += len(blocks[0])
        with np.errstate(over="ignore", invalid="ignore"):  # looked for by whoever asks
            for number, block in enumerate(blocks):
                wide = block.astype(np.float32) if block.dtype.kind == "V" else block
                totals[number] += wide.sum(axis=0, dtype=np.float64)
    return _Sums(rows, totals)


def _joined(a: _Sums, b: _Sums) -> _Sums:
    return _Sums(a.rows + b.rows, [x + y for x, y in zip(a.totals, b.totals, strict=True)])
