"""The demo's model and training in PyTorch: what `actlens.demo.protocol` asks of a framework."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

LAYERS = ("conv1", "conv2", "fc1")
"""The hidden layers to record: the first convolution first, the last hidden layer last."""

_BATCH = 32
_RATE = 3e-3


def layout(images: npt.NDArray[np.float32]) -> torch.Tensor:
    """Give images (samples, 8, 8) as the model takes them: (samples, 1, 8, 8), channels first."""
    return torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)


def train(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, epochs: int, seed: int
) -> Iterator[tuple[int, nn.Module]]:
    """Train on images (samples, 8, 8) and labels (samples,); give the model after every epoch.

    The first pair is (0, the model before training). It is the same model each time, at another state.
    """
    x, y = layout(images), torch.from_numpy(labels)
    model = _model(seed)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    yield 0, model
    for epoch in range(1, epochs + 1):
        model.train()
        shuffled = torch.randperm(len(x), generator=order)
        for at in range(0, len(x), _BATCH):
            rows = shuffled[at : at + _BATCH]
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            optimizer.step()
        yield epoch, model


def accuracy(model: Any, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Give the share of images (samples, 8, 8) that the model names rightly."""
    model.eval()
    with torch.inference_mode():
        said = model(layout(images)).argmax(1).numpy()
    return float((said == labels).mean())


def _model(seed: int) -> nn.Sequential:
    """Two convolutions and two fully connected layers, 40 thousand weights."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to move on
        torch.manual_seed(seed)
        return nn.Sequential(
            OrderedDict(  # sizes are of one sample, 1×8×8 at the start
                conv1=nn.Conv2d(1, 16, 3, padding=1),  # 16×8×8
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # 16×4×4
                conv2=nn.Conv2d(16, 32, 3, padding=1),  # 32×4×4
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),  # 512
                fc1=nn.Linear(512, 64),
                relu3=nn.ReLU(),
                fc2=nn.Linear(64, 10),
            )
        )
