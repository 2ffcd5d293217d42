"""Permutations of rows that keep together what belongs together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined
from actlens.errors import CompareError

Array = npt.NDArray[Any]

_LEAST = 4  # groups that can change places


def groups_of(joined: Joined, given: str | npt.ArrayLike | None, feature: str) -> Array | None:
    """Give the number of each row's group (rows,); None where every row is one of its own.

    Rows that are positions of samples are grouped by sample where nothing is given.

    Raises:
        CompareError: no such column, or values that are not one for each row.
    """
    if given is None:
        if joined.position is None:
            return None
        values: Array = joined.samples
    elif isinstance(given, str):
        found = joined.column(given)
        if found is None:
            raise CompareError.no_column(feature, given, list(getattr(joined.a[0].values, "columns", {})))
        values = found
    else:
        values = np.asarray(given)
        if values.shape != (joined.rows,):
            raise CompareError.group_rows(feature, values.shape, joined.rows)
    return np.asarray(np.unique(values, return_inverse=True)[1].reshape(-1))


class Shuffler:
    """Draws permutations of rows; groups of as many rows as each other change places, and stay whole.

    Raises:
        CompareError: fewer than 4 groups can change places.
    """

    def __init__(self, rows: int, groups: Array | None, seed: int, feature: str) -> None:
        self._rows = rows
        self._random = np.random.default_rng(seed)
        self._classes: list[Array] = []
        if groups is None:
            return
        order = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups)
        starts = np.cumsum(sizes) - sizes
        for size in np.unique(sizes).tolist():
            members = starts[sizes == size]
            if len(members) > 1:
                self._classes.append(order[members[:, None] + np.arange(size)])
        movable = sum(map(len, self._classes))
        if movable < _LEAST:
            raise CompareError.few_groups(feature, len(sizes), movable, _LEAST)

    def draw(self) -> Array:
        """Give one permutation (rows,)."""
        if not self._classes:
            return self._random.permutation(self._rows)
        drawn = np.arange(self._rows)
        for members in self._classes:
            drawn[members] = members[self._random.permutation(len(members))]
        return drawn
