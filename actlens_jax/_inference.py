"""inference(): the fast form for record(): one compiled function, evaluation mode, no output."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import nnx

from actlens.activations import Activations
from actlens.backend import Forward
from actlens.errors import CaptureError
from actlens.padding import Filler
from actlens_jax._linen import is_bound, unbound
from actlens_jax._models import check_model

_Step = Callable[["_Call", Sequence[Any]], Activations]

_EVALUATION = {"train": False, "training": False, "is_training": False, "deterministic": True}
"""What `__call__` is given where it has a parameter of this name: the names that flax's own models use."""


@contextmanager
def inference(model: Any, forward: Forward, /) -> Iterator[Forward]:
    """Give `forward` compiled, in evaluation mode, with the model's parameters as they are at each call.

    The output is None, so that what no captured layer needs is not computed. An NNX model runs as a copy
    with `deterministic=True` and `use_running_average=True`. A Linen model is told `train=False`,
    `training=False` or `deterministic=True` where its `__call__` has such a parameter. A last batch with
    fewer samples is filled up, and what was filled in is cut off again (see actlens.padding).

    Raises:
        CaptureError: a Linen module without its variables.
    """
    check_model(model)
    if isinstance(model, nn.Module) and not is_bound(model):
        raise CaptureError.no_variables(type(model).__name__, "a batch", "record(module.bind(variables), …)")
    step = _nnx_step(model, forward) if isinstance(model, nnx.Module) else _linen_step(model, forward)
    filler = Filler()

    def run(*args: Any, **kwargs: Any) -> tuple[None, Activations]:
        call, arrays = _taken_apart(args, kwargs)
        return None, filler.run(lambda arrays: step(call, arrays), arrays)

    yield run


@dataclasses.dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of a call without their arrays; what is left (flags, names) is compiled for its value."""

    tree: Any
    fixed: tuple[Any, ...]

    def arguments(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the arrays in again."""
        rest = iter(arrays)
        leaves = [next(rest) if value is _ARRAY else value for value in self.fixed]
        given: tuple[tuple[Any, ...], dict[str, Any]] = jax.tree.unflatten(self.tree, leaves)
        return given


_ARRAY = "an array goes here"


def _taken_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Call, list[Any]]:
    leaves, tree = jax.tree.flatten((args, kwargs))
    leaves = [_array(leaf) for leaf in leaves]
    fixed = tuple(_ARRAY if hasattr(leaf, "shape") else leaf for leaf in leaves)
    return _Call(tree, fixed), [leaf for leaf in leaves if hasattr(leaf, "shape")]


def _nnx_step(model: nnx.Module, forward: Forward) -> _Step:
    def evaluate(call: _Call, graph: Any, state: Any, arrays: list[Any]) -> Activations:
        args, kwargs = call.arguments(arrays)
        copy = nnx.merge(graph, state)
        copy.eval()
        return forward(copy, *args, **kwargs)[1]

    compiled = jax.jit(evaluate, static_argnums=(0, 1))
    return lambda call, arrays: compiled(call, *nnx.split(model), arrays)


def _linen_step(model: nn.Module, forward: Forward) -> _Step:
    parameters = inspect.signature(type(model).__call__).parameters
    mode = {name: value for name, value in _EVALUATION.items() if name in parameters}
    plain, _, _ = unbound(model)

    def evaluate(call: _Call, variables: Any, rngs: Any, arrays: list[Any]) -> Activations:
        args, kwargs = call.arguments(arrays)
        return forward(plain.bind(variables, rngs=rngs), *args, **{**mode, **kwargs})[1]

    compiled = jax.jit(evaluate, static_argnums=0)
    return lambda call, arrays: compiled(call, *unbound(model)[1:], arrays)


def _array(leaf: Any) -> Any:
    """Give what a loader yields as what jax takes: tensors of other frameworks, and numbers, as numpy."""
    if isinstance(leaf, (jax.Array, np.ndarray)):
        return leaf
    is_number = isinstance(leaf, (int, float)) and not isinstance(leaf, bool)
    return np.asarray(leaf) if is_number or hasattr(leaf, "__array__") else leaf
