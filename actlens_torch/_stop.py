"""stop=True in PyTorch: when a forward must not be stopped, and what of a tensor decides its path."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actlens.stopping import Unknown
from actlens_torch._naming import distributed_by


def why_in_full(model: nn.Module) -> str:
    """Say why a model must not be stopped half way; empty where it may be."""
    for module in model.modules():
        if name := distributed_by(module):
            return f"{name} needs every process to finish it"
        if getattr(module, "_forward_hooks_always_called", None):
            return f"a hook of {type(module).__name__} is registered with always_call=True"
    return ""


def of_tensor(value: object) -> object:
    """Give what counts of a tensor: shape, dtype, device, and one number by its value.

    >>> of_tensor(torch.zeros(2, 3))
    ((2, 3), torch.float32, device(type='cpu'))
    >>> of_tensor(torch.tensor(3))
    ((), torch.int64, device(type='cpu'), 3)

    Raises:
        Unknown: a tensor whose content cannot be told from another's.
    """
    if isinstance(value, (torch.dtype, torch.device)):
        return (type(value).__name__, value)
    if not isinstance(value, Tensor):
        return None
    if value.is_nested:
        raise Unknown("a nested tensor")
    what = (tuple(value.shape), value.dtype, value.device)
    if value.numel() != 1 or value.device.type != "cpu" or value.layout != torch.strided:
        return what
    try:
        return (*what, value.item())
    except RuntimeError as error:  # inside vmap, or without values
        raise Unknown("a tensor whose value cannot be read") from error
