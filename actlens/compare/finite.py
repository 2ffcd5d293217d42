"""NaN and inf: which rows have them, for the error that lists their ids."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from actlens.compare.joining import Joined
from actlens.compare.part import parts
from actlens.errors import CompareError

Array = npt.NDArray[Any]


def refuse_not_finite(joined: Joined, feature: str) -> NoReturn:
    """Read all rows, and raise the CompareError that lists those with NaN or inf."""
    found: dict[int, list[Array]] = {}
    for start, blocks in parts(joined)[0].blocks():
        for number, block in enumerate(blocks):
            bad = ~np.isfinite(block).all(axis=1)
            if bad.any():
                found.setdefault(number, []).append(start + np.flatnonzero(bad))
    if not found:
        raise CompareError.too_large(feature, joined.layers[0].name)
    number, lists = next(iter(found.items()))
    rows = np.concatenate(lists)
    ids = list(dict.fromkeys(joined.samples[rows].tolist()))
    raise CompareError.not_finite(feature, joined.layers[number].name, ids, len(rows))
