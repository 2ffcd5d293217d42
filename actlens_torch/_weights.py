"""weights(): a few values of each parameter, by which two states of a model are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from actlens_torch._host import fetch

_VALUES = 64


def weights(model: nn.Module) -> list[npt.NDArray[Any]]:
    """Give up to 64 values of each parameter, evenly spread; nothing of a model that processes share out.

    Each of them would give the values of its own part. What a lazy module has not made yet is left out; and
    buffers are, which a forward may change.
    """
    parameters = list(model.parameters())
    if any(hasattr(value, "to_local") or type(value).__name__ == "FlatParameter" for value in parameters):
        return []
    samples = {}
    for number, value in enumerate(parameters):
        unusual = isinstance(value, UninitializedParameter) or value.is_meta or value.is_nested
        if not unusual and value.layout is torch.strided:
            flat = value.detach().reshape(-1)
            samples[str(number)] = flat[:: max(1, len(flat) // _VALUES)][:_VALUES]
    return [np.asarray(array) for array in fetch(samples)().values()]
