"""Arrays of JAX to numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from actlens.errors import UncapturableValue

Host = npt.NDArray[Any]


def start(key: str, array: Any, rows: npt.NDArray[np.int64] | None) -> Callable[[], Host]:
    """Pick the rows and start the copy."""
    if isinstance(array, jax.core.Tracer):
        raise UncapturableValue.of(
            key,
            "a tracer of a jax transformation",
            "Return it from the transformed function, write it outside.",
        )
    if isinstance(array, jax.experimental.sparse.JAXSparse):
        raise UncapturableValue.of(key, "a sparse array", "Make it dense first: array.todense().")
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise UncapturableValue.of(key, "random keys", "Take their numbers: jax.random.key_data(keys).")
    if not array.is_fully_addressable:
        raise UncapturableValue.of(
            key,
            "an array that is spread over several processes",
            "Gather it first: jax.experimental.multihost_utils.process_allgather(array, tiled=True).",
        )
    on_host = all(device.platform == "cpu" for device in array.devices())
    if rows is not None and not on_host:
        count = len(rows)
        # each new number of rows would be compiled anew
        padded = np.zeros(1 << max(count - 1, 0).bit_length(), np.int64)
        padded[:count] = rows
        array, rows = jnp.take(array, padded, axis=0), np.arange(count)
    array.copy_to_host_async()
    return lambda: np.array(np.asarray(array) if rows is None else np.asarray(array)[rows], order="C")
