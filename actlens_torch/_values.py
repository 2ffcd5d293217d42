"""What a module returned: opened into what keys can name, and tensors kept so that nothing changes them."""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from actlens.activations import Selector
from actlens.errors import BadTransform, UncapturableValue

OWNED = "_actlens_owned"
"""Mark of a tensor that only record() sees: fetch may hand out its memory instead of copying it."""

marking: contextvars.ContextVar[bool] = contextvars.ContextVar("marking", default=False)
"""Whether clones are made for record(), and are to be marked as owned."""


def is_array(value: Any) -> TypeGuard[Tensor]:
    """Say whether a leaf is an array of this framework."""
    return isinstance(value, Tensor)


def opened(value: Any) -> Any:
    """Give an output as nested dicts of leaves, by index or by name.

    Objects that torch's pytrees know (HF caches) become dicts by the index of their leaves; those that
    nothing knows stay whole, and the report names them as skipped.
    """
    if isinstance(value, Tensor):
        return value
    items = _items(value)
    return value if items is None else {name: opened(item) for name, item in items}


def _items(value: Any) -> Iterable[tuple[object, Any]] | None:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if isinstance(value, (tuple, list)):
        return enumerate(value)
    if type(value) in pytree.SUPPORTED_NODES:
        return enumerate(pytree.tree_leaves(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


class Keeper:
    """Takes tensors for good: what the model does to them later does not show.

    Without gradients a transform runs at once, on the model's own tensor, and only its result is kept.
    In inference mode, where nobody could tell whether it wrote into that tensor, it gets a clone.
    With gradients the tensor is cloned at once and transformed after the forward (`finish`): a transform
    inside a checkpointed region would save tensors there that the recomputation does not have.
    """

    def __init__(self, select: Selector) -> None:
        self._select = select
        self._later: set[str] = set()

    def keep(self, key: str, tensor: Tensor) -> Tensor:
        """Take a tensor, for `Tape(keep=)`.

        Raises:
            UncapturableValue: inside vmap, or not a plain dense tensor.
            BadTransform: the transform changed the model's tensor in place.
        """
        refuse_batched(key, tensor)
        if hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()
        if torch.is_grad_enabled():
            self._later.add(key)
            return tensor.clone()
        if tensor.is_inference():  # no version says whether a transform wrote into it
            return self._transformed(key, tensor.clone())
        version = tensor._version
        result: Tensor = self._select.transform(key, tensor)
        if tensor._version != version:
            raise BadTransform.in_place(key)
        refuse_unusual(key, result)
        if shares(result, tensor):
            result = result.clone()
            if marking.get():
                setattr(result, OWNED, True)
            return result
        return result.clone() if is_part(result) else result

    def finish(self, key: str, tensor: Tensor) -> Tensor:
        """Do what could not be done during the forward, for `Tape.activations(finish=)`."""
        return self._transformed(key, tensor) if key in self._later else tensor

    def _transformed(self, key: str, tensor: Tensor) -> Tensor:
        """Transform a tensor of our own."""
        result: Tensor = self._select.transform(key, tensor)
        refuse_unusual(key, result)
        return result.clone() if result is not tensor and is_part(result) else result


def is_part(tensor: Tensor) -> bool:
    """Say whether a tensor keeps more memory alive than its own values: a slice of something larger."""
    return _is_plain(tensor) and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.itemsize


def shares(result: Tensor, original: Tensor) -> bool:
    """Say whether two tensors use the same memory; True where that cannot be asked."""
    if result is original:
        return True
    if not _is_plain(result) or not _is_plain(original):
        return True
    return bool(result.untyped_storage().data_ptr() == original.untyped_storage().data_ptr())


def _is_plain(tensor: Tensor) -> bool:
    """Say whether a tensor has memory of its own that can be asked for."""
    own = (
        type(tensor) in {Tensor, torch.nn.Parameter}
        and tensor.layout == torch.strided
        and not tensor.is_nested
    )
    return own and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def refuse_batched(key: str, tensor: Tensor) -> None:
    """Refuse a tensor inside vmap: it shows one sample's shape and holds the whole batch."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            raise UncapturableValue.of(
                key,
                "a tensor inside torch.vmap",
                "Call forward on the whole batch, outside of vmap.",
            )
        tensor = functorch.get_unwrapped(tensor)


def refuse_unusual(key: str, tensor: Tensor) -> None:
    """Refuse what is not a dense tensor with values; the remedy is a transform that makes it one."""
    kind = unusual(tensor)
    if kind:
        what, remedy = kind
        raise UncapturableValue.of(key, what, remedy)


def unusual(tensor: Tensor) -> tuple[str, str] | None:
    """Name what hinders a tensor from being a plain array, and the remedy; None where nothing does."""
    give = "Give it a transform: layers={'" + "…': %s}."
    if tensor.is_nested:
        return "a nested tensor", give % "lambda t: t.to_padded_tensor(0.0)"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})", give % "lambda t: t.to_dense()"
    if tensor.is_quantized:
        return f"a quantized tensor ({tensor.dtype})", give % "lambda t: t.dequantize()"
    if tensor.device.type == "meta":
        return "a meta tensor, which has no values", "Load the weights first: model.to_empty(device=…)."
    return None
