"""Ten architectures in Flax NNX, small, as those of PyTorch: own blocks say what they give."""

from __future__ import annotations

from typing import Any

import fidelity_reference as ref
import jax
import jax.numpy as jnp
import numpy as np
from fidelity_check import Array, Call, Oracle
from flax import nnx

WIDTH, HEADS, TOKENS, WORDS = 8, 2, 6, 11

# functions that stand between the layers of a Sequential, and what they are
FUNCTIONS = {
    nnx.relu: ref.relu,
    nnx.sigmoid: ref.sigmoid,
    nnx.softmax: ref.softmax,
    nnx.gelu: ref.gelu_tanh,
}


class Residual(nnx.Module):
    def __init__(self, *layers: Any) -> None:
        self.inside = nnx.Sequential(*layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.inside(x)

    def definition(self, call: Call) -> Array:
        return call.input + call.inner("inside").output


class Basic(nnx.Module):
    """A residual block of convolutions; one activation function for both places."""

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(channels, channels, (3, 3), use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(channels, channels, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn1, self.bn2 = nnx.BatchNorm(channels, rngs=rngs), nnx.BatchNorm(channels, rngs=rngs)
        self.act = Function(nnx.relu)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        y += x
        return self.act(y)

    def definition(self, call: Call) -> Array:
        return ref.relu(call.inner("bn2").output + call.input)

    def between(self, path: str) -> dict[str, Oracle]:
        def act(call: Call) -> Array:
            block = Call(call.acts, path)
            return block.inner("bn2").output + block.input if call.number else block.inner("bn1").output

        return {f"{path}.act@input": act}


class Function(nnx.Module):
    """A function as a layer, so that it is captured too."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)

    def definition(self, call: Call) -> Array:
        return FUNCTIONS[self.function](call.input)


class Gelu(nnx.Module):
    """The exact one; what nnx.gelu computes is the approximation."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.gelu(x, approximate=False)

    def definition(self, call: Call) -> Array:
        return ref.gelu(call.input)


class Pool(nnx.Module):
    def __init__(self, kind: str, window: ref.Pair, stride: ref.Pair, padding: str) -> None:
        self.kind, self.window, self.stride, self.padding = kind, window, stride, padding

    def __call__(self, x: jax.Array) -> jax.Array:
        function = nnx.max_pool if self.kind == "max" else nnx.avg_pool
        return function(x, self.window, self.stride, self.padding)

    def definition(self, call: Call) -> Array:
        function = ref.max_pool if self.kind == "max" else ref.avg_pool
        return function(call.input, self.window, self.stride, self.padding)


class Mean(nnx.Module):
    def __init__(self, *axes: int) -> None:
        self.axes = axes

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.mean(self.axes)

    def definition(self, call: Call) -> Array:
        return ref.f64(call.input).mean(axis=self.axes)


class Flatten(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(len(x), -1)

    def definition(self, call: Call) -> Array:
        return call.input.reshape(len(call.input), -1)


class Causal(nnx.Module):
    """Self-attention to oneself and those before."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.mha = attention(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.mha(x, mask=nnx.make_causal_mask(x[:, :, 0]))

    def definition(self, call: Call) -> Array:
        return call.inner("mha").output

    def between(self, path: str) -> dict[str, Oracle]:
        def mask(call: Call) -> Array:
            batch, length, _ = call.argument(0).shape
            return np.broadcast_to(ref.causal(length), (batch, 1, length, length))

        return {f"{path}.mha@input[mask]": mask}


class Tokens(nnx.Module):
    """Patches of an image as a sequence, behind a class token, with positions."""

    def __init__(self, count: int, rngs: nnx.Rngs) -> None:
        self.patch = nnx.Conv(3, WIDTH, (4, 2), strides=(4, 2), padding="VALID", rngs=rngs)
        self.cls = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        self.pos = nnx.Param(jnp.zeros((1, count + 1, WIDTH)))

    def __call__(self, x: jax.Array) -> jax.Array:
        rows = self.patch(x).reshape(len(x), -1, WIDTH)
        return jnp.concatenate([jnp.tile(self.cls[...], (len(x), 1, 1)), rows], axis=1) + self.pos[...]

    def definition(self, call: Call) -> Array:
        rows = call.inner("patch").output.reshape(len(call.input), -1, WIDTH)
        cls = np.broadcast_to(self.cls[...], (len(rows), 1, WIDTH))
        return np.concatenate([cls, rows], axis=1) + np.asarray(self.pos[...])


class Words(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.table = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.pos = nnx.Param(jnp.zeros((TOKENS, WIDTH)))

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.table(ids) + self.pos[...]

    def definition(self, call: Call) -> Array:
        return call.inner("table").output + np.asarray(self.pos[...])


class Transposed(nnx.Module):
    """Mix the tokens, not the units."""

    def __init__(self, count: int, rngs: nnx.Rngs) -> None:
        self.mlp = nnx.Sequential(nnx.Linear(count, 10, rngs=rngs), Gelu(), nnx.Linear(10, count, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.mlp(x.swapaxes(1, 2)).swapaxes(1, 2)

    def definition(self, call: Call) -> Array:
        return call.inner("mlp").output.swapaxes(1, 2)

    def between(self, path: str) -> dict[str, Oracle]:
        return {f"{path}.mlp@input": lambda call: Call(call.acts, path).input.swapaxes(1, 2)}


class Recurrent(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.lstm = nnx.RNN(nnx.LSTMCell(WIDTH, 7, rngs=rngs), return_carry=True, rngs=rngs)
        self.fast = nnx.RNN(nnx.OptimizedLSTMCell(7, 6, rngs=rngs), rngs=rngs)
        self.gru = nnx.RNN(nnx.GRUCell(6, 5, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.gru(self.fast(self.lstm(x)[1]))[:, -1])

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["gru"][:, -1]}


class Siamese(nnx.Module):
    """One tower for both inputs, and a head that tells the first call from the second."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.tower = nnx.Sequential(
            *(nnx.Linear(WIDTH, 12, rngs=rngs), nnx.relu, nnx.Linear(12, 5, rngs=rngs)),
            nnx.LayerNorm(5, rngs=rngs),
        )
        self.head = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return self.head(self.tower(a) - 2 * self.tower(b))

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["tower"] - 2 * call.acts["tower:2"]}


def attention(rngs: nnx.Rngs) -> nnx.MultiHeadAttention:
    return nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)


def conv_bn(*args: Any, rngs: nnx.Rngs, **kwargs: Any) -> list[Any]:
    conv = nnx.Conv(*args, use_bias=False, rngs=rngs, **kwargs)
    return [conv, nnx.BatchNorm(conv.out_features, rngs=rngs), nnx.relu]


def block(rngs: nnx.Rngs, mixes: Any = attention) -> list[Any]:
    mlp = [
        nnx.Linear(WIDTH, 12, rngs=rngs),
        Gelu(),
        nnx.Dropout(0.3, rngs=rngs),
        nnx.Linear(12, WIDTH, rngs=rngs),
    ]
    first, second = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
    return [Residual(first, mixes(rngs)), Residual(second, *mlp)]


def mlp(rngs: nnx.Rngs) -> nnx.Module:
    first = [Flatten(), nnx.Linear(240, 12, rngs=rngs), nnx.LayerNorm(12, rngs=rngs), nnx.gelu]
    second = [
        nnx.Dropout(0.3, rngs=rngs),
        nnx.Linear(12, 10, rngs=rngs),
        Gelu(),
        nnx.Linear(10, 3, rngs=rngs),
    ]
    return nnx.Sequential(*first, *second, nnx.softmax)


def cnn(rngs: nnx.Rngs) -> nnx.Module:
    stem = conv_bn(3, 6, (3, 3), strides=2, rngs=rngs)  # SAME of an even size: the odd one behind
    pool = Pool("max", (3, 3), (2, 2), "SAME")
    blocks = [Basic(6, rngs), pool, Basic(6, rngs)]
    return nnx.Sequential(*stem, *blocks, Mean(1, 2), nnx.Linear(6, 3, rngs=rngs))


def depthwise(rngs: nnx.Rngs) -> nnx.Module:
    first = conv_bn(3, 6, (3, 3), strides=2, padding=1, feature_group_count=3, rngs=rngs)
    point = [
        *conv_bn(6, 8, (1, 1), rngs=rngs),
        nnx.Conv(8, 8, (2, 4), feature_group_count=8, rngs=rngs),
        nnx.relu,
    ]
    last = conv_bn(8, 4, (1, 1), feature_group_count=2, rngs=rngs)
    tail = [Pool("avg", (2, 1), (2, 1), "VALID"), Flatten(), nnx.Linear(32, 3, rngs=rngs)]
    return nnx.Sequential(*first, *point, *last, *tail)


def head(rngs: nnx.Rngs, size: int) -> list[Any]:
    return [nnx.LayerNorm(WIDTH, rngs=rngs), Mean(1), nnx.Linear(WIDTH, size, rngs=rngs)]


def encoder(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Sequential(Words(rngs), *block(rngs), *head(rngs, 3))


def decoder(rngs: nnx.Rngs) -> nnx.Module:
    norm, to_words = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, WORDS, rngs=rngs)
    return nnx.Sequential(Words(rngs), *block(rngs, Causal), *block(rngs, Causal), norm, to_words)


def vit(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Sequential(Tokens(12, rngs), *block(rngs), *head(rngs, 3))


def mixer(rngs: nnx.Rngs) -> nnx.Module:
    tokens = Residual(nnx.LayerNorm(WIDTH, rngs=rngs), Transposed(13, rngs))
    return nnx.Sequential(Tokens(12, rngs), tokens, block(rngs)[1], *head(rngs, 3))


def autoencoder(rngs: nnx.Rngs) -> nnx.Module:
    down = conv_bn(3, 6, (3, 3), strides=2, rngs=rngs)
    low = [nnx.Conv(6, 4, (3, 2), strides=2, padding=((1, 0), (0, 1)), rngs=rngs), nnx.relu]
    up = [nnx.ConvTranspose(4, 6, (3, 3), (2, 2), rngs=rngs), nnx.relu]
    out = nnx.ConvTranspose(6, 3, (1, 4), (2, 2), padding="VALID", rngs=rngs)
    return nnx.Sequential(*down, *low, *up, out, nnx.sigmoid)


ALL = (mlp, cnn, depthwise, Recurrent, encoder, decoder, vit, mixer, autoencoder, Siamese)
MODELS = {make.__name__.lower(): make for make in ALL}
