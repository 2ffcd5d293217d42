"""Which fold a row belongs to: a hash of its sample's id, so that it is the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

Array = npt.NDArray[Any]

_SEED = 0x666F6C64  # another than that of sampling, or the folds of a sampled recording would be uneven


def folds_of(ids: Array, folds: int) -> Array:
    """Give the fold (rows,) of each id (rows,): integers or text.

    >>> folds_of(np.array([3, 5, 3]), 2).tolist() == folds_of(np.array(["3", "5", "3"]), 2).tolist()
    True
    """
    values, back = np.unique(ids, return_inverse=True)
    codes = [xxhash.xxh3_64_intdigest(str(ident).encode(), seed=_SEED) % folds for ident in values.tolist()]
    return np.array(codes, np.int16)[back.reshape(-1)]
