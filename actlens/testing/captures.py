"""The contract of `capture`: the values, keys, axes and reports; and what it leaves on a model."""

from __future__ import annotations

import numpy as np
import pytest

from actlens.activations import Report
from actlens.backend import backend_of, verified
from actlens.testing.models import SAMPLES, Array, Models, Weights


class CaptureTests(Models):
    """capture()."""

    # ------------------------------------------------------------------ the protocol

    def test_keeps_the_protocol(self) -> None:
        """The module has the members, and no others."""
        assert verified(self.backend, self.backend.name) is self.backend
        assert self.backend.version()

    def test_is_found_by_model_and_by_array(self) -> None:
        """The core finds an adapter of this name for its models and its arrays."""
        assert backend_of(self.mlp(self.weights())).name == self.backend.name
        assert backend_of(self.array(self.x())).name == self.backend.name

    # ------------------------------------------------------------------ capture

    def test_values_are_those_of_the_layers(self) -> None:
        """What is captured is what numpy computes; act may work in place on what first returned."""
        _, acts = self.capture(self.mlp(self.weights()), "*")(self.array(self.x()))
        assert list(acts) == ["first", "act", "last"]
        for key, expected in self.expected().items():
            self.same(acts[key], expected)

    def test_output_is_the_models_own(self) -> None:
        """The output with capture is bit for bit the one without."""
        model = self.mlp(self.weights())
        plain = self.numpy(model(self.array(self.x())))
        output, _ = self.capture(model, "*")(self.array(self.x()))
        assert self.numpy(output).tobytes() == plain.tobytes()

    def test_input_of_a_layer(self) -> None:
        """`@input` is what goes in."""
        layers = ["last@input", "first@input"]
        _, acts = self.capture(self.mlp(self.weights()), layers)(self.array(self.x()))
        assert list(acts) == ["first@input", "last@input"]
        self.same(acts["first@input"], self.x())
        self.same(acts["last@input"], self.expected()["act"])

    def test_every_call_has_its_own_key(self) -> None:
        """A layer that is called twice gives two values; neither replaces the other."""
        w = self.weights()
        forward = self.capture(self.shared(w), "dense")
        _, acts = forward(self.array(self.x()))
        once = self.x() @ w["w"] + w["b"]
        assert list(acts) == ["dense", "dense:2"]
        self.same(acts["dense"], once)
        self.same(acts["dense:2"], once @ w["w"] + w["b"])
        assert forward.report.calls == {"dense": 2}

    def test_leaves_of_a_structure_have_keys(self) -> None:
        """A dict that holds a tuple is taken apart; what is no array is reported."""
        w = self.weights()
        forward = self.capture(self.structured(w), "parts")
        _, acts = forward(self.array(self.x()))
        assert set(acts) == {"parts[h]", "parts[pair][0]"}
        self.same(acts["parts[h]"], self.x() @ w["w"])
        self.same(acts["parts[pair][0]"], self.x() @ w["w"] + 1)

    def test_one_leaf_of_a_structure(self) -> None:
        """A pattern that names a leaf takes only this one."""
        _, acts = self.capture(self.structured(self.weights()), "parts[h]")(self.array(self.x()))
        assert list(acts) == ["parts[h]"]

    def test_axes_of_a_convolution(self) -> None:
        """The axes are named in the order in which they are stored."""
        w = self.weights()
        images = np.random.default_rng(2).normal(size=(SAMPLES, 6, 5, 2)).astype(np.float32)
        _, acts = self.capture(self.conv(w), "conv")(self.images(images))
        assert acts.axes["conv"] == self.image_axes
        order = [("sample", "height", "width", "channel").index(axis) for axis in self.image_axes]
        self.same(acts["conv"], _convolution(images, w).transpose(order))

    def test_transform_runs_on_the_device(self) -> None:
        """An einops pattern averages what it leaves out; a function gets the framework's array."""
        pattern = {"first": "b u -> b", "last": lambda array: array[:, :2]}
        _, acts = self.capture(self.mlp(self.weights()), pattern)(self.array(self.x()))
        assert acts.axes["first"] == ("sample",)
        self.same(acts["first"], self.expected()["first"].mean(axis=1))
        self.same(acts["last"], self.expected()["last"][:, :2])

    def test_report(self) -> None:
        """The report has shape, dtype, type and axes of what was captured."""
        forward = self.capture(self.mlp(self.weights()), "first")
        forward(self.array(self.x()))
        report: Report = forward.report
        assert report.calls == {"first": 1}
        assert report.never_fired == {}
        info = report.layers["first"]
        assert (info.shape, info.dtype, info.axes) == ((SAMPLES, 8), "float32", ("sample", "unit"))

    def test_stop_gives_the_same_values(self) -> None:
        """With stop=True the values are the same on the first call and on later ones; no output."""
        forward = self.capture(self.mlp(self.weights()), "act", stop=True)
        for _ in range(3):
            output, acts = forward(self.array(self.x()))
            assert output is None
            assert list(acts) == ["act"]
            self.same(acts["act"], self.expected()["act"])

    def test_nothing_is_left_on_the_model(self) -> None:
        """After a capture the model is as before."""
        for stop in (False, True):
            model = self.mlp(self.weights())
            model(self.array(self.x()))
            before = self.state(model)
            forward = self.capture(model, ["*", "*@input"], stop=stop)
            assert self.state(model) == before
            forward(self.array(self.x()))
            forward(self.array(self.x()))
            assert self.state(model) == before

    def test_nothing_is_left_after_an_error(self) -> None:
        """The model's own error comes out, and the model is as before."""
        model = self.failing(self.weights())
        before = self.state(model)
        forward = self.capture(model, ["*", "*@input"])
        with pytest.raises(RuntimeError, match="boom"):
            forward(self.array(self.x()))
        assert self.state(model) == before

    def test_captured_values_stay(self) -> None:
        """Writing into the output or the input afterwards changes nothing that was captured."""
        x = self.array(self.x())
        output, acts = self.capture(self.mlp(self.weights()), ["first@input", "last"])(x)
        self.overwrite(output)
        self.overwrite(x)
        self.same(acts["last"], self.expected()["last"])
        self.same(acts["first@input"], self.x())


def _convolution(images: Array, weights: Weights) -> Array:
    """(n, h, w, in) → (n, h - 2, w - 2, out), by the definition."""
    kernel = weights["kernel"]
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))  # n h w in 3 3
    return np.asarray(np.einsum("nhwiab,abio->nhwo", windows, kernel) + weights["bias"])
