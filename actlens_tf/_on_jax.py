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
from actlens_tf._naming import places

NOT_TRACEABLE: tuple[type[Exception], ...] = (
    jax.errors.JAXTypeError,  # `if array:`, numpy on a tracer
    jax.errors.JAXIndexError,  # a mask whose number of rows depends on values
)


def version() -> str:
    """Give the version of JAX."""
    return str(jax.__version__)


def context() -> object:
    """Give the trace that runs now."""
    return jax.extend.core.get_opaque_trace_state(convention="flax")


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
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return "random keys", "Give it a transform: layers={'…': jax.random.key_data}."
    return None


def converted(array: Any) -> Any:
    """See Framework."""
    return jnp.asarray(array) if isinstance(array, np.ndarray) and array.dtype.kind in "biufcV" else array


def compiled(step: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Give jax.jit where every layer can be jitted; arguments that are not arrays are baked in."""
    if not all(getattr(place.layer, "supports_jit", True) for place in places(model)):
        return step
    jitted: dict[object, Callable[..., Any]] = {}

    def run(values: Any, overlay: Any, args: Any, kwargs: Any) -> Any:
        leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
        arrays = {at: leaf for at, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
        fixed = {at: leaf for at, leaf in enumerate(leaves) if at not in arrays}
        try:
            key = (tree, *((at, type(leaf), leaf) for at, leaf in fixed.items()))
            function = jitted.get(key)
        except TypeError:  # an argument that cannot be compared
            return step(values, overlay, args, kwargs)
        if function is None:

            def on_arrays(values: Any, overlay: Any, arrays: dict[int, Any]) -> Any:
                both = fixed | arrays
                args, kwargs = jax.tree_util.tree_unflatten(tree, [both[at] for at in range(len(both))])
                return step(values, overlay, args, kwargs)

            function = jitted[key] = jax.jit(on_arrays)
        return function(values, overlay, arrays)

    return run


def weights(variables: list[Any]) -> list[Any]:
    """Give all values: a jitted function would bake them in."""
    return [variable.value for variable in variables]


def dry_run(run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Trace with shapes only."""
    leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
    arrays = {at: leaf for at, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}

    def traced(arrays: dict[int, Any]) -> None:
        both = dict(enumerate(leaves)) | arrays
        args, kwargs = jax.tree_util.tree_unflatten(tree, [both[at] for at in range(len(both))])
        run(*args, **kwargs)

    jax.eval_shape(traced, arrays)


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
