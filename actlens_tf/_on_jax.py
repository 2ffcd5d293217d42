"""Keras on JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.experimental.sparse
import jax.extend.core
import jax.numpy as jnp
import keras
import numpy as np

from actlens.backend import Forward
from actlens_tf._activations import flattened, rebuilt
from actlens_tf._jitted import Jitted, traced_shapes
from actlens_tf._naming import places

TRACES = True
_state: Callable[..., object] = getattr(jax.extend.core, "get_opaque_trace_state", None) or (
    jax.core.get_opaque_trace_state  # where it was in older versions
)


def version() -> str:
    """Give the version of JAX."""
    return str(jax.__version__)


def context() -> object:
    """Give the trace that runs now."""
    return _state(convention="flax")


def tracing() -> bool:
    """Say whether new arrays are tracers."""
    return isinstance(jnp.zeros(()) + 0, jax.core.Tracer)


def owned(array: Any) -> Any:
    """Give an array; only variables can change."""
    return array.value if isinstance(array, keras.Variable) else array


def unusual(array: Any) -> tuple[str, str] | None:
    """See Framework."""
    if isinstance(array, jax.experimental.sparse.JAXSparse):
        return "a sparse array", "Give it a transform: layers={'…': lambda a: a.todense()}."
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return "random keys", "Give it a transform: layers={'…': jax.random.key_data}."
    return None


def converted(array: Any) -> Any:
    """See Framework."""
    return jnp.asarray(array) if isinstance(array, np.ndarray) and array.dtype.kind in "biufcV" else array


def compiled(step: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Give the step under jax.jit where every layer can be jitted."""
    can = all(getattr(place.layer, "supports_jit", True) for place in places(model))
    return Jitted(step) if can else step


def weights(variables: list[Any]) -> list[Any]:
    """Give all values: a jitted function would bake them in."""
    return [variable.value for variable in variables]


def dry_run(run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Trace with shapes only."""
    traced_shapes(run, args, kwargs)


def kept_modes(model: Any) -> Any:
    """Do nothing: Keras passes the mode as an argument."""
    del model
    return contextlib.nullcontext()


def opaque(forward: Forward) -> Forward:
    """Give it as it is: JAX traces calls, not sources."""
    return forward


def register(cls: type) -> None:
    """Register a pytree, so that the names of the axes survive jax.jit and its kind."""
    jax.tree_util.register_pytree_node(cls, flattened, rebuilt)
