"""stop=True in Keras: what of an array decides the path through a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from actlens.stopping import Unknown
from actlens_tf._values import is_array


def of_array(value: Any) -> object:
    """Give what counts of an array: shape, dtype, and one number by its value; None for what is none.

    Raises:
        Unknown: an array whose value cannot be read.
    """
    if not is_array(value):
        return None
    what = (type(value).__name__, tuple(value.shape), str(value.dtype))
    if any(size != 1 for size in value.shape):
        return what
    try:
        return (*what, np.asarray(value).item())
    except Exception as error:
        raise Unknown("an array whose value cannot be read") from error
