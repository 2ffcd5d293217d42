"""What the demo asks of a framework: a module `demo` in the adapter's package with these names."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from actlens.backend import ADAPTERS, Adapter, load
from actlens.demo.problems import DemoError


class Framework(Protocol):
    """A small convolutional network for 8×8 images of ten digits, and its training.

    The demos of all frameworks train on the same images and record the same samples.
    """

    @property
    def LAYERS(self) -> Sequence[str]:  # noqa: N802 - a constant of the module
        """The three hidden layers to record: the first convolution first, the last hidden layer last."""

    def layout(self, images: npt.NDArray[np.float32], /) -> Any:
        """Give images (samples, 8, 8) as the framework's own array, with the channel where it wants it."""

    def train(
        self, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], /, *, epochs: int, seed: int
    ) -> Iterator[tuple[int, Any]]:
        """Give (0, the model before training), then (epoch, model) after each; `record` takes the model."""

    def accuracy(
        self, model: Any, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], /
    ) -> float:
        """Give the share of images (samples, 8, 8) that the model names rightly."""


def framework(name: str) -> Framework:
    """Import a framework's demo.

    Raises:
        DemoError: this version has no demo for it.
        MissingDependency: the framework is not installed.
    """
    choices = available()
    if name not in choices:
        raise DemoError.framework(name, choices)
    load(name)  # says which extra is missing
    return cast("Framework", importlib.import_module(f"{ADAPTERS[name].module}.demo"))


def available() -> list[str]:
    """List the frameworks with a demo; imports none of them."""
    return [name for name, row in ADAPTERS.items() if name == row.package and _has_demo(row)]


def _has_demo(row: Adapter) -> bool:
    spec = importlib.util.find_spec(row.module)
    places = spec.submodule_search_locations if spec else None
    return any((Path(place) / "demo.py").is_file() for place in places or ())
