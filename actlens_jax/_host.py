"""fetch(): jax arrays to numpy, without waiting where there is a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from actlens.errors import UncapturableValue

Host = npt.NDArray[Any]


def fetch(
    arrays: Mapping[str, Any], /, rows: npt.NDArray[np.int64] | None = None
) -> Callable[[], dict[str, Host]]:
    """Start the copy of arrays to the host, of some rows only where `rows` is given; return what waits.

    Rows are picked on the device. Sharded arrays are put together.

    Raises:
        UncapturableValue: a tracer, a key array, a deleted buffer, or an array with parts on other hosts.
        IndexError: a row that the array does not have.
    """
    index = None if rows is None else np.asarray(rows, dtype=np.int64)
    started = {key: _start(key, array, index) for key, array in arrays.items()}
    return lambda: {key: _owned(array) for key, array in started.items()}


def _start(key: str, array: Any, index: npt.NDArray[np.int64] | None) -> Any:
    _refuse(key, array)
    if not isinstance(array, jax.Array):
        return array if index is None else array[index]
    if index is not None:
        array = _rows(array, index)
    array.copy_to_host_async()
    return array


def _rows(array: jax.Array, index: npt.NDArray[np.int64]) -> jax.Array:
    count = array.shape[0]
    if index.size and (index.min() < -count or index.max() >= count):
        raise IndexError(f"rows {index.min()} to {index.max()} of an array with {count} rows")
    # on the CPU a copy of all costs less than the compilation of a gather for each number of rows
    if all(device.platform == "cpu" for device in array.devices()):
        return jnp.asarray(np.asarray(array)[index])
    return array[index]


def _owned(array: Any) -> Host:
    """Give a copy: on the CPU numpy's view of a jax array is the array's own memory."""
    host = np.asarray(array)
    return np.array(host, order="C", copy=True)


def _refuse(key: str, array: Any) -> None:
    if isinstance(array, jax.core.Tracer):
        raise UncapturableValue.of(
            key,
            "a value that is still being traced",
            "Return the activations from the jitted function, and write them outside of it.",
        )
    if not isinstance(array, jax.Array):
        return
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise UncapturableValue.of(
            key,
            f"random number keys ({array.dtype})",
            "Give it a transform: layers={'…': jax.random.key_data}.",
        )
    if array.is_deleted():
        raise UncapturableValue.of(
            key,
            "an array whose memory was given away (donate_argnums)",
            "Write the activations before the step that takes the memory.",
        )
    if not array.is_fully_addressable:
        raise UncapturableValue.of(
            key,
            f"an array with parts on other hosts ({array.sharding})",
            "Gather it first: jax.experimental.multihost_utils.process_allgather(acts, tiled=True).",
        )
