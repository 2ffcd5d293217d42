"""The contract, held by the Flax NNX adapter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import actlens_jax
from actlens.backend import Backend
from actlens.testing import Array, BackendTests, Weights


class _Act(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x)


class _Boom(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        raise RuntimeError("boom")


class _MLP(nnx.Module):
    def __init__(self, w: Weights, *, drop: bool = False, fail: bool = False) -> None:
        self.first = _linear(w["w1"], w["b1"])
        self.act = _Act()
        if drop:
            self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.has_drop = drop
        self.last = _Boom() if fail else _linear(w["w2"], w["b2"])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.act(self.first(x))
        return self.last(self.drop(x) if self.has_drop else x)


class _Shared(nnx.Module):
    def __init__(self, w: Weights) -> None:
        self.dense = _linear(w["w"], w["b"])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.dense(x))


class _Parts(nnx.Module):
    def __init__(self, w: Weights) -> None:
        self.w = nnx.Param(jnp.asarray(w["w"]))

    def __call__(self, x: jax.Array) -> dict[str, Any]:
        return {"h": x @ self.w[...], "pair": (x @ self.w[...] + 1, None)}


class _Structured(nnx.Module):
    def __init__(self, w: Weights) -> None:
        self.parts = _Parts(w)

    def __call__(self, x: jax.Array) -> dict[str, Any]:
        return self.parts(x)


class _Images(nnx.Module):
    def __init__(self, w: Weights) -> None:
        self.conv = nnx.Conv(2, 3, (3, 3), padding="VALID", rngs=nnx.Rngs(0))
        self.conv.kernel.set_value(jnp.asarray(w["kernel"]))
        assert self.conv.bias is not None
        self.conv.bias.set_value(jnp.asarray(w["bias"]))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(x)


class TestNNX(BackendTests):
    """NNX modules."""

    backend: Backend = actlens_jax
    image_axes = ("sample", "height", "width", "channel")

    def mlp(self, weights: Weights) -> Any:
        return _MLP(weights)

    def shared(self, weights: Weights) -> Any:
        return _Shared(weights)

    def structured(self, weights: Weights) -> Any:
        return _Structured(weights)

    def conv(self, weights: Weights) -> Any:
        return _Images(weights)

    def dropout(self, weights: Weights) -> Any:
        model = _MLP(weights, drop=True)
        model.train()
        return model

    def failing(self, weights: Weights) -> Any:
        return _MLP(weights, fail=True)

    def array(self, values: Array) -> Any:
        return jnp.array(values)

    def images(self, values: Array) -> Any:
        return jnp.array(values)

    def numpy(self, array: Any) -> Array:
        return np.asarray(array)

    def state(self, model: Any) -> Any:
        modules = [module for _, module in nnx.iter_modules(model)]
        return (
            [(str(path), _bytes(leaf)) for path, leaf in nnx.to_flat_state(nnx.state(model))],
            [sorted(vars(module)) for module in modules],
            [repr(vars(module)["_pytree__nodes"]) for module in modules],
            [getattr(module, "deterministic", None) for module in modules],
            [type(module).__call__ for module in modules if callable(module)],
        )


def _bytes(variable: Any) -> bytes:
    value = variable.get_value()
    keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if keys else value).tobytes()


def _linear(kernel: Array, bias: Array) -> nnx.Linear:
    layer = nnx.Linear(*kernel.shape, rngs=nnx.Rngs(0))
    layer.kernel.set_value(jnp.asarray(kernel))
    assert layer.bias is not None
    layer.bias.set_value(jnp.asarray(bias))
    return layer
