"""Models and helpers that the Keras tests share."""

import keras
import ml_dtypes
import numpy as np
import pytest

from actlens._capture import capture

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


def captured(model, layers, *args, **kwargs):
    """Key → numpy, of one forward."""
    _, acts = capture(model, layers)(*args, **kwargs)
    return {key: numpy(value) for key, value in acts.items()}


def functional():
    """A shared layer around a nested sequential model."""
    inner = keras.Sequential(
        [keras.Input((4,)), L.Dense(3, name="in1"), L.Dense(4, name="in2")], name="inner"
    )
    shared = L.Dense(4, name="shared")
    x = keras.Input((4,))
    return keras.Model(x, L.Dense(2, name="head")(shared(inner(shared(x)))))


class Block(L.Layer):
    def __init__(self, units):
        super().__init__()
        self.dense = L.Dense(units)
        self.norm = L.LayerNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(self.dense.compute_output_shape(shape))

    def call(self, x):
        return self.norm(self.dense(x))


class Subclassed(keras.Model):
    """Layers in attributes, lists, tuples and dicts, the same one twice, and a model in the model."""

    def __init__(self):
        super().__init__()
        self.first = L.Dense(4)
        self.blocks = [Block(4), Block(4)]
        self.heads = {"a": L.Dense(2), "b.c": L.Dense(3)}
        self.pair = (L.Dense(4), L.Dense(4))
        self.enc = functional()
        self.again = self.first

    def call(self, x):
        x = self.again(self.first(x))
        for layer in (*self.blocks, *self.pair):
            x = layer(x)
        return {"a": self.heads["a"](x), "b": self.heads["b.c"](x), "enc": self.enc(x)}


def called(model, *shape):
    """The model, built by a call."""
    model(images(*shape))
    return model
