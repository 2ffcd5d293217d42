"""Tensors of PyTorch to numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch

from actlens.errors import UncapturableValue

Host = npt.NDArray[Any]

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def start(key: str, array: Any, rows: npt.NDArray[np.int64] | None) -> Callable[[], Host]:
    """Pick the rows and make the copy."""
    if array.layout != torch.strided or array.is_nested:
        raise UncapturableValue.of(
            key, "a sparse or nested tensor", "Make it dense first: tensor.to_dense()."
        )
    if array.device.type == "meta":
        raise UncapturableValue.of(
            key, "a meta tensor, which has no values", "Run the model on a real device."
        )
    plain = array.detach().resolve_conj().resolve_neg()
    name = str(plain.dtype).removeprefix("torch.")
    foreign = getattr(ml_dtypes, name, None)
    if foreign is None and not hasattr(np, "bool_" if name == "bool" else name):
        raise UncapturableValue.of(
            key, f"a tensor of {plain.dtype}, which numpy lacks", "Cast it: tensor.float()."
        )
    as_bits = foreign is not None or name in {"uint16", "uint32", "uint64"}
    source = plain.contiguous().view(_BITS[plain.itemsize]) if as_bits else plain
    if rows is not None:
        source = source.index_select(0, torch.tensor(rows).to(source.device))
    host = source.to("cpu", copy=True).contiguous().numpy()
    return lambda: host.view(np.dtype(foreign or name))
