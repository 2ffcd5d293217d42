"""Ten architectures in PyTorch, small, each with a definition of what its own blocks give.

A block says by `definition` what comes out of it, from its captured input and the captured layers inside, and
by `between` what goes into a layer where an operation that is no layer comes before it.
"""

from __future__ import annotations

import fidelity_reference as ref
import numpy as np
import torch
from fidelity_check import Array, Call, Oracle
from torch import nn

WIDTH, HEADS, TOKENS, WORDS = 8, 2, 6, 11


def last(call: Call) -> Array:
    """What a sequence gives at its last step."""
    return call.leaves()["[0]"][:, -1]


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inside(x)

    def definition(self, call: Call) -> Array:
        return call.input + call.inner("inside").output


class InPlace(nn.Module):
    """A residual block as they are often written: what a layer gave is overwritten by the next line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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


class Attention(nn.Module):
    """Self-attention; `mask` is what may not be seen, as torch has it."""

    def __init__(self, mask: torch.Tensor | None = None) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mask = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mha(x, x, x, attn_mask=self.mask, average_attn_weights=False)[0]

    def definition(self, call: Call) -> Array:
        return call.inner("mha").leaves()["[0]"]


class Tokens(nn.Module):
    """Patches of an image as a sequence, behind a class token, with positions."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, (4, 2), stride=(4, 2))
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos = nn.Parameter(torch.randn(1, count + 1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos

    def definition(self, call: Call) -> Array:
        patches = call.inner("patch").output
        rows = patches.reshape(*patches.shape[:2], -1).swapaxes(1, 2)
        cls = np.broadcast_to(self.cls.detach().numpy(), (len(rows), 1, WIDTH))
        return np.concatenate([cls, rows], axis=1) + self.pos.detach().numpy()


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.pos = nn.Parameter(torch.randn(TOKENS, WIDTH))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids) + self.pos

    def definition(self, call: Call) -> Array:
        return call.inner("table").output + self.pos.detach().numpy()


class Transposed(nn.Module):
    """Mix the tokens, not the units."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(count, 10), nn.GELU(), nn.Linear(10, count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp(x.transpose(1, 2)).transpose(1, 2)

    def definition(self, call: Call) -> Array:
        return call.inner("mlp").output.swapaxes(1, 2)

    def between(self, path: str) -> dict[str, Oracle]:
        return {f"{path}.mlp@input": lambda call: Call(call.acts, path).input.swapaxes(1, 2)}


class Mean(nn.Module):
    """The average over one axis or several."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(self.axes)

    def definition(self, call: Call) -> Array:
        return ref.f64(call.input).mean(axis=self.axes)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(WIDTH, 7, batch_first=True), nn.GRU(7, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0][:, -1])

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        return {"head@input": lambda call: last(Call(call.acts, "gru"))}


class Siamese(nn.Module):
    """One tower for both inputs, and a head that tells the first call from the second."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Linear(WIDTH, 12), nn.ReLU(inplace=True), nn.Linear(12, 5), nn.LayerNorm(5)
        )
        self.head = nn.Linear(5, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.head(self.tower(a) - 2 * self.tower(b))

    def definition(self, call: Call) -> Array:
        return call.inner("head").output

    def between(self, path: str) -> dict[str, Oracle]:
        def mixed(call: Call) -> Array:
            return call.acts["tower"] - 2 * call.acts["tower:2"]

        return {"head@input": mixed}


def conv_bn(*args: int, **kwargs: int) -> list[nn.Module]:
    conv = nn.Conv2d(*args, **kwargs, bias=False)
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True)]


def block(mask: torch.Tensor | None = None) -> list[nn.Module]:
    mlp = [nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 12), nn.GELU(), nn.Dropout(0.3), nn.Linear(12, WIDTH)]
    return [Residual(nn.LayerNorm(WIDTH), Attention(mask)), Residual(*mlp)]


def mlp() -> nn.Module:
    tail = [
        nn.LayerNorm(12),
        nn.GELU("tanh"),
        nn.Dropout(0.3),
        nn.Linear(12, 10),
        nn.GELU(),
        nn.Linear(10, 3),
    ]
    return nn.Sequential(nn.Flatten(), nn.Linear(240, 12), *tail, nn.Softmax(-1))


def cnn() -> nn.Module:
    stem = conv_bn(3, 6, 3, stride=2, padding=1)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(*stem, InPlace(6), pool, InPlace(6), Mean(2, 3), nn.Linear(6, 3))


def depthwise() -> nn.Module:
    first = [*conv_bn(3, 6, 3, stride=2, padding=1, groups=3), *conv_bn(6, 8, 1)]  # two filters a channel
    second = [
        nn.Conv2d(8, 8, (3, 5), padding="same", groups=8),
        nn.ReLU(inplace=True),
        *conv_bn(8, 4, 1, groups=2),
    ]
    return nn.Sequential(*first, *second, nn.AvgPool2d((2, 1)), nn.Flatten(), nn.Linear(32, 3))


def encoder() -> nn.Module:
    return nn.Sequential(Words(), *block(), *block(), nn.LayerNorm(WIDTH), Mean(1), nn.Linear(WIDTH, 3))


def decoder() -> nn.Module:
    mask = ~torch.tril(torch.ones(TOKENS, TOKENS, dtype=torch.bool))
    return nn.Sequential(Words(), *block(mask), *block(mask), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS))


def vit() -> nn.Module:
    return nn.Sequential(Tokens(12), *block(), *block(), nn.LayerNorm(WIDTH), Mean(1), nn.Linear(WIDTH, 3))


def mixer() -> nn.Module:
    tokens = Residual(nn.LayerNorm(WIDTH), Transposed(13))
    units = Residual(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH))
    return nn.Sequential(Tokens(12), tokens, units, Mean(1), nn.Linear(WIDTH, 3))


def autoencoder() -> nn.Module:
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)
    out = nn.ConvTranspose2d(6, 3, (4, 2), stride=2, padding=(1, 0))
    down = [*conv_bn(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 4, (3, 2), stride=2, padding=(1, 0))]
    return nn.Sequential(*down, nn.ReLU(inplace=True), up, nn.ReLU(inplace=True), out, nn.Sigmoid())


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "depthwise": depthwise,
    "recurrent": Recurrent,
    "encoder": encoder,
    "decoder": decoder,
    "vit": vit,
    "mixer": mixer,
    "autoencoder": autoencoder,
    "siamese": Siamese,
}
