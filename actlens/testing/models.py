"""What an adapter under test must give: four models built from numpy weights, and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from actlens._capture import Forward
from actlens.backend import Backend
from actlens.selection import Layers, Selection

Array = npt.NDArray[Any]
Weights = dict[str, Array]

SAMPLES = 5


class Models:
    """`backend`, the models and the arrays: what a subclass gives. The weights are the same on every call."""

    backend: Backend
    dtypes: tuple[str, ...] = ("float32", "float16", "bfloat16", "float8_e4m3fn", "int32", "uint8", "bool")
    image_axes: tuple[str, ...] = ("sample", "channel", "height", "width")
    tolerance: float = 1e-5

    # ------------------------------------------------------------------ what a subclass gives

    def mlp(self, weights: Weights) -> Any:
        """Build first: x @ w1 + b1 → act: relu, in place where the framework can → last: h @ w2 + b2."""
        raise NotImplementedError

    def shared(self, weights: Weights) -> Any:
        """Build a model with one layer `dense` (x @ w + b, 4 → 4) that is called on its own output."""
        raise NotImplementedError

    def structured(self, weights: Weights) -> Any:
        """Build a model that returns what its layer `parts` does: {"h": x @ w, "pair": (x @ w + 1, None)}."""
        raise NotImplementedError

    def conv(self, weights: Weights) -> Any:
        """Build a layer `conv`: kernel `(3, 3, in, out)` and bias, stride 1, no padding."""
        raise NotImplementedError

    def dropout(self, weights: Weights) -> Any:
        """Build mlp with a layer `drop` (rate 0.5) after act, and set it to training where that is a mode."""
        raise NotImplementedError

    def failing(self, weights: Weights) -> Any:
        """Build mlp whose `last` raises RuntimeError("boom")."""
        raise NotImplementedError

    def array(self, values: Array) -> Any:
        """Give the framework's array of the same dtype, sharing no memory with `values`."""
        raise NotImplementedError

    def images(self, values: Array) -> Any:
        """Give the framework's array of images in the layout of `image_axes`."""
        raise NotImplementedError

    def numpy(self, array: Any) -> Array:
        """Read the framework's array, without the adapter."""
        raise NotImplementedError

    def state(self, model: Any) -> Any:
        """Give all that a capture could leave on a model: hooks, attributes, modes, weights."""
        raise NotImplementedError

    def overwrite(self, array: Any) -> None:  # noqa: ARG002
        """Fill a framework's array with 99 in place; skip where arrays cannot be written."""
        pytest.skip(f"arrays of {self.backend.name} cannot be written")

    # ------------------------------------------------------------------ helpers

    def weights(self) -> Weights:
        """Give weights for every model: the same on every call."""
        random = np.random.default_rng(0)
        shapes = {"w1": (4, 8), "b1": (8,), "w2": (8, 3), "b2": (3,), "w": (4, 4), "b": (4,)}
        shapes |= {"kernel": (3, 3, 2, 3), "bias": (3,)}
        return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}

    def x(self, samples: int = SAMPLES) -> Array:
        """Give an input (samples, 4)."""
        return np.random.default_rng(1).normal(size=(samples, 4)).astype(np.float32)

    def capture(self, model: Any, layers: Layers, *, stop: bool = False) -> Forward:
        """`actlens.capture` with the adapter under test."""
        selection = Selection.of(layers)
        function = self.backend.capture(model, selection, stop=stop)
        return Forward(self.backend, function, selection, type(model).__name__)

    def expected(self) -> dict[str, Array]:
        """Compute mlp with numpy."""
        w = self.weights()
        first = self.x() @ w["w1"] + w["b1"]
        act = np.maximum(first, 0)
        return {"first": first, "act": act, "last": act @ w["w2"] + w["b2"]}

    def same(self, actual: Any, expected: Array) -> None:
        """Compare a framework's array with numpy's computation."""
        np.testing.assert_allclose(self.numpy(actual), expected, rtol=self.tolerance, atol=self.tolerance)
