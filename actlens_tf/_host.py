"""fetch(): arrays of whichever framework Keras and its data pipelines use, to numpy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import keras
import numpy as np
import numpy.typing as npt

from actlens.errors import UncapturableValue

Host = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

_HOMES = {"tensorflow": "_host_tensorflow", "jax": "_host_jax", "jaxlib": "_host_jax", "torch": "_host_torch"}


class Home(Protocol):
    """A module that copies the arrays of one framework."""

    def start(self, key: str, array: Any, rows: Rows | None) -> Callable[[], Host]:
        """Start the copy of an array; give what waits for it."""


def fetch(arrays: Mapping[str, Any], /, rows: Rows | None = None) -> Callable[[], dict[str, Host]]:
    """Start the copy of arrays to the host, of some rows only where `rows` is given; return what waits.

    Rows are picked on the device. Texts of TensorFlow arrive as str.

    Raises:
        UncapturableValue: a symbol of a graph, a ragged or sparse tensor, or a dtype that numpy lacks.
    """
    waits = {key: _start(key, array, rows) for key, array in arrays.items()}
    return lambda: {key: wait() for key, wait in waits.items()}


def home_of(value: Any) -> str | None:
    """Give the module here that copies a value, by the ancestry of its class; None where there is none."""
    roots = [base.__module__.partition(".")[0] for base in type(value).__mro__]
    return next((_HOMES[root] for root in roots if root in _HOMES), None)


def _start(key: str, array: Any, rows: Rows | None) -> Callable[[], Host]:
    if isinstance(array, keras.Variable):
        array = array.value
    if isinstance(array, keras.KerasTensor):
        raise UncapturableValue.of(
            key,
            "a KerasTensor, a symbol without values",
            "Call the forward with arrays, not with keras.Input.",
        )
    if isinstance(array, np.ndarray):
        copy = np.array(array if rows is None else array[rows], order="C")
        return lambda: copy
    home = home_of(array)
    if home is None:
        raise UncapturableValue.of(
            key, f"a {type(array).__module__}.{type(array).__qualname__}", "Turn it into an array first."
        )
    return cast("Home", importlib.import_module(f"actlens_tf.{home}")).start(key, array, rows)
