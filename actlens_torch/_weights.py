"""weights(): a few values of each parameter, by which two states of a model are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from actlens_torch._host import fetch

_VALUES = 64


def weights(model: nn.Module) -> list[npt.NDArray[Any]]:
    """Give up to 64 values of each parameter and buffer, evenly spread; of a shard, its own.

    What a lazy module has not made yet, and what is no part of the model's state, is left out.
    """
    samples = {}
    passing = {
        id(module._buffers[name]) for module in model.modules() for name in module._non_persistent_buffers_set
    }
    kept = (value for value in model.buffers() if id(value) not in passing)
    for number, value in enumerate([*model.parameters(), *kept]):
        local = value.to_local() if hasattr(value, "to_local") else value
        lazy = isinstance(local, (UninitializedParameter, UninitializedBuffer))
        if lazy or local.is_meta or local.is_nested or local.layout is not torch.strided:
            continue
        flat = local.detach().reshape(-1)
        samples[str(number)] = flat[:: max(1, len(flat) // _VALUES)][:_VALUES]
    return [np.asarray(array) for array in fetch(samples)().values()]
