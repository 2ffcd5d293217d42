"""inference(): the fast form for record(): eval, no gradients, inputs on the model's device."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actlens.activations import Activations
from actlens.backend import Forward
from actlens_torch._modes import check_model, evaluation
from actlens_torch._threads import turn_of
from actlens_torch._values import marking


@contextlib.contextmanager
def inference(model: Any, forward: Forward, /) -> Iterator[Forward]:
    """Give `forward` for inference: eval mode, no gradients, numpy and tensors moved to the model's device.

    Both are for each call alone: between the calls every module has its own training flag, so that whoever
    makes the batches may train meanwhile. Threads that use one model wait for each other.
    """
    module = check_model(model)
    turn = turn_of(module)
    device = device_of(module)

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        token = marking.set(True)
        try:
            # not inference_mode: what a model caches during it could never be trained with afterwards
            with turn, evaluation(module), torch.no_grad():
                return forward(*moved(args, device), **moved(kwargs, device))
        finally:
            marking.reset(token)

    yield run


def device_of(model: nn.Module) -> torch.device | None:
    """Give the one device of a model; None if it has no parameters, or several devices."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    devices = {tensor.device for tensor in tensors}
    return devices.pop() if len(devices) == 1 else None


def moved(value: Any, device: torch.device | None) -> Any:
    """Give inputs with numpy arrays as tensors, and all tensors on `device` (None: where they are)."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        value = _tensor(value)
    if isinstance(value, Tensor):
        return value if device is None else value.to(device, non_blocking=True)
    if isinstance(value, dict) and type(value) is dict:
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "to"):
        items = [moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    movable = device is not None and callable(getattr(value, "to", None))
    return value.to(device) if movable else value  # BatchEncoding, PackedSequence, graphs


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    plain = native.flags.writeable and all(stride >= 0 for stride in native.strides)
    return torch.from_numpy(native if plain else native.copy())
