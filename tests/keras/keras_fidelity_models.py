"""Ten architectures in Keras, small: functional, sequential and subclassed, nested in each other.

A layer of our own says by PARTS what it holds, by `definition` what comes out of it, from its captured input
and the captured layers inside, and by `between` what goes into a layer where an operation that is no layer
comes before it.
"""

from __future__ import annotations

from typing import Any

import fidelity_reference as ref
import keras
import numpy as np
from fidelity_check import Array, Call, Oracle
from keras import ops
from keras_models import L, numpy

WIDTH, HEADS, TOKENS, WORDS = 8, 2, 6, 11
IMAGE, PICTURE = (10, 8, 3), (12, 8, 3)


def w(variable: Any) -> Any:
    return None if variable is None else numpy(variable.value)


class Gelu(L.Layer):
    """The approximation; what Keras calls "gelu" is exact."""

    def call(self, x):
        return ops.gelu(x, approximate=True)

    def definition(self, call: Call) -> Array:
        return ref.gelu_tanh(call.input)


class Basic(L.Layer):
    """A residual block as they are often written: in PyTorch, the next lines overwrite what bn2 gave."""

    PARTS = ("conv1", "bn1", "act", "conv2", "bn2")

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = L.Conv2D(channels, 3, padding="same", use_bias=False)
        self.conv2 = L.Conv2D(channels, 3, padding="same", use_bias=False)
        self.bn1, self.bn2 = L.BatchNormalization(), L.BatchNormalization()
        self.act = L.ReLU()

    def call(self, x):
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        y *= 0.5
        y += x
        return self.act(y)

    def definition(self, call: Call) -> Array:
        return ref.relu(call.inner("bn2").output / 2 + call.input)

    def between(self, path: str) -> dict[str, Oracle]:
        def act(call: Call) -> Array:
            block = Call(call.acts, path)
            first = block.inner("bn1").output
            return first if not call.number else block.inner("bn2").output / 2 + block.input

        return {f"{path}.act@input": act}


class Words(L.Layer):
    PARTS = ("table",)

    def __init__(self) -> None:
        super().__init__()
        self.table = L.Embedding(WORDS, WIDTH)
        self.pos = self.add_weight(shape=(TOKENS, WIDTH), name="pos")

    def call(self, ids):
        return self.table(ids) + self.pos

    def definition(self, call: Call) -> Array:
        return call.inner("table").output + w(self.pos)


class Tokens(L.Layer):
    """Patches of an image as a sequence, behind a class token, with positions."""

    PARTS = ("patch",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.patch = L.Conv2D(WIDTH, (4, 2), strides=(4, 2))
        self.cls = self.add_weight(shape=(1, 1, WIDTH), name="cls")
        self.pos = self.add_weight(shape=(1, count + 1, WIDTH), name="pos")

    def call(self, x):
        rows = ops.reshape(self.patch(x), (-1, self.count, WIDTH))
        cls = ops.tile(self.cls, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([cls, rows], axis=1) + self.pos

    def definition(self, call: Call) -> Array:
        rows = call.inner("patch").output.reshape(len(call.input), self.count, WIDTH)
        cls = np.broadcast_to(w(self.cls), (len(rows), 1, WIDTH))
        return np.concatenate([cls, rows], axis=1) + w(self.pos)


class Block(L.Layer):
    """Attention and a perceptron, each behind a norm; with dropout, Keras does not fuse its attention."""

    PARTS = ("norm1", "mha", "norm2", "mlp")

    def __init__(self, length: int, dropout: float = 0.0, *, causal: bool = False, scores: bool = False):
        super().__init__()
        self.causal, self.scores = causal, scores
        self.norm1, self.norm2 = L.LayerNormalization(), L.LayerNormalization(epsilon=1e-5)
        self.mha = L.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=dropout)
        self.mlp = perceptron(length, WIDTH)

    def call(self, x):
        y = self.norm1(x)
        y = self.mha(y, y, use_causal_mask=self.causal, return_attention_scores=self.scores)
        x = x + (y[0] if self.scores else y)
        return x + self.mlp(self.norm2(x))

    def definition(self, call: Call) -> Array:
        return call.inner("norm2").input + call.inner("mlp").output

    def seen(self, call: Call) -> Array | None:
        """Which key a query may see."""
        return ref.causal(call.input.shape[1]) if self.causal else None

    def between(self, path: str) -> dict[str, Oracle]:
        mha = f"{path}.mha"

        def middle(call: Call) -> Array:
            block = Call(call.acts, path)
            return block.input + block.inner("mha").leaves()["[0]" if self.scores else ""]

        def projected(call: Call) -> list[Array]:
            return [Call(call.acts, mha).inner(f"_{name}_dense").output for name in ("query", "key", "value")]

        def mixed(call: Call) -> Array:
            return ref.attention(*projected(call), self.seen(Call(call.acts, path)))[0]

        def products(call: Call) -> Array:
            q, k, _ = projected(call)
            return np.einsum("bqhd,bkhd->bhqk", ref.f64(q), ref.f64(k)) / np.sqrt(q.shape[-1])

        return {
            f"{path}.norm2@input": middle,
            f"{mha}._output_dense@input": mixed,
            f"{mha}._softmax@input": products,
            f"{mha}._softmax@input[0]": products,
            f"{mha}._softmax@input[mask]": lambda call: self.seen(Call(call.acts, path))[None, None],
        }


class Recurrent(keras.Model):
    PARTS = ("lstm", "both", "cells", "gru", "head")

    def __init__(self) -> None:
        super().__init__()
        self.lstm = L.LSTM(7, return_sequences=True, return_state=True)
        self.both = L.Bidirectional(L.GRU(3, return_sequences=True))
        self.cells = L.RNN([L.LSTMCell(6), L.GRUCell(4)], return_sequences=True)
        self.gru = L.GRU(5, return_sequences=True)
        self.head = L.Dense(3)

    def call(self, x):
        return self.head(self.gru(self.cells(self.both(self.lstm(x)[0])))[:, -1])

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["gru"][:, -1]}


