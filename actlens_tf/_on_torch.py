"""Keras on PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
import torch.utils._pytree as pytree

from actlens.backend import Forward
from actlens_tf._activations import flattened, rebuilt

TRACES = False


def version() -> str:
    """Give the version of PyTorch."""
    return str(torch.__version__)


def context() -> object:
    """Give how deep in vmap and the like the call is."""
    interpreter = torch._C._functorch.peek_interpreter_stack()
    return None if interpreter is None else interpreter.level()


def tracing() -> bool:
    """Say no: PyTorch computes."""
    return False


def owned(array: Any) -> Any:
    """Give a clone: a later operation may work in place."""
    return (array.value if isinstance(array, keras.Variable) else array).clone()


def unusual(array: Any) -> tuple[str, str] | None:
    """See Framework."""
    if torch._C._functorch.is_functorch_wrapped_tensor(array) and torch._C._functorch.is_batchedtensor(array):
        return "a tensor inside torch.vmap", "Call forward on the whole batch, outside of vmap."
    if array.layout != torch.strided:
        remedy = "Give it a transform: layers={'…': lambda t: t.to_dense()}."
        return f"a sparse tensor ({array.layout})", remedy
    if array.device.type == "meta":
        return "a meta tensor, which has no values", "Build the model outside of keras.device('meta')."
    return None


def converted(array: Any) -> Any:
    """Give it as it is: Keras moves numpy and tensors to its device."""
    return array


def compiled(step: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Run eagerly, without gradients."""
    del model
    return torch.no_grad()(step)


def weights(variables: list[Any]) -> list[Any]:
    """Give nothing: the variables are read as they are."""
    del variables
    return []


def dry_run(run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run once for real, on clones: on meta tensors not every operation works."""

    def example(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else np.array(leaf)

    is_array = (torch.Tensor, np.ndarray)
    args, kwargs = pytree.tree_map_only(is_array, example, (args, kwargs))
    with torch.no_grad():
        run(*args, **kwargs)


@contextlib.contextmanager
def kept_modes(model: Any) -> Iterator[None]:
    """Put the training flags of wrapped torch modules back, which Keras sets in each call."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, flag in flags:
            if module.training != flag:
                module.training = flag


def opaque(forward: Forward) -> Forward:
    """Give it as it is."""
    return forward


def register(cls: type) -> None:
    """Register a pytree, for torch.func and torch.compile."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    pytree.register_pytree_node(cls, flattened, rebuilt, serialized_type_name=name)
