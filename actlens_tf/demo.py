"""The demo's model and training in Keras: what `actlens.demo.protocol` asks of a framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

LAYERS = ("conv1", "conv2", "fc1")
"""The hidden layers to record: the first convolution first, the last hidden layer last."""

_BATCH = 32
_RATE = 3e-3


def layout(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give images (samples, 8, 8) as the model takes them: (samples, 8, 8, 1), channels last."""
    return np.ascontiguousarray(images)[..., None]


def train(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, epochs: int, seed: int
) -> Iterator[tuple[int, keras.Model]]:
    """Train on images (samples, 8, 8) and labels (samples,); give the model after every epoch.

    The first pair is (0, the model before training). It is the same model each time, at another state.
    """
    x = layout(images)
    model = _model(seed)
    model.compile(
        optimizer=keras.optimizers.Adam(_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = np.random.default_rng(seed)
    yield 0, model
    for epoch in range(1, epochs + 1):
        shuffled = order.permutation(len(x))
        model.fit(x[shuffled], labels[shuffled], batch_size=_BATCH, shuffle=False, verbose=0)
        yield epoch, model


def accuracy(model: Any, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Give the share of images (samples, 8, 8) that the model names rightly."""
    said = model.predict(layout(images), batch_size=len(images), verbose=0).argmax(1)
    return float((said == labels).mean())


def _model(seed: int) -> keras.Sequential:
    """Two convolutions and two fully connected layers, 40 thousand weights."""
    seeds = iter(range(seed, seed + 4))  # of our own, so that the caller's random numbers do not move on

    def kernel() -> Any:
        return keras.initializers.GlorotUniform(next(seeds))

    layers = keras.layers
    return keras.Sequential(  # sizes are of one sample
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", kernel_initializer=kernel(), name="conv1"),  # 8×8×16
            layers.ReLU(name="relu1"),
            layers.MaxPooling2D(name="pool1"),  # 4×4×16
            layers.Conv2D(32, 3, padding="same", kernel_initializer=kernel(), name="conv2"),  # 4×4×32
            layers.ReLU(name="relu2"),
            layers.Flatten(name="flatten"),  # 512
            layers.Dense(64, kernel_initializer=kernel(), name="fc1"),
            layers.ReLU(name="relu3"),
            layers.Dense(10, kernel_initializer=kernel(), name="fc2"),
        ]
    )
