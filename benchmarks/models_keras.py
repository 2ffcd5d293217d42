"""The models of the benchmarks in Keras, channels last, functional."""

from __future__ import annotations

import keras
from keras import layers as kl


def _conv(x, features: int, size: int, stride: int, *, relu: bool = True):
    if size > 1:
        x = kl.ZeroPadding2D(size // 2)(x)
    x = kl.BatchNormalization()(kl.Conv2D(features, size, stride, use_bias=False)(x))
    return kl.ReLU()(x) if relu else x


def _block(x, features: int, stride: int, name: str | None = None):
    """The basic block of a residual network (He et al. 2015)."""
    y = _conv(_conv(x, features, 3, stride), features, 3, 1, relu=False)
    if x.shape != y.shape:
        x = _conv(x, features, 1, stride, relu=False)
    return kl.ReLU(name=name)(kl.Add()([y, x]))


def resnet18() -> keras.Model:
    inputs = keras.Input((64, 64, 3))
    x = _conv(inputs, 64, 7, 2)
    x = kl.MaxPooling2D(3, 2)(kl.ZeroPadding2D(1)(x))
    for at, features in enumerate((64, 128, 256, 512), start=1):
        x = _block(_block(x, features, 1 if at == 1 else 2), features, 1, f"layer{at}")
    return keras.Model(inputs, kl.Dense(1000)(kl.GlobalAveragePooling2D()(x)))


def mlp() -> keras.Model:
    x = inputs = keras.Input((256,))
    for at in range(1, 5):
        x = kl.ReLU()(kl.Dense(1024, name=f"layer{at}")(x))
    return keras.Model(inputs, x)
