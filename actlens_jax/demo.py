"""The demo's model and training in Flax NNX: what `actlens.demo.protocol` asks of a framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax  # type: ignore[import-untyped,unused-ignore]
from flax import nnx

LAYERS = ("conv1", "conv2", "fc1")
"""The hidden layers to record: the first convolution first, the last hidden layer last."""

_BATCH = 32
_RATE = 3e-3


class DigitNet(nnx.Module):
    """Two convolutions and two fully connected layers, 40 thousand weights."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.fc1 = nnx.Linear(512, 64, rngs=rngs)
        self.fc2 = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Give the logits (samples, 10) of images (samples, 8, 8, 1)."""
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))  # type: ignore[no-untyped-call]  # (samples, 4, 4, 16)
        x = nnx.relu(self.conv2(x))  # (samples, 4, 4, 32)
        x = nnx.relu(self.fc1(x.reshape(len(x), -1)))  # (samples, 64)
        return self.fc2(x)


def layout(images: npt.NDArray[np.float32]) -> jax.Array:
    """Give images (samples, 8, 8) as the model takes them: (samples, 8, 8, 1), channels last."""
    return jnp.asarray(images)[..., None]


def train(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, epochs: int, seed: int
) -> Iterator[tuple[int, DigitNet]]:
    """Train on images (samples, 8, 8) and labels (samples,); give the model after every epoch.

    The first pair is (0, the model before training). It is the same model each time, at another state.
    """
    x, y = layout(images), jnp.asarray(labels)
    model = DigitNet(nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adam(_RATE), wrt=nnx.Param)
    order = np.random.default_rng(seed)
    yield 0, model
    for epoch in range(1, epochs + 1):
        shuffled = order.permutation(len(x))
        for at in range(0, len(x), _BATCH):
            rows = shuffled[at : at + _BATCH]
            _step(model, optimizer, x[rows], y[rows])
        yield epoch, model


def accuracy(model: Any, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Give the share of images (samples, 8, 8) that the model names rightly."""
    said = np.asarray(nnx.jit(lambda model, x: model(x))(model, layout(images))).argmax(1)
    return float((said == labels).mean())


@nnx.jit
def _step(model: DigitNet, optimizer: nnx.Optimizer[DigitNet], x: jax.Array, y: jax.Array) -> None:
    def loss(model: DigitNet) -> jax.Array:
        losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(model(x), y)
        return losses.mean()

    optimizer.update(model, nnx.grad(loss)(model))
