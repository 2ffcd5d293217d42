"""The models of the benchmarks in Flax NNX, channels last, in evaluation mode."""

from __future__ import annotations

import jax
from flax import nnx


def conv(inside: int, outside: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inside, outside, (size, size), stride, padding=size // 2, use_bias=False, rngs=rngs)


def norm(features: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, use_running_average=True, rngs=rngs)


class Block(nnx.Module):
    """The basic block of a residual network (He et al. 2015)."""

    def __init__(self, inside: int, outside: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1, self.bn1 = conv(inside, outside, 3, stride, rngs), norm(outside, rngs)
        self.conv2, self.bn2 = conv(outside, outside, 3, 1, rngs), norm(outside, rngs)
        self.changes = inside != outside
        if self.changes:
            self.conv3, self.bn3 = conv(inside, outside, 1, stride, rngs), norm(outside, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        return nnx.relu(y + (self.bn3(self.conv3(x)) if self.changes else x))


class ResNet18(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1, self.bn1 = conv(3, 64, 7, 2, rngs), norm(64, rngs)
        self.layer1 = nnx.Sequential(Block(64, 64, 1, rngs), Block(64, 64, 1, rngs))
        self.layer2 = nnx.Sequential(Block(64, 128, 2, rngs), Block(128, 128, 1, rngs))
        self.layer3 = nnx.Sequential(Block(128, 256, 2, rngs), Block(256, 256, 1, rngs))
        self.layer4 = nnx.Sequential(Block(256, 512, 2, rngs), Block(512, 512, 1, rngs))
        self.fc = nnx.Linear(512, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc(self.stages(x)[-1].mean((1, 2)))

    def stages(self, x: jax.Array) -> list[jax.Array]:
        """Give what the four layers return: what a hand-written capture asks for."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        found = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            found.append(x)
        return found


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layer1 = nnx.Linear(256, 1024, rngs=rngs)
        self.layer2 = nnx.Linear(1024, 1024, rngs=rngs)
        self.layer3 = nnx.Linear(1024, 1024, rngs=rngs)
        self.layer4 = nnx.Linear(1024, 1024, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.stages(x)[-1])

    def stages(self, x: jax.Array) -> list[jax.Array]:
        """Give what the four layers return."""
        found = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            found.append(layer(x))
            x = nnx.relu(found[-1])
        return found
