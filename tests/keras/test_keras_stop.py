"""stop=True: the forward ends after what is needed, and says where it cannot."""

import keras
import numpy as np
from keras_models import L, called, captured, functional, images, numpy

import actlens


class Counting(L.Layer):
    def __init__(self):
        super().__init__()
        self.times = 0

    def call(self, x):
        self.times += 1
        return x


def test_stop_ends_after_what_is_needed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = L.Dense(4)
            self.b = Counting()

        def call(self, x):
            return self.b(self.a(x))

    model = called(Net(), 2, 4)
    forward = actlens.capture(model, "a", stop=True)
    x = images(2, 4)
    forward(x)
    times = model.b.times
    output, acts = forward(x)
    assert output is None
    assert list(acts) == ["a"]
    assert model.b.times == times
    forward(images(3, 4))  # another kind of input is learned anew
    assert model.b.times == times + 1
    np.testing.assert_array_equal(numpy(acts["a"]), captured(model, "a", x)["a"])


def test_stop_runs_in_full_where_a_layer_is_called_twice():
    forward = actlens.capture(functional(), "shared", stop=True)
    for _ in range(2):
        output, acts = forward(images(2, 4))
        assert output is None
        assert list(acts) == ["shared", "shared:2"]
        assert "called more than once" in forward.report.notes[0]


def test_stop_runs_in_full_with_an_unknown_argument():
    class Config:
        pass

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = L.Dense(4)

        def call(self, x, config=None):
            return self.a(x)

    forward = actlens.capture(called(Net(), 2, 4), "a", stop=True)
    forward(images(2, 4), config=Config())
    assert "Config, whose content may decide which layers fire" in forward.report.notes[0]
