"""What tells rows apart: the id of the sample, and the position in it where rows are positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.given import Given
from actlens.errors import CompareError
from actlens.format.schema import POSITION, SAMPLE

Array = npt.NDArray[Any]

_SHIFT = 32  # bits for the position in a sample


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Keys:
    """The keys of a layer's rows, as stored: ids of samples (rows,), and positions (rows,) or None."""

    samples: Array
    positions: Array | None = None

    def known_by(self, shared: Array) -> tuple[Array, Array]:
        """Give the stored rows whose samples are among `shared` (sorted), in one order, and their keys.

        Rows come sample by sample, positions rising, so that the order does not depend on how they lie.
        """
        places = np.minimum(np.searchsorted(shared, self.samples), len(shared) - 1)
        rows = np.flatnonzero(shared[places] == self.samples)
        keys = places[rows].astype(np.int64)
        if self.positions is not None:
            keys = (keys << _SHIFT) + self.positions[rows]
        order = np.argsort(keys, kind="stable")
        return rows[order], keys[order]


def keys_of(given: Given, feature: str) -> Keys:
    """Read the keys of a layer; an array's are the numbers of its rows.

    Raises:
        CompareError: a sample, or a position of one, that stands twice.
    """
    if not given.has_ids:
        return Keys(np.arange(given.shape[0]))
    columns = given.values.columns
    if given.is_tokens:
        keys = Keys(np.asarray(columns[SAMPLE]), np.asarray(columns[POSITION], np.int64))
    else:
        keys = Keys(np.asarray(given.values.ids))
    _refuse_repeated(given, keys, feature)
    return keys


def _refuse_repeated(given: Given, keys: Keys, feature: str) -> None:
    values, codes = np.unique(keys.samples, return_inverse=True)
    if keys.positions is not None:
        whole, counts = np.unique((codes.astype(np.int64) << _SHIFT) + keys.positions, return_counts=True)
        twice = np.unique(values[whole[counts > 1] >> _SHIFT])
    else:
        twice = values[np.bincount(codes, minlength=len(values)) > 1]
    if len(twice):
        raise CompareError.duplicated(feature, given.name, twice[:20].tolist(), len(twice))


def shared_samples(layers: Sequence[tuple[Given, Keys]], feature: str) -> Array:
    """Give the ids that all layers have, sorted.

    Raises:
        CompareError: there is none; or arrays, which have no ids, that do not fit the others.
    """
    with_ids = [given for given, _ in layers if given.has_ids]
    without = [given for given, _ in layers if not given.has_ids]
    if with_ids and without:
        raise CompareError.mixed_ids(feature, with_ids[0].name, without[0].name)
    counts = {f"{given.side}'s {given.name}": given.shape[0] for given in without}
    if len(set(counts.values())) > 1:
        raise CompareError.other_rows(feature, counts)
    (first, keys), *others = layers
    shared: Array = np.unique(keys.samples)
    for given, other in others:
        kept = shared if other.samples is keys.samples else _common(shared, np.unique(other.samples))
        if not len(kept) and len(shared) and len(other.samples):
            examples = (shared[:1].tolist()[0], other.samples[:1].tolist()[0])
            names = (f"{first.side}'s {first.name}", f"{given.side}'s {given.name}")
            raise CompareError.no_common_ids(feature, *names, examples)
        shared = kept
    return shared


def _common(a: Array, b: Array) -> Array:
    if (a.dtype.kind in "UT") is not (b.dtype.kind in "UT"):  # the text "1" is not the number 1
        return a[:0]
    return a if np.array_equal(a, b) else np.intersect1d(a, b, assume_unique=True)
