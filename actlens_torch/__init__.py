"""The adapter for PyTorch: `torch.nn.Module` models and `torch.Tensor` arrays.

How it works: one call of `forward` registers hooks on the selected modules, calls the model once,
unchanged, and removes the hooks. Importing this package registers `Activations` as a pytree, and does
nothing else.
"""

from __future__ import annotations

import torch

from actlens_torch._capture import capture
from actlens_torch._host import fetch
from actlens_torch._inference import inference
from actlens_torch._layers import layers
from actlens_torch._pytree import register
from actlens_torch._weights import weights

__all__ = ["capture", "fetch", "inference", "layers", "name", "version", "weights"]

name: str = "torch"


def version() -> str:
    """Give the version of PyTorch."""
    return str(torch.__version__)


register()