class Decoder(keras.Model):
    PARTS = ("words", "blocks", "norm", "to_words")

    def __init__(self) -> None:
        super().__init__()
        self.words = Words()
        self.blocks = [Block(TOKENS, causal=True), Block(TOKENS, 0.3, causal=True, scores=True)]
        self.norm, self.to_words = L.LayerNormalization(), L.Dense(WORDS)

    def call(self, ids):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.to_words(self.norm(x))

    def definition(self, call: Call) -> Array:
        return call.inner("to_words").output


class Siamese(keras.Model):
    """One tower for both inputs: a functional model, called twice by a subclassed one."""

    PARTS = ("tower", "head")

    def __init__(self) -> None:
        super().__init__()
        x = keras.Input((WIDTH,))
        y = L.ReLU(name="relu")(L.Dense(12, name="first")(x))
        self.tower = keras.Model(x, L.LayerNormalization(name="norm")(L.Dense(5, name="second")(y)))
        self.head = L.Dense(2)

    def call(self, a, b):
        return self.head(self.tower(a) * self.tower(b))

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["tower"] * call.acts["tower:2"]}


def perceptron(length: int, width: int) -> keras.Model:
    """As a model of its own, over the last axis."""
    layers = [L.Dense(12, activation="gelu"), L.Dropout(0.3), L.Dense(width)]
    return keras.Sequential([keras.Input((length, width)), *layers])


def conv_bn(*args: Any, **kwargs: Any) -> list[Any]:
    return [L.Conv2D(*args, use_bias=False, **kwargs), L.BatchNormalization(), L.ReLU()]


def mlp() -> keras.Model:
    inner = keras.Sequential([keras.Input((12,)), L.Dense(10, activation="gelu"), L.Dense(3)])
    first = [L.Flatten(), L.Dense(12, activation="tanh"), L.LayerNormalization(), Gelu(), L.Dropout(0.3)]
    return keras.Sequential([keras.Input(IMAGE), *first, inner, L.Softmax()])


def cnn() -> keras.Model:
    x = keras.Input(IMAGE)
    stem = conv_bn(6, 3, strides=2, padding="same")  # of an even size: the odd one behind
    y = keras.Sequential([keras.Input(IMAGE), *stem], name="stem")(x)
    y = Basic(6)(L.MaxPooling2D(3, 2, padding="same")(Basic(6)(y)))
    return keras.Model(x, L.Dense(3)(L.Dropout(0.3)(L.GlobalAveragePooling2D()(y))))


def depthwise() -> keras.Model:
    two = L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, use_bias=False)
    first = [two, L.BatchNormalization(), L.Activation("relu"), *conv_bn(8, 1)]
    second = [
        L.DepthwiseConv2D((2, 4), padding="same", activation="relu"),
        L.SeparableConv2D(8, (3, 2), padding="same", depth_multiplier=2),
    ]
    last = [*conv_bn(4, 1, groups=2), L.AveragePooling2D((2, 1)), L.Flatten(), L.Dense(3)]
    return keras.Sequential([keras.Input(IMAGE), *first, *second, *last])


def head(x: Any, y: Any) -> keras.Model:
    return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(L.LayerNormalization()(y))))


def encoder() -> keras.Model:
    ids = keras.Input((TOKENS,), dtype="int32")
    return head(ids, Block(TOKENS)(Block(TOKENS)(Words()(ids))))


def vit() -> keras.Model:
    x = keras.Input(PICTURE)
    return head(x, Block(13, 0.3)(Block(13)(Tokens(12)(x))))  # the second is not fused


def mixer() -> keras.Model:
    x = keras.Input(PICTURE)
    y = Tokens(12)(x)
    tokens = L.Permute((2, 1))(perceptron(WIDTH, 13)(L.Permute((2, 1))(L.LayerNormalization()(y))))
    y = L.Add()([y, tokens])
    return head(x, L.Add()([y, perceptron(13, WIDTH)(L.LayerNormalization()(y))]))


def autoencoder() -> keras.Model:
    low = [L.ZeroPadding2D(((1, 0), (0, 1))), L.Conv2D(4, (3, 2), strides=2, activation="relu")]
    down = [keras.Input(IMAGE), *conv_bn(6, 3, strides=2, padding="same"), *low]
    up = [
        L.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
        L.Conv2DTranspose(5, (1, 4), strides=2),  # leaves zeros where the stride is wider than the kernel
        L.UpSampling2D((1, 2)),
        L.Conv2DTranspose(3, (4, 2), padding="same", activation="sigmoid"),
    ]
    x = keras.Input(IMAGE)
    low = keras.Sequential(down, name="down")(x)
    return keras.Model(x, keras.Sequential([keras.Input(low.shape[1:]), *up], name="up")(low))


ALL = (mlp, cnn, depthwise, Recurrent, encoder, Decoder, vit, mixer, autoencoder, Siamese)
MODELS = {make.__name__.lower(): make for make in ALL}
