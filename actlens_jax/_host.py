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
    waits = {key: _start(key, array, index) for key, array in arrays.items()}
    return lambda: {key: wait() for key, wait in waits.items()}


def _start(key: str, array: Any, index: npt.NDArray[np.int64] | None) -> Callable[[], Host]:
    """Start the copy; on the CPU numpy's view of a jax array is the array's own memory, and is copied too."""
    _refuse(key, array)
    if index is not None:
        _check(index, array.shape[0])
        if isinstance(array, jax.Array) and not _on_host(array):
            array, index = _gathered(array, index)
    if isinstance(array, jax.Array):
        array.copy_to_host_async()
    if index is None:
        return lambda: np.array(array, order="C", copy=True)
    return lambda: np.ascontiguousarray(np.asarray(array)[index])


def _check(index: npt.NDArray[np.int64], count: int) -> None:
    if index.size and (index.min() < -count or index.max() >= count):
        raise IndexError(f"rows {index.min()} to {index.max()} of an array with {count} rows")


def _on_host(array: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in array.devices())


def _gathered(array: jax.Array, index: npt.NDArray[np.int64]) -> tuple[jax.Array, npt.NDArray[np.int64]]:
    """Pick rows on the device, up to a power of two of them: each other number would be compiled anew."""
    count = len(index)
    padded = np.zeros(1 << max(count - 1, 0).bit_length(), np.int64)
    padded[:count] = index
    return jnp.take(array, padded, axis=0), np.arange(count)


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
