"""inference(): the fast form for record(): one compiled function, evaluation mode, no output."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from actlens.activations import Activations
from actlens.backend import Forward
from actlens.errors import CaptureError
from actlens.padding import Filled, Filler
from actlens_jax._linen import is_bound, unbound
from actlens_jax._models import check_model

_EVALUATION = {"train": False, "training": False, "is_training": False, "deterministic": True}
"""What `__call__` is given where it has a parameter of this name: the names that flax's own models use."""


@contextmanager
def inference(model: Any, forward: Forward, /) -> Iterator[Forward]:
    """Give `forward` compiled, in evaluation mode, with the model's parameters as they are at each call.

    The output is None, so that what no captured layer needs is not computed. An NNX model runs as a copy
    with `deterministic=True` and `use_running_average=True`. A Linen model is told `train=False`,
    `training=False` or `deterministic=True` where its `__call__` has such a parameter. A last batch with
    fewer samples is filled up, and the copies are cut off again (see actlens.padding).

    Raises:
        CaptureError: a Linen module without its variables.
    """
    check_model(model)
    if isinstance(model, nn.Module) and not is_bound(model):
        raise CaptureError.no_variables(type(model).__name__, "a batch", "record(module.bind(variables), …)")
    step = _nnx_step(model, forward) if isinstance(model, nnx.Module) else _linen_step(model, forward)
    filler = Filler()

    def run(*args: Any, **kwargs: Any) -> tuple[None, Activations]:
        leaves, tree = jax.tree.flatten(jax.tree.map(_array, (args, kwargs)))
        filled = filler.fill(leaves)
        if filled is None:
            return None, step(*jax.tree.unflatten(tree, leaves))
        own, others = (step(*jax.tree.unflatten(tree, way)) for way in (filled.own, filled.others))
        acts = _cut(own, filled)
        if not _alike(acts, _cut(others, filled)):  # the model mixes the samples of a batch
            return None, step(*jax.tree.unflatten(tree, leaves))
        return None, acts

    yield run


def _nnx_step(model: nnx.Module, forward: Forward) -> Callable[..., Activations]:
    def evaluate(graph: Any, state: Any, args: Any, kwargs: Any) -> Activations:
        copy = nnx.merge(graph, state)
        copy.eval()
        return forward(copy, *args, **kwargs)[1]

    compiled = jax.jit(evaluate, static_argnums=0)
    return lambda args, kwargs: compiled(*nnx.split(model), args, kwargs)


def _linen_step(model: nn.Module, forward: Forward) -> Callable[..., Activations]:
    parameters = inspect.signature(type(model).__call__).parameters
    mode = {name: value for name, value in _EVALUATION.items() if name in parameters}
    plain, _, _ = unbound(model)

    def evaluate(variables: Any, rngs: Any, args: Any, kwargs: Any) -> Activations:
        told = {name: value for name, value in mode.items() if name not in kwargs}
        return forward(plain.bind(variables, rngs=rngs), *args, **kwargs, **told)[1]

    compiled = jax.jit(evaluate)

    def step(args: Any, kwargs: Any) -> Activations:
        _, variables, rngs = unbound(model)
        acts: Activations = compiled(variables, rngs, args, kwargs)
        return acts

    return step


def _array(leaf: Any) -> Any:
    """Give what a loader yields as what jax takes; tensors of other frameworks by way of numpy."""
    if isinstance(leaf, (jax.Array, np.ndarray)) or not hasattr(leaf, "__array__"):
        return leaf
    return np.asarray(leaf)


def _cut(acts: Activations, filled: Filled) -> Activations:
    size = next(len(full) for full in filled.own if len(full) != filled.rows) if filled.own else 0
    rows = {key: array[: filled.rows] if len(array) == size else array for key, array in acts.items()}
    return Activations(rows, acts.axes, acts.report)


def _alike(a: Activations, b: Activations) -> bool:
    return all(
        bool(jnp.array_equal(a[key], b[key], equal_nan=jnp.issubdtype(a[key].dtype, jnp.inexact)))
        for key in a
    )
