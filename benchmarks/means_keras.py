"""Recording in Keras on TensorFlow, by every means. By hand: one sub-model in one tf.function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import saving

LAYERS = ("layer1", "layer2", "layer3", "layer4")
BARE = ()
SIZES = {"resnet18": (32, 64, 64, 3), "mlp": (256, 256)}  # one batch
LARGE = "actlens 256 MiB shards"


def batches(name: str, rows: int) -> Iterator:
    return saving.noise(SIZES[name], rows)


def model(name: str):
    """Give a model; Keras asks only at its import which backend it is to run on."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import models_keras

    return {"resnet18": models_keras.resnet18, "mlp": models_keras.mlp}[name]()


@saving.once
def _function(model, layers: tuple[str, ...]) -> Callable:
    import keras
    import tensorflow as tf

    callee = model
    if layers:
        callee = keras.Model(model.inputs, {name: model.get_layer(name).output for name in layers})
    return tf.function(lambda x: callee(x, training=False), reduce_retracing=True)


def bare(model, batches, _out: Path) -> None:
    step = _function(model, BARE)
    for batch in batches:
        step(batch).numpy()


def by_hand(model, batches, out: Path, *, sync: bool = False) -> None:
    saving.saved(batches, _function(model, LAYERS), out, sync=sync)


def actlens_record(model, batches, out: Path, **options) -> None:
    import actlens

    actlens.record(model, batches, out / "run", layers=list(LAYERS), progress=False, **options)


METHODS: dict[str, Callable] = {
    "bare": bare,
    "hand+np.save": by_hand,
    "hand+np.save+fsync": lambda *a: by_hand(*a, sync=True),
    "actlens": actlens_record,
    "actlens rename": lambda *a: actlens_record(*a, durability="rename"),
}
METHODS[LARGE] = lambda *a: actlens_record(*a, shard_bytes=256 << 20)
