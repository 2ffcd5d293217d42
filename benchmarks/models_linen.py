"""The models of the benchmarks in Flax Linen, channels last, in evaluation mode."""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

conv = partial(nn.Conv, use_bias=False)
norm = partial(nn.BatchNorm, use_running_average=True)


class Block(nn.Module):
    """The basic block of a residual network (He et al. 2015)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(norm()(conv(self.features, (3, 3), self.stride, padding=1)(x)))
        y = norm()(conv(self.features, (3, 3), padding=1)(y))
        if x.shape != y.shape:
            x = norm()(conv(self.features, (1, 1), self.stride)(x))
        return nn.relu(y + x)


class ResNet18(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(norm()(conv(64, (7, 7), 2, padding=3)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for at, features in enumerate((64, 128, 256, 512), start=1):
            stage = nn.Sequential(
                [Block(features, 1 if at == 1 else 2), Block(features, 1)], name=f"layer{at}"
            )
            x = stage(x)
        return nn.Dense(1000)(x.mean((1, 2)))


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for at in range(1, 5):
            x = nn.relu(nn.Dense(1024, name=f"layer{at}")(x))
        return x
