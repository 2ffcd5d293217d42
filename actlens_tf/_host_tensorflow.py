"""Tensors of TensorFlow to numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from actlens.errors import UncapturableValue

Host = npt.NDArray[Any]

_HELD_ONLY = {"float8_e4m3fnuz", "float8_e5m2fnuz"}  # TensorFlow has such tensors, and no gather for them


def start(key: str, array: Any, rows: npt.NDArray[np.int64] | None) -> Callable[[], Host]:
    """Pick the rows on the device; the copy comes when it is waited for, since tensors do not change."""
    if isinstance(array, tf.RaggedTensor):
        raise UncapturableValue.of(key, "a ragged tensor", "Pad it first: tensor.to_tensor().")
    if isinstance(array, (tf.SparseTensor, tf.IndexedSlices)):
        raise UncapturableValue.of(key, "a sparse tensor", "Make it dense first: tf.sparse.to_dense(tensor).")
    if not tf.is_tensor(array):
        raise UncapturableValue.of(key, f"a {type(array).__name__}", "Turn it into a tensor first.")
    if not hasattr(array, "numpy"):
        raise UncapturableValue.of(
            key, "a symbolic tensor of a graph", "Return it from the tf.function, and write it outside."
        )
    tensor = tf.convert_to_tensor(array)
    if tensor.dtype in {tf.variant, tf.resource}:
        raise UncapturableValue.of(key, f"a tensor of {tensor.dtype.name}", "Turn it into numbers first.")
    if rows is not None and tensor.dtype.name in _HELD_ONLY:
        return lambda: _numpy(key, tensor)[rows]
    picked = tensor if rows is None else tf.gather(tensor, rows)
    return lambda: _numpy(key, picked)


def _numpy(key: str, tensor: Any) -> Host:
    host = np.asarray(tensor.numpy(), order="C")  # .numpy() is a copy already
    if tensor.dtype != tf.string:
        return host
    try:
        texts = [text.decode() for text in host.ravel()]
    except UnicodeDecodeError as error:
        raise UncapturableValue.of(
            key, "a string tensor that is not UTF-8", "Decode it first: tf.io.decode_raw(tensor, tf.uint8)."
        ) from error
    return np.array(texts, dtype=np.str_).reshape(host.shape)
