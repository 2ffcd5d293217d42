"""The contract of an adapter as a test suite: subclass `BackendTests` and say how to build four models.

    class TestMine(BackendTests):
        backend = my_adapter
        def mlp(self, weights): ...

The models are built from numpy weights, and what is expected is computed here with numpy, never by the
adapter. `x` is `(samples, 4)` float32; images are handed over as `(samples, height, width, channel)`.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from actlens._capture import Forward
from actlens.activations import Report
from actlens.backend import Backend, backend_of, verified
from actlens.selection import Layers, Selection

Array = npt.NDArray[Any]
Weights = dict[str, Array]

_SAMPLES = 5


class BackendTests:
    """Give `backend` and the models; the tests are inherited and not to be overridden."""

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

    def x(self, samples: int = _SAMPLES) -> Array:
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
        images = np.random.default_rng(2).normal(size=(_SAMPLES, 6, 5, 2)).astype(np.float32)
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
        assert (info.shape, info.dtype, info.axes) == ((_SAMPLES, 8), "float32", ("sample", "unit"))

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

    # ------------------------------------------------------------------ inference

    def test_inference_is_eval_and_is_undone(self) -> None:
        """Dropout is off inside, numpy inputs are taken, and every mode is as before afterwards."""
        model = self.dropout(self.weights())
        before = self.state(model)
        with self.backend.inference(model, self.capture(model, ["first", "last"])) as forward:
            _, acts = forward(self.x())
            self.same(acts["first"], self.expected()["first"])
            self.same(acts["last"], self.expected()["last"])
        assert self.state(model) == before

    def test_inference_is_undone_after_an_error(self) -> None:
        """An error in the block leaves the modes as they were."""
        model = self.dropout(self.weights())
        before = self.state(model)
        with pytest.raises(ZeroDivisionError):  # noqa: SIM117 - the context under test is the inner one
            with self.backend.inference(model, self.capture(model, "first")):
                raise ZeroDivisionError
        assert self.state(model) == before

    def test_inference_then_fetch(self) -> None:
        """What record() does: forward, fetch, next batch; earlier rows stay what they were."""
        model = self.mlp(self.weights())
        with self.backend.inference(model, self.capture(model, "*")) as forward:
            waits = [self.backend.fetch(forward(self.x() * scale)[1]) for scale in (1, 2, 3)]
            forward(self.x() * 4)
        got = waits[0]()
        for key, expected in self.expected().items():
            np.testing.assert_allclose(got[key], expected, rtol=self.tolerance, atol=self.tolerance)

    # ------------------------------------------------------------------ fetch

    def values(self, dtype: str) -> Array:
        """Give (5, 3, 2) values of a dtype, all different where it can."""
        values = np.arange(30).reshape(5, 3, 2) % (2 if dtype == "bool" else 16)
        return values.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))

    def test_fetch_keeps_the_dtype(self) -> None:
        """Every dtype of the framework arrives as itself, C-contiguous."""
        for dtype in self.dtypes:
            values = self.values(dtype)
            got = self.backend.fetch({"a": self.array(values)})()["a"]
            assert isinstance(got, np.ndarray)
            assert got.dtype == values.dtype
            assert got.flags.c_contiguous
            assert got.tobytes() == values.tobytes()

    def test_fetch_of_rows(self) -> None:
        """Rows come in the order asked for, repeated ones too, none if none."""
        for dtype in self.dtypes:
            values = self.values(dtype)
            for rows in ([3, 0, 4], [1, 1, 0], [], [0, 1, 2, 3, 4]):
                index = np.asarray(rows, dtype=np.int64)
                got = self.backend.fetch({"a": self.array(values)}, rows=index)()["a"]
                assert got.shape == (len(rows), 3, 2)
                assert got.flags.c_contiguous
                assert got.tobytes() == values[index].tobytes()

    def test_fetch_owns_its_memory(self) -> None:
        """Writing into the source afterwards changes nothing, nor does writing into the result."""
        for rows in (None, np.arange(5)):
            source = self.array(self.values("float32"))
            got = self.backend.fetch({"a": source}, rows=rows)()["a"]
            got[0] = 7
            assert self.numpy(source).tobytes() == self.values("float32").tobytes()
            self.overwrite(source)
            assert got[1:].tobytes() == self.values("float32")[1:].tobytes()

    def test_fetch_of_many(self) -> None:
        """Keys keep their order, and scalars and empty arrays pass."""
        arrays = {"b": np.full((), 3, np.float32), "a": np.zeros((0, 4), np.float32), "c": self.x()}
        got = self.backend.fetch({key: self.array(value) for key, value in arrays.items()})()
        assert list(got) == ["b", "a", "c"]
        for key, value in arrays.items():
            np.testing.assert_array_equal(got[key], value)
        assert self.backend.fetch({})() == {}

    # ------------------------------------------------------------------ layers

    def test_layers_without_an_example(self) -> None:
        """Names and types, where the framework knows them before a call; no shapes are invented."""
        infos = self.backend.layers(self.mlp(self.weights()))
        assert list(infos) in (["first", "act", "last"], [])
        assert all(info.type for info in infos.values())

    def test_layers_with_an_example(self) -> None:
        """Keys as in a capture, in the order of the forward, with shape, dtype and axes."""
        model = self.mlp(self.weights())
        before = self.state(model)
        infos = self.backend.layers(model, self.array(self.x()))
        assert [(key, info.shape, info.dtype) for key, info in infos.items()] == [
            ("first", (_SAMPLES, 8), "float32"),
            ("act", (_SAMPLES, 8), "float32"),
            ("last", (_SAMPLES, 3), "float32"),
        ]
        assert infos["first"].axes == ("sample", "unit")
        assert self.state(model) == before

    def test_layers_agrees_with_capture(self) -> None:
        """The dry run gives the keys and shapes that a capture gives."""
        for model in (self.shared(self.weights()), self.structured(self.weights())):
            infos = self.backend.layers(model, self.array(self.x()))
            _, acts = self.capture(model, "**")(self.array(self.x()))
            assert {key: info.shape for key, info in infos.items()} == {
                key: tuple(array.shape) for key, array in acts.items()
            }


def _convolution(images: Array, weights: Weights) -> Array:
    """(n, h, w, in) → (n, h - 2, w - 2, out), by the definition."""
    kernel = weights["kernel"]
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))  # n h w in 3 3
    return np.asarray(np.einsum("nhwiab,abio->nhwo", windows, kernel) + weights["bias"])
