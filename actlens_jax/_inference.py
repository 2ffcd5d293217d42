"""inference(): the fast form for record(): one compiled function, evaluation mode, no output."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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
from actlens_jax._programs import shapes_alike

_Step = Callable[[list[Any]], Activations]
_Steps = Callable[["_Call", list[Any]], _Step]

_EVALUATION = {
    "train": False,
    "is_train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
}
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
    steps = _nnx_steps(model, forward) if isinstance(model, nnx.Module) else _linen_steps(model, forward)
    filler = Filler()

    def run(*args: Any, **kwargs: Any) -> tuple[None, Activations]:
        call, arrays, numbers = _taken_apart(args, kwargs)
        step = steps(call, numbers)
        return None, filler.run(step, arrays, shapes_alike)

    yield run


@dataclasses.dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of a call without arrays and numbers; what is left (flags, names) is compiled in."""

    tree: Any
    fixed: tuple[Any, ...]

    def arguments(
        self, arrays: Sequence[Any], numbers: Sequence[Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the arrays and numbers in again."""
        rest = {_ARRAY: iter(arrays), _NUMBER: iter(numbers)}
        leaves = [next(rest[value]) if value in (_ARRAY, _NUMBER) else value for value in self.fixed]
        given: tuple[tuple[Any, ...], dict[str, Any]] = jax.tree.unflatten(self.tree, leaves)
        return given


class _Alike:
    """The graph of a model, to compare with another's: attributes need not be hashable for that."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def __hash__(self) -> int:
        return hash(type(self.graph))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike) and bool(self.graph == other.graph)


_ARRAY, _NUMBER = "<an array goes here>", "<a number goes here>"


def _taken_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Call, list[Any], list[Any]]:
    """Give a call, its arrays, and its numbers, which stay Python's own: they do not widen a dtype."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    leaves = [_array(leaf) for leaf in leaves]
    kinds = [_kind(leaf) for leaf in leaves]
    fixed = tuple(kind or leaf for kind, leaf in zip(kinds, leaves, strict=True))
    arrays, numbers = (
        [leaf for kind, leaf in zip(kinds, leaves, strict=True) if kind == one] for one in (_ARRAY, _NUMBER)
    )
    return _Call(tree, fixed), arrays, numbers


def _kind(leaf: Any) -> str:
    if hasattr(leaf, "shape"):
        return _ARRAY
    return _NUMBER if isinstance(leaf, (int, float)) and not isinstance(leaf, bool) else ""


def _nnx_steps(model: nnx.Module, forward: Forward) -> _Steps:
    def evaluate(
        call: _Call, graph: _Alike, state: Any, numbers: list[Any], arrays: list[Any]
    ) -> Activations:
        args, kwargs = call.arguments(arrays, numbers)
        copy = nnx.merge(graph.graph, state)
        copy.eval()
        return forward(copy, *args, **kwargs)[1]

    compiled = jax.jit(evaluate, static_argnums=(0, 1))

    def steps(call: _Call, numbers: list[Any]) -> _Step:
        graph, state = nnx.split(model)
        return partial(compiled, call, _Alike(graph), state, numbers)

    return steps


def _linen_steps(model: nn.Module, forward: Forward) -> _Steps:
    signature = inspect.signature(type(model).__call__)
    plain, _, _ = unbound(model)

    def evaluate(
        call: _Call, variables: Any, rngs: Any, numbers: list[Any], arrays: list[Any]
    ) -> Activations:
        args, kwargs = call.arguments(arrays, numbers)
        given = signature.bind_partial(None, *args, **kwargs).arguments
        mode = {name: value for name, value in _EVALUATION.items() if name in signature.parameters}
        mode = {name: value for name, value in mode.items() if name not in given}
        return forward(plain.bind(variables, rngs=rngs), *args, **kwargs, **mode)[1]

    compiled = jax.jit(evaluate, static_argnums=0)

    def steps(call: _Call, numbers: list[Any]) -> _Step:
        _, variables, rngs = unbound(model)
        return partial(compiled, call, variables, rngs, numbers)

    return steps


def _array(leaf: Any) -> Any:
    """Give what a loader yields as what jax takes, tensors of other frameworks too."""
    if isinstance(leaf, np.bool_):
        return bool(leaf)
    if isinstance(leaf, (jax.Array, np.ndarray)) or not hasattr(leaf, "__array__"):
        return leaf
    if hasattr(leaf, "detach"):
        leaf = leaf.detach()
    try:
        return np.asarray(leaf)
    except TypeError:  # a dtype that numpy lacks, such as PyTorch's bfloat16
        return jax.dlpack.from_dlpack(leaf, copy=True)
