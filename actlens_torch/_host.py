"""fetch(): tensors to numpy, without waiting where there is a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actlens.errors import UncapturableValue
from actlens_torch._values import OWNED, unusual

Host = npt.NDArray[Any]

_PLAIN = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_FOREIGN = (
    *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _numpy_dtypes() -> dict[torch.dtype, np.dtype[Any]]:
    """Map the dtypes that this version of torch has; numpy lacks some, ml_dtypes has them."""
    known = {name: np.dtype(name) for name in _PLAIN}
    known |= {name: np.dtype(getattr(ml_dtypes, name)) for name in _FOREIGN if hasattr(ml_dtypes, name)}
    return {getattr(torch, name): dtype for name, dtype in known.items() if hasattr(torch, name)}


_NUMPY = _numpy_dtypes()
_AS_BITS = {
    getattr(torch, name) for name in (*_FOREIGN, "uint16", "uint32", "uint64") if hasattr(torch, name)
}


def fetch(
    arrays: Mapping[str, Any], /, rows: npt.NDArray[np.int64] | None = None
) -> Callable[[], dict[str, Host]]:
    """Start the copy of tensors to the host, of some rows only where `rows` is given; return what waits.

    Rows are picked on the device. On CUDA the copy goes to pinned memory on the current stream, so the
    model's next step can start; on the CPU it is done before this returns.

    Raises:
        UncapturableValue: a sparse, nested, quantized or meta tensor, or a dtype that numpy lacks.
        IndexError: a row that the tensor does not have.
    """
    index = None if rows is None else torch.tensor(np.asarray(rows, dtype=np.int64))
    copies = {key: _start(key, tensor, index) for key, tensor in arrays.items()}
    devices = {tensor.device for tensor in arrays.values() if tensor.is_cuda}
    events = [_event(device) for device in devices]

    def wait() -> dict[str, Host]:
        for event in events:
            event.synchronize()
        return {key: host.numpy().view(dtype) for key, (host, dtype) in copies.items()}

    return wait


def _start(key: str, tensor: Tensor, index: Tensor | None) -> tuple[Tensor, np.dtype[Any]]:
    """Give a host tensor that is, or will be, the copy, and the dtype to read it as."""
    owned = bool(tensor.__dict__.pop(OWNED, False)) if index is None else False
    dtype, source = _dense(key, tensor)
    if index is not None:
        source = source.index_select(0, index.to(source.device))
        owned = True
    if source.device.type == "cpu":
        kept = owned and source.is_contiguous()
        return (source if kept else source.clone(memory_format=torch.contiguous_format)), dtype
    if not source.is_cuda:
        return source.contiguous().cpu(), dtype
    pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
    pinned.copy_(source.contiguous(), non_blocking=True)
    return pinned, dtype


def _dense(key: str, tensor: Tensor) -> tuple[np.dtype[Any], Tensor]:
    """Give the numpy dtype and the tensor without graph, conjugation, or a dtype that numpy lacks."""
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    kind = unusual(tensor)
    if kind:
        raise UncapturableValue.of(key, *kind)
    dtype = _NUMPY.get(tensor.dtype)
    if dtype is None:
        raise UncapturableValue.of(
            key,
            f"a tensor of {tensor.dtype}, which numpy lacks",
            "Cast it: layers={'…': lambda t: t.float()}.",
        )
    plain = tensor.detach().resolve_conj().resolve_neg()
    return dtype, plain.view(_BITS[plain.itemsize]) if plain.dtype in _AS_BITS else plain


def _event(device: torch.device) -> Any:
    with torch.cuda.device(device):
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
    return event
