"""Models and helpers that the Keras tests share."""

import keras
import ml_dtypes
import numpy as np
import pytest

L = keras.layers
BACKEND = keras.backend.backend()


def only_on(*backends):
    return pytest.mark.skipif(BACKEND not in backends, reason=f"about Keras on {' and '.join(backends)}")


def dense(name, weight, bias=None):
    layer = L.Dense(weight.shape[1], use_bias=bias is not None, name=name)
    layer.build((None, weight.shape[0]))
    layer.set_weights([weight] if bias is None else [weight, bias])
    return layer


def images(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def array(values):
    if BACKEND == "torch":
        import torch

        bits = {ml_dtypes.bfloat16: torch.bfloat16, ml_dtypes.float8_e4m3fn: torch.float8_e4m3fn}
        kind = bits.get(values.dtype.type)
        if kind is None:
            return torch.from_numpy(np.array(values))
        as_ints = values.view(f"u{values.dtype.itemsize}").astype(f"i{values.dtype.itemsize}")
        return torch.from_numpy(as_ints).view(kind)
    if BACKEND == "jax":
        import jax.numpy as jnp

        return jnp.array(values)
    import tensorflow as tf

    return tf.constant(values)


def numpy(value):
    if BACKEND == "torch":
        value = value.detach().cpu()
        return np.array(value.float().numpy() if value.dtype.itemsize < 4 else value.numpy())
    return np.array(value.numpy() if BACKEND == "tensorflow" else np.asarray(value))


def everything(model):
    """The model and every layer in it, once."""
    return model._flatten_layers()


def state(model):
    """All that a capture could leave on a model."""
    per_layer = [
        (
            layer.name,
            sorted(vars(layer)),
            "call" in vars(layer),
            layer.trainable,
            layer.built,
            len(layer._inbound_nodes),
            len(layer._outbound_nodes),
            getattr(layer, "training", None),
        )
        for layer in everything(model)
    ]
    return per_layer, [numpy(variable.value).tobytes() for variable in model.variables]
