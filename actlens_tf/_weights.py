"""weights(): a few values of each parameter, by which two states of a model are told apart."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

_VALUES = 64


def weights(model: keras.Layer) -> list[npt.NDArray[Any]]:
    """Give up to 64 values of each weight, evenly spread; nothing of a layer that is not built yet."""
    flats = [np.asarray(keras.ops.convert_to_numpy(weight)).reshape(-1) for weight in model.weights]
    return [flat[:: max(1, len(flat) // _VALUES)][:_VALUES] for flat in flats]
