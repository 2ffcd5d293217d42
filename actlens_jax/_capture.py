"""capture(): one call of a Linen or an NNX module, heard."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from flax import nnx

from actlens.activations import Activations, Selector
from actlens.backend import Forward
from actlens.errors import CaptureError
from actlens_jax._linen import LinenEars, is_bound, unbound
from actlens_jax._models import check_model
from actlens_jax._nnx import NNXEars


def capture(model: Any, select: Selector, /, *, stop: bool = False) -> Forward:
    """Give a forward that calls the model once, unchanged, and captures what `select` asks for.

    An NNX module or a bound Linen module is called as it is: `forward(x)`. Inside `jax.jit` or `jax.grad`,
    where the model is an argument, give it first: `forward(model, x)`. A Linen module that is not bound
    takes what its `apply` takes: `forward(variables, x, rngs=…, mutable=…, method=…)`.

    With `stop` the output is None: under `jax.jit`, what no layer needs is then not computed.

    Raises:
        UnsupportedModel: this is no module.
    """
    check_model(model)
    call = _nnx(model, select) if isinstance(model, nnx.Module) else _linen(model, select)
    if not stop:
        return call

    def without_output(*args: Any, **kwargs: Any) -> tuple[None, Activations]:
        return None, call(*args, **kwargs)[1]

    return without_output


def _nnx(model: nnx.Module, select: Selector) -> Forward:
    ears = NNXEars(select)

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        callee, args = _given(model, args, kwargs)
        return ears.call(callee, args, kwargs)

    return forward


def _linen(model: nn.Module, select: Selector) -> Forward:
    ears = LinenEars(select)

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        callee, args = _given(model, args, kwargs)
        if is_bound(callee):
            plain, variables, rngs = unbound(callee)
            return ears.apply(plain, variables, args, kwargs, rngs=rngs)
        variables, *rest = args or (None,)
        if not isinstance(variables, Mapping):
            name = type(model).__name__
            raise CaptureError.no_variables(name, _described(variables), "forward(variables, x)")
        return ears.apply(callee, variables, tuple(rest), kwargs)

    return forward


def _given(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    """Give the module that is called: the first argument where it is one of the same class."""
    if not args or type(args[0]) is not type(model):
        return model, args
    if isinstance(model, nnx.Module) and not _takes(model, args[1:], kwargs):
        return model, args  # a model whose own first argument is another one of its class
    return args[0], args[1:]


def _takes(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether the model can be called with these arguments, as far as their number and names go."""
    try:
        inspect.signature(type(model).__call__).bind(model, *args, **kwargs)
    except TypeError:
        return False
    return True


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
