"""Ten architectures in Flax Linen, small, as those of PyTorch: own blocks say what they give.

All layers are fields, so that the paths follow from the module alone; `w` is what the block itself holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fidelity_reference as ref
import jax
import jax.numpy as jnp
import numpy as np
from fidelity_check import Array, Call, Oracle
from flax import linen as nn

WIDTH, HEADS, TOKENS, WORDS = 8, 2, 6, 11
STEPS = {"variable_axes": {"intermediates": 0}}  # else an RNN drops what happens in its cell


def exact_gelu(x: jax.Array) -> jax.Array:
    return nn.gelu(x, approximate=False)


# functions that stand between the layers of a Sequential, and what they are
FUNCTIONS = {
    nn.relu: ref.relu,
    nn.sigmoid: ref.sigmoid,
    nn.softmax: ref.softmax,
    nn.gelu: ref.gelu_tanh,
    exact_gelu: ref.gelu,
}
Weights = Any


class Residual(nn.Module):
    inside: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.inside(x)

    def definition(self, w: Weights, call: Call) -> Array:
        return call.input + call.inner("inside").output


class Basic(nn.Module):
    """A residual block of convolutions; one activation for both places."""

    conv1: nn.Module
    conv2: nn.Module
    bn1: nn.Module
    bn2: nn.Module
    act: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        y += x
        return self.act(y)

    def definition(self, w: Weights, call: Call) -> Array:
        return ref.relu(call.inner("bn2").output + call.input)

    def between(self, path: str) -> dict[str, Oracle]:
        def act(call: Call) -> Array:
            block = Call(call.acts, path)
            return block.inner("bn2").output + block.input if call.number else block.inner("bn1").output

        return {f"{path}.act@input": act}


class Function(nn.Module):
    """A function as a layer, so that it is captured too."""

    function: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)

    def definition(self, w: Weights, call: Call) -> Array:
        return FUNCTIONS[self.function](call.input)


class Pool(nn.Module):
    kind: str
    window: ref.Pair
    stride: ref.Pair
    padding: str

    def __call__(self, x: jax.Array) -> jax.Array:
        function = nn.max_pool if self.kind == "max" else nn.avg_pool
        return function(x, self.window, self.stride, self.padding)

    def definition(self, w: Weights, call: Call) -> Array:
        function = ref.max_pool if self.kind == "max" else ref.avg_pool
        return function(call.input, self.window, self.stride, self.padding)


class Mean(nn.Module):
    axes: Sequence[int]

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.mean(self.axes)

    def definition(self, w: Weights, call: Call) -> Array:
        return ref.f64(call.input).mean(axis=tuple(self.axes))


class Flatten(nn.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(len(x), -1)

    def definition(self, w: Weights, call: Call) -> Array:
        return call.input.reshape(len(call.input), -1)


class Causal(nn.Module):
    """Self-attention to oneself and those before."""

    mha: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.mha(x, mask=nn.make_causal_mask(x[:, :, 0]))

    def definition(self, w: Weights, call: Call) -> Array:
        return call.inner("mha").output

    def between(self, path: str) -> dict[str, Oracle]:
        def mask(call: Call) -> Array:
            batch, length, _ = call.argument(0).shape
            return np.broadcast_to(ref.causal(length), (batch, 1, length, length))

        return {f"{path}.mha@input[mask]": mask}


class Tokens(nn.Module):
    """Patches of an image as a sequence, behind a class token, with positions."""

    patch: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        rows = self.patch(x).reshape(len(x), -1, WIDTH)
        cls = self.param("cls", nn.initializers.zeros, (1, 1, WIDTH))
        pos = self.param("pos", nn.initializers.zeros, (1, rows.shape[1] + 1, WIDTH))
        return jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), rows], axis=1) + pos

    def definition(self, w: Weights, call: Call) -> Array:
        rows = call.inner("patch").output.reshape(len(call.input), -1, WIDTH)
        return np.concatenate([np.tile(w["cls"], (len(rows), 1, 1)), rows], axis=1) + np.asarray(w["pos"])


class Words(nn.Module):
    table: nn.Module

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.table(ids) + self.param("pos", nn.initializers.zeros, (TOKENS, WIDTH))

    def definition(self, w: Weights, call: Call) -> Array:
        return call.inner("table").output + np.asarray(w["pos"])


class Transposed(nn.Module):
    """Mix the tokens, not the units."""

    mlp: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.mlp(x.swapaxes(1, 2)).swapaxes(1, 2)

    def definition(self, w: Weights, call: Call) -> Array:
        return call.inner("mlp").output.swapaxes(1, 2)

    def between(self, path: str) -> dict[str, Oracle]:
        return {f"{path}.mlp@input": lambda call: Call(call.acts, path).input.swapaxes(1, 2)}


class Recurrent(nn.Module):
    lstm: nn.Module
    gru: nn.Module
    head: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.gru(self.lstm(x)[1])[:, -1])

    def definition(self, w: Weights, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["gru"][:, -1]}


class Siamese(nn.Module):
    """One tower for both inputs, and a head that tells the first call from the second."""

    tower: nn.Module
    head: nn.Module

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return self.head(self.tower(a) - 2 * self.tower(b))

    def definition(self, w: Weights, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: call.acts["tower"] - 2 * call.acts["tower:2"]}


def seq(*layers: Any) -> nn.Sequential:
    return nn.Sequential(layers)


def norm() -> nn.Module:
    return nn.BatchNorm(use_running_average=True)


def conv_bn(size: int, *args: Any, **kwargs: Any) -> list[Any]:
    return [nn.Conv(size, *args, use_bias=False, **kwargs), norm(), nn.relu]


def attention() -> nn.Module:
    return nn.MultiHeadDotProductAttention(HEADS)


def block(mixes: Any = attention) -> list[nn.Module]:
    mlp = [nn.Dense(12), exact_gelu, nn.Dropout(0.3, deterministic=True), nn.Dense(WIDTH)]
    return [Residual(seq(nn.LayerNorm(), mixes())), Residual(seq(nn.LayerNorm(), *mlp))]


def basic() -> nn.Module:
    conv1 = nn.Conv(6, (3, 3), use_bias=False)
    return Basic(conv1, nn.Conv(6, (3, 3), padding=1, use_bias=False), norm(), norm(), Function(nn.relu))


def head(size: int) -> list[nn.Module]:
    return [nn.LayerNorm(), Mean((1,)), nn.Dense(size)]


def tokens() -> nn.Module:
    return Tokens(nn.Conv(WIDTH, (4, 2), strides=(4, 2), padding="VALID"))


def mlp() -> nn.Module:
    first = [Flatten(), nn.Dense(12), nn.LayerNorm(), nn.gelu, nn.Dropout(0.3, deterministic=True)]
    return seq(*first, nn.Dense(10), exact_gelu, nn.Dense(3), nn.softmax)


def cnn() -> nn.Module:
    stem = conv_bn(6, (3, 3), strides=2)  # SAME of an even size: the odd one behind
    return seq(*stem, basic(), Pool("max", (3, 3), (2, 2), "SAME"), basic(), Mean((1, 2)), nn.Dense(3))


def depthwise() -> nn.Module:
    first = conv_bn(6, (3, 3), strides=2, padding=1, feature_group_count=3)
    point = [*conv_bn(8, (1, 1)), nn.Conv(8, (2, 4), feature_group_count=8), nn.relu]
    tail = [Pool("avg", (2, 1), (2, 1), "VALID"), Flatten(), nn.Dense(3)]
    return seq(*first, *point, *conv_bn(4, (1, 1), feature_group_count=2), *tail)


def recurrent() -> nn.Module:
    lstm = nn.RNN(nn.LSTMCell(7), return_carry=True, **STEPS)
    return Recurrent(lstm, nn.RNN(nn.GRUCell(5), **STEPS), nn.Dense(3))


def encoder() -> nn.Module:
    return seq(Words(nn.Embed(WORDS, WIDTH)), *block(), *head(3))


def decoder() -> nn.Module:
    def causal() -> nn.Module:
        return Causal(attention())

    return seq(Words(nn.Embed(WORDS, WIDTH)), *block(causal), *block(causal), nn.LayerNorm(), nn.Dense(WORDS))


def vit() -> nn.Module:
    return seq(tokens(), *block(), *head(3))


def mixer() -> nn.Module:
    mixes = Transposed(seq(nn.Dense(10), exact_gelu, nn.Dense(13)))
    return seq(tokens(), Residual(seq(nn.LayerNorm(), mixes)), block()[1], *head(3))


def autoencoder() -> nn.Module:
    down = [*conv_bn(6, (3, 3), strides=2), nn.Conv(4, (3, 2), strides=2, padding=((1, 0), (0, 1))), nn.relu]
    up = [nn.ConvTranspose(6, (3, 3), (2, 2)), nn.relu, nn.ConvTranspose(3, (1, 4), (2, 2), padding="VALID")]
    return seq(*down, *up, nn.sigmoid)


def siamese() -> nn.Module:
    return Siamese(seq(nn.Dense(12), nn.relu, nn.Dense(5), nn.LayerNorm()), nn.Dense(2))


ALL = (mlp, cnn, depthwise, recurrent, encoder, decoder, vit, mixer, autoencoder, siamese)
MODELS = {make.__name__: make for make in ALL}
