"""Sample ids: what may be one, which are kept, which were seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.backend import root_of
from actlens.errors import ArgumentError, IdError
from actlens.fingerprint import function_text
from actlens.writing.host import is_unicode, to_numpy

Ids = npt.NDArray[Any]
"""(samples,) of int64, or of text."""

Sample = float | Sequence[Any] | npt.NDArray[Any] | Callable[[Ids], npt.NDArray[np.bool_]]


def as_ids(values: Any, rows: int) -> Ids:
    """Read ids: one for each row, integers or text.

    >>> as_ids(["a", "b"], 2)
    array(['a', 'b'], dtype='<U1')
    """
    ids = _id_array(values)
    if len(ids) != rows:
        raise IdError.count(len(ids), rows)
    return ids


def _id_array(values: Any) -> Ids:
    try:
        ids = to_numpy(values)
    except (ValueError, OverflowError) as error:
        raise IdError.bad_type(f"not a flat list ({error})") from error
    if ids.ndim != 1:
        raise IdError.bad_type(f"an array of shape {ids.shape}")
    if ids.dtype.kind == "f" and np.isnan(ids).any():
        raise IdError.nan(int(np.flatnonzero(np.isnan(ids))[0]))
    if len(ids) == 0:
        return ids.astype(np.int64)
    if ids.dtype.kind in "OT" and all(isinstance(ident, str) for ident in ids):
        ids = np.array(list(ids), dtype=str)
    if ids.dtype.kind == "U":
        return _checked_text(ids, values if root_of(type(values)) is None else ids)
    if ids.dtype.kind not in "iu" or (ids.dtype.kind == "u" and int(ids.max()) > np.iinfo(np.int64).max):
        raise IdError.bad_type(f"of the kind {ids.dtype}")
    return ids.astype(np.int64)


def _checked_text(ids: Ids, values: Any) -> Ids:
    for ident in values:
        # numpy turns a list of 1 and "a" into two texts, and drops a NUL at the end
        if not isinstance(ident, str):
            raise IdError.bad_type("a mixture of text and numbers")
        if "\0" in ident or not is_unicode(ident):
            raise IdError.bad_type(f"texts with NUL or half a character ({ident!r})")
    return ids.copy()  # the caller may use its array again


class Sampler:
    """Decides which samples are kept, by their ids alone: the same in every epoch, run, rank and framework.

    A fraction keeps an id when xxh3-64 of it, with the seed, lies below that fraction of 2^64. Hashed are
    the eight little-endian bytes of an integer, or the UTF-8 of a text (docs/format.md, "Sampling").
    """

    def __init__(self, sample: Sample, seed: int) -> None:
        self._sample = sample
        self._seed = seed
        self._wanted: Ids | None = None
        self._limit = 0.0
        if isinstance(sample, (str, bool)):
            raise ArgumentError.sample(sample)
        if isinstance(sample, (int, float, np.floating)):
            if not 0 < sample <= 1:
                raise ArgumentError.sample(sample)
            self._limit = float(sample)
        elif not callable(sample):
            if not isinstance(sample, (Iterable, np.ndarray)):
                raise ArgumentError.sample(sample)
            self._wanted = _id_array(sample if isinstance(sample, np.ndarray) else list(sample))

    def __str__(self) -> str:
        """Say in the manifest what was kept."""
        if self._wanted is not None:
            digest = xxhash.xxh3_64_hexdigest("\0".join(map(str, np.unique(self._wanted).tolist())).encode())
            return f"{len(self._wanted)} given ids ({digest})"
        if callable(self._sample):
            return function_text(self._sample)
        return repr(self._limit)

    @property
    def fraction(self) -> float | None:
        """The share of rows that is kept, where it is known beforehand."""
        return self._limit if self._limit else None

    def keeps(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Give one boolean for each id."""
        if callable(self._sample):
            return self._asked(self._sample, ids)
        if self._wanted is not None:
            return np.isin(ids, self._wanted)
        if self._limit == 1:
            return np.ones(len(ids), bool)
        threshold = int(self._limit * 2.0**64)
        return np.array([self._hash(ident) < threshold for ident in ids.tolist()], bool)

    def _hash(self, ident: int | str) -> int:
        raw = ident.encode() if isinstance(ident, str) else ident.to_bytes(8, "little", signed=True)
        return xxhash.xxh3_64_intdigest(raw, seed=self._seed)

    def _asked(self, function: Callable[[Ids], Any], ids: Ids) -> npt.NDArray[np.bool_]:
        answer = np.asarray(function(ids))
        if answer.dtype != np.bool_ or answer.shape != ids.shape:
            raise ArgumentError.sample(function)
        return answer


class SeenIds:
    """The ids recorded so far in one step: eight bytes a sample for integers, exact for text too.

    Integers lie in sorted runs of growing length (a log-structured merge), so that a million batches
    cost a few dozen binary searches each.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.int64]] = []
        self._texts: set[str] = set()

    def contains(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Give one boolean for each id."""
        if ids.dtype.kind == "U":
            return np.array([ident in self._texts for ident in ids.tolist()], bool)
        found = np.zeros(len(ids), bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, ids), len(run) - 1)
            found |= run[at] == ids
        return found

    def discard(self, ids: Ids) -> None:
        """Forget ids, of a batch that could not be recorded after all."""
        if ids.dtype.kind == "U":
            self._texts.difference_update(ids.tolist())
        else:
            runs = [run[~np.isin(run, ids)] for run in self._runs]
            self._runs = [run for run in runs if len(run)]

    def add(self, ids: Ids) -> None:
        """Note ids, none of which was seen."""
        if ids.dtype.kind == "U":
            self._texts.update(ids.tolist())
            return
        run = np.sort(ids)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)


def first_repeated(ids: Ids) -> int | str | None:
    """Give an id that stands twice in one batch, or None."""
    values, counts = np.unique(ids, return_counts=True)
    repeated = values[counts > 1]
    return repeated[0].item() if len(repeated) else None
