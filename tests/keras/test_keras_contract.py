"""The adapter contract, held against actlens_tf on one backend of Keras."""

import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, array, dense, numpy, state

import actlens_tf
from actlens.backend import Backend, backend_of
from actlens.testing import BackendTests

backend: Backend = actlens_tf


class Boom(L.Layer):
    def call(self, x):
        raise RuntimeError("boom")


class Parts(L.Layer):
    def __init__(self, w):
        super().__init__(name="parts")
        self.weight = self.add_weight(shape=w.shape)
        self.weight.assign(w)

    def call(self, x):
        h = x @ self.weight
        return {"h": h, "pair": (h + 1, None)}


class Structured(keras.Model):
    def __init__(self, w):
        super().__init__()
        self.parts = Parts(w)

    def call(self, x):
        return self.parts(x)


def mlp(w, *, drop=(), last=None):
    layers = [dense("first", w["w1"], w["b1"]), L.ReLU(name="act"), *drop]
    return keras.Sequential([keras.Input((4,)), *layers, last or dense("last", w["w2"], w["b2"])])


class TestKeras(BackendTests):
    backend = backend
    image_axes = ("sample", "height", "width", "channel")

    def mlp(self, weights):
        return mlp(weights)

    def shared(self, weights):
        layer = dense("dense", weights["w"], weights["b"])
        x = keras.Input((4,))
        return keras.Model(x, layer(layer(x)))

    def structured(self, weights):
        return Structured(weights["w"])

    def conv(self, weights):
        layer = L.Conv2D(3, 3, name="conv")
        layer.build((None, None, None, 2))
        layer.set_weights([weights["kernel"], weights["bias"]])
        return keras.Sequential([layer])

    def dropout(self, weights):
        return mlp(weights, drop=[L.Dropout(0.5, name="drop")])

    def failing(self, weights):
        class Failing(keras.Model):
            def __init__(self):
                super().__init__()
                self.first = dense("first", weights["w1"], weights["b1"])
                self.last = Boom()

            def call(self, x):
                return self.last(self.first(x))

        model = Failing()
        for _ in range(2):  # Keras itself writes down of each layer that it was called
            with pytest.raises(RuntimeError):
                model(self.array(self.x()))
        return model

    def array(self, values):
        return array(values)

    def images(self, values):
        return array(values)

    def numpy(self, value):
        return numpy(value)

    def state(self, model):
        return state(model)

    def overwrite(self, array):
        if BACKEND != "torch":
            super().overwrite(array)
        import torch

        with torch.no_grad():
            array.fill_(99)

    def test_is_found_by_model_and_by_array(self):
        """An array belongs to the framework that Keras runs on, which may have an adapter of its own."""
        assert backend_of(self.mlp(self.weights())) is backend
        if BACKEND == "tensorflow":
            assert backend_of(self.array(self.x())) is backend


def test_version():
    own = importlib.import_module(BACKEND).__version__.replace("+", ".")
    assert backend.version() == f"{keras.__version__}+{BACKEND}.{own}"


def test_imports_only_what_keras_runs_on():
    code = (
        "import sys, keras; before = set(sys.modules); import actlens_tf\n"
        "new = set(sys.modules) - before\n"
        f"others = {{'tensorflow', 'jax', 'torch'}} - {{{BACKEND!r}}}\n"
        "assert not others & new, others & new\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


@pytest.mark.parametrize("rows", [None, [2, 0]])
def test_numpy_passes_through_fetch(rows):
    values = np.arange(6.0).reshape(3, 2)[:, ::-1]
    index = None if rows is None else np.array(rows)
    got = backend.fetch({"a": values}, rows=index)()["a"]
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, values if rows is None else values[rows])
