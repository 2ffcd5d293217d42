"""Keras on TensorFlow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from actlens.backend import Forward

TRACES = True
_EAGER = "eager"
_VECTORIZED = re.compile(r"loop_body(_\d+)?")


def version() -> str:
    """Give the version of TensorFlow."""
    return str(tf.__version__)


def context() -> object:
    """Give the graph that operations go to now, and how deep in vectorized loops.

    tf.vectorized_map puts what it vectorizes into the graph around it, as one row: only its name tells.
    """
    if tf.executing_eagerly():
        return _EAGER
    scopes = tf.get_current_name_scope().split("/")
    loops = sum(bool(_VECTORIZED.fullmatch(scope)) for scope in scopes)
    return id(tf.compat.v1.get_default_graph()), loops


def tracing() -> bool:
    """Say whether operations go to a graph."""
    return not tf.executing_eagerly()


def owned(array: Any) -> Any:
    """Give a tensor; only variables can change."""
    if isinstance(array, keras.Variable):
        array = array.value
    return tf.identity(array) if isinstance(array, tf.Variable) else array


def unusual(array: Any) -> tuple[str, str] | None:
    """See Framework."""
    if isinstance(array, tf.RaggedTensor):
        return "a ragged tensor", "Give it a transform: layers={'…': lambda t: t.to_tensor()}."
    if isinstance(array, tf.SparseTensor):
        return "a sparse tensor", "Give it a transform: layers={'…': tf.sparse.to_dense}."
    if array.shape.rank is None:
        return "a tensor of unknown rank", "Give it one in the model: tf.ensure_shape(tensor, …)."
    return None


def converted(array: Any) -> Any:
    """See Framework."""
    return tf.convert_to_tensor(array) if isinstance(array, np.ndarray) else array


def compiled(step: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Give one tf.function; weights are read by reference, and a second shape of batch makes it general."""
    del model
    function: Callable[..., Any] = tf.function(step, reduce_retracing=True, autograph=False)
    return function


def weights(variables: list[Any]) -> list[Any]:
    """Give nothing: a tf.function sees the variables themselves."""
    del variables
    return []


def dry_run(run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Trace into a graph that never runs."""

    def traced(*args: Any, **kwargs: Any) -> None:
        run(*args, **kwargs)

    tf.function(traced, autograph=False).get_concrete_function(*args, **kwargs)


def kept_modes(model: Any) -> Any:
    """Do nothing: Keras passes the mode as an argument."""
    del model
    return contextlib.nullcontext()


def opaque(forward: Forward) -> Forward:
    """Keep AutoGraph from rewriting it."""
    function: Forward = tf.autograph.experimental.do_not_convert(forward)
    return function


def register(cls: type) -> None:
    """Do nothing: tf.nest takes a dict of any class."""
    del cls
