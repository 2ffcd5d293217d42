"""The rows of one side are those of the other in another order: the ids do not say which sample is which."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.diagnosing.diagnosis import Diagnosis
from actlens.compare.diagnosing.evidence import Evidence
from actlens.compare.layer_diff import evenly
from actlens.compare.lining_up import Lined

Array = npt.NDArray[Any]

_CHECKED = 500  # rows of b that are held, value by value, to the row of a that they are said to be
_BLOCK_BYTES = 8 << 20
_NEAR = 100  # times the tolerance: numbers of the same row on both sides, as parts of their spread
_NEIGHBORS = 3


def row_order(evidence: Evidence) -> Diagnosis | None:
    """Give each row two numbers of its own, random sums of its values; match the rows of both sides by
    them.
    """
    pair = evidence.pair
    rows = len(pair.samples)
    if not pair.fits or rows < 2:
        return None
    a, b = _numbers(pair.a, rows), _numbers(pair.b, rows)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    near = _NEAR * evidence.tolerance * float(np.linalg.norm(a - a.mean(axis=0))) / math.sqrt(rows)
    if float(np.abs(np.sort(a[:, 0]) - np.sort(b[:, 0])).max()) > near:
        return None
    source = _sources(a, b)
    moved = np.flatnonzero((source != np.arange(rows)) & (np.abs(a - b).max(axis=1) > near))
    if not len(moved):
        return None
    checked = moved[evenly(len(moved), _CHECKED)]
    found = _rows(pair.a, source[checked])
    left = evidence.explained(found, _rows(pair.b, checked), instead=_rows(pair.a, checked))
    if left is None:
        return None
    example, other = pair.samples[checked[0]].item(), pair.samples[source[checked[0]]].item()
    return Diagnosis(
        f"order of rows: {len(moved):,} of {rows:,} rows of b have the values of another row of a; e.g. id "
        f"{example!r} of b is id {other!r} of a. The ids do not say which sample is which: give each sample "
        "its own, in a column 'id'",
        left,
    )


def _sources(a: Array, b: Array) -> Array:
    """Give the row of a (rows,) that each row of b is: near in the first number, nearest in the second."""
    order_a, order_b = np.argsort(a[:, 0], kind="stable"), np.argsort(b[:, 0], kind="stable")
    best = np.full(len(a), np.inf)
    found = order_a.copy()
    for step in range(-_NEIGHBORS, _NEIGHBORS + 1):  # rounding may put rows into another order
        candidate = order_a[np.clip(np.arange(len(a)) + step, 0, len(a) - 1)]
        apart = np.abs(a[candidate, 1] - b[order_b, 1])
        found = np.where(apart < best, candidate, found)
        best = np.minimum(apart, best)
    source = np.empty(len(a), np.int64)
    source[order_b] = found
    return source


def _numbers(side: Lined, rows: int) -> Array:
    """Give (rows, 2) sums of the values of each row with the same random weights."""
    weights = np.random.default_rng(0).normal(size=(side.layer.features, 2))
    at_once = max(1, _BLOCK_BYTES // (8 * side.layer.features))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([block.astype(np.float64) @ weights for block in side.blocks(0, rows, at_once)])


def _rows(side: Lined, numbers: Array) -> Array:
    """Read rows in any order, each as often as it stands there."""
    unique, places = np.unique(numbers, return_inverse=True)
    return side.rows(unique).astype(np.float64)[places]
