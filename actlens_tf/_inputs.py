"""Inputs from whatever framework made the batches, as what Keras takes on its backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from actlens_tf._framework import framework
from actlens_tf._host import fetch, home_of
from actlens_tf._values import is_array, mapped


def native(value: Any) -> Any:
    """Give arrays of numpy and of other frameworks, in dicts, lists and tuples, as the backend's own.

    Numpy's memory is not used further: the loop over batches may write the next one into it.
    """
    return mapped(value, _native)


def _native(leaf: Any) -> Any:
    if not isinstance(leaf, np.ndarray):
        if is_array(leaf) or home_of(leaf) is None:
            return leaf
        leaf = fetch({"input": leaf})()["input"]
    return framework().converted(leaf.copy())
