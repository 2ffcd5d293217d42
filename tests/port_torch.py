"""The network of port_weights.py in PyTorch: channels first, and weights as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import port_weights as sizes
import torch
from port_mistakes import PORTS, Port
from torch import nn

import actlens

BATCH = 48  # the last one has 16 images


class First(nn.Module):
    """The first of what a layer gives: the array, without the weights of attention or the last state."""

    def __init__(self, inner: nn.Module, times: int) -> None:
        super().__init__()
        self.inner = inner
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first: torch.Tensor = self.inner(*[x] * self.times)[0]
        return first


class Padded(nn.Conv2d):
    """A convolution as "SAME" pads it at stride 2 and an even size: nothing on the left, one on the right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


class Network(nn.Module):
    def __init__(self, port: Port) -> None:
        super().__init__()
        wide = sizes.CONV1 * sizes.MULTIPLIER
        conv, padding = (Padded, 0) if port.same_padding else (nn.Conv2d, 1)
        down = {"kernel_size": sizes.KERNEL, "stride": sizes.STRIDE, "padding": padding}
        self.conv1 = conv(sizes.COLORS, sizes.CONV1, bias=False, **down)
        self.bn = nn.BatchNorm2d(sizes.CONV1, eps=port.bn_eps)
        self.gelu = nn.GELU(approximate="tanh" if port.approximate else "none")
        self.depthwise = conv(sizes.CONV1, wide, groups=sizes.CONV1, **down)
        self.leaky = nn.LeakyReLU(negative_slope=port.negative_slope)
        self.conv2 = nn.Conv2d(wide, sizes.CONV2, sizes.KERNEL, padding=1)
        self.up = nn.ConvTranspose2d(
            sizes.CONV2, sizes.UP, sizes.UP_KERNEL, stride=sizes.STRIDE, padding=(1, 0)
        )
        self.fc = nn.Linear(sizes.FLAT, sizes.TOKENS * sizes.EMBEDDING)
        self.ln = nn.LayerNorm(sizes.EMBEDDING, eps=port.ln_eps)
        self.attn = First(nn.MultiheadAttention(sizes.EMBEDDING, sizes.HEADS, batch_first=True), 3)
        self.gru = First(nn.GRU(sizes.EMBEDDING, sizes.GRU, batch_first=True), 1)
        self.lstm = First(nn.LSTM(sizes.GRU, sizes.LSTM, batch_first=True), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gelu(self.bn(self.conv1(x)))
        x = self.up(self.conv2(self.leaky(self.depthwise(x))))
        x = self.fc(x.flatten(1)).unflatten(1, (sizes.TOKENS, sizes.EMBEDDING))
        return self.lstm(self.gru(self.attn(self.ln(x))))


def network(port: Port) -> Network:
    model = Network(port)
    inner = {name: name.replace(".", ".inner.", 1) for name in ("attn.", "gru.", "lstm.")}
    state: dict[str, Any] = {}
    for name, value in sizes.weights(port).items():
        first = name.partition(".")[0] + "."
        state[name.replace(first, inner.get(first, first), 1)] = torch.from_numpy(value)
    state["bn.num_batches_tracked"] = torch.tensor(1)
    model.load_state_dict(state)
    return model


def record(
    path: Path | str, *, mistake: str | None = None, order: sizes.Array | None = None, inputs: bool = False
) -> actlens.Recording:
    port = PORTS[mistake]
    batches = [
        (np.ascontiguousarray(x.transpose(0, 3, 1, 2)), ids) for x, ids in sizes.batches(port, BATCH, order)
    ]
    wanted = sizes.layers("sample channel height width", inputs=inputs)
    with torch.backends.cudnn.flags(allow_tf32=False):
        return actlens.record(network(port), batches, path, layers=wanted, columns=["id"], progress=False)
