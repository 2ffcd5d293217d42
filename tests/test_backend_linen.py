"""The contract, held by the Flax Linen adapter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import actlens_jax
from actlens.backend import Backend
from actlens.testing import Array, BackendTests, Weights


class _Act(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.relu(x)


class _MLP(nn.Module):
    fail: bool = False
    drop: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Dense(8, name="first")(x)
        x = _Act(name="act")(x)
        if self.drop:
            x = nn.Dropout(0.5, name="drop")(x, deterministic=not train)
        if self.fail:
            return _Boom(name="last")(x)
        return nn.Dense(3, name="last")(x)


class _Boom(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        raise RuntimeError("boom")


class _Shared(nn.Module):
    def setup(self) -> None:
        self.dense = nn.Dense(4)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.dense(x))


class _Parts(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, Any]:
        w = self.param("w", nn.initializers.ones, (4, 4))
        return {"h": x @ w, "pair": (x @ w + 1, None)}


class _Structured(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, Any]:
        return _Parts(name="parts")(x)


class _Images(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(3, (3, 3), padding="VALID", name="conv")(x)


class TestLinen(BackendTests):
    """Bound Linen modules."""

    backend: Backend = actlens_jax
    image_axes = ("sample", "height", "width", "channel")

    def mlp(self, weights: Weights) -> Any:
        return _MLP().bind(_mlp_variables(weights))

    def shared(self, weights: Weights) -> Any:
        return _Shared().bind(_params(dense=(weights["w"], weights["b"])))

    def structured(self, weights: Weights) -> Any:
        return _Structured().bind({"params": {"parts": {"w": jnp.asarray(weights["w"])}}})

    def conv(self, weights: Weights) -> Any:
        return _Images().bind(_params(conv=(weights["kernel"], weights["bias"])))

    def dropout(self, weights: Weights) -> Any:
        return _MLP(drop=True).bind(_mlp_variables(weights))

    def failing(self, weights: Weights) -> Any:
        return _MLP(fail=True).bind(_mlp_variables(weights))

    def array(self, values: Array) -> Any:
        return jnp.array(values)

    def images(self, values: Array) -> Any:
        return jnp.array(values)

    def numpy(self, array: Any) -> Array:
        return np.asarray(array)

    def state(self, model: Any) -> Any:
        assert model.scope is not None
        return (
            jax.tree.map(lambda leaf: np.asarray(leaf).tobytes(), model.variables),
            sorted(vars(model)),
            repr(vars(model.scope)["mutable"]),
        )


def _params(**layers: tuple[Array, Array]) -> dict[str, Any]:
    return {
        "params": {
            name: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
            for name, (kernel, bias) in layers.items()
        }
    }


def _mlp_variables(w: Weights) -> dict[str, Any]:
    return _params(first=(w["w1"], w["b1"]), last=(w["w2"], w["b2"]))
