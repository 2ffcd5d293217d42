"""layers(): shapes without computing, axes, and a model that is as before."""

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, called, functional, images, numpy, state

import actlens
from actlens_tf._axes import axes_of


def test_a_listing_changes_nothing():
    model = keras.Sequential(
        [keras.Input((4,)), L.BatchNormalization(), L.Dropout(0.5), L.GaussianNoise(1.0), L.Dense(2)]
    )
    model(images(2, 4))
    before = state(model)
    actlens.layers(model, images(8, 4))
    actlens.layers(model)
    assert state(model) == before


class Stateful(keras.Model):
    def __init__(self):
        super().__init__()
        self.count = self.add_weight(shape=(), trainable=False, name="count")
        self.dense = L.Dense(2)

    def call(self, x):
        self.count.assign_add(1.0)
        return self.dense(x)


def test_a_listing_leaves_counters():
    model = called(Stateful(), 2, 4)
    count = float(numpy(model.count.value))
    actlens.layers(model, images(3, 4))
    assert float(numpy(model.count.value)) == count


class Looks(keras.Model):
    """A model that decides by values."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)
        self.other = L.Dense(3)

    def build(self, shape):
        self.dense.build(shape)
        self.other.build(shape)

    def call(self, x):
        return self.dense(x) if float(keras.ops.sum(x)) > 0 else self.other(x)


def test_a_model_that_looks_at_values_is_run():
    model = called(Looks(), 2, 4)
    infos = actlens.layers(model, np.ones((3, 4), np.float32))
    assert infos["dense"].shape == (3, 2)
    assert infos["other"].note.startswith("never called")


def test_a_cell_in_a_loop_has_a_note():
    model = keras.Sequential([keras.Input((5, 4)), L.GRU(3, name="rnn")])
    note = actlens.layers(model, images(2, 5, 4))["rnn.cell"].note
    assert note.startswith("never called: runs inside the loop of the GRU layer 'rnn'")
    note = actlens.layers(model)["rnn.cell"].note
    assert note.startswith("runs inside the loop") == (BACKEND != "torch")


def test_a_layer_that_gives_no_array():
    class Nothing(L.Layer):
        def call(self, x):
            return None

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.nothing = Nothing()

        def call(self, x):
            self.nothing(x)
            return x

    assert actlens.layers(Net(), images(2, 4))["nothing"].note == "returned no array"


def test_keys_come_in_the_order_of_the_forward():
    infos = actlens.layers(functional(), images(3, 4))
    assert list(infos) == ["shared", "inner.in1", "inner.in2", "inner", "shared:2", "head"]
    assert infos["inner"].shape == (3, 4)
    assert infos["inner"].axes == ("sample", "unit")


IMAGE = ("sample", "height", "width", "channel")
FIRST = ("sample", "channel", "height", "width")
TOKENS = ("sample", "token", "unit")
VOLUME = ("sample", "depth", "height", "width", "channel")


@pytest.mark.parametrize(
    ("layer", "suffix", "rank", "names"),
    [
        (L.Dense(2), "", 2, ("sample", "unit")),
        (L.Dense(2), "", 3, TOKENS),
        (L.Dense(2), "", 4, None),
        (L.Embedding(3, 2), "", 3, TOKENS),
        (L.Conv1D(2, 3), "", 3, ("sample", "time", "channel")),
        (L.Conv2D(2, 3), "", 4, IMAGE),
        (L.Conv2D(2, 3, data_format="channels_first"), "", 4, FIRST),
        (L.Conv3D(2, 3), "", 5, VOLUME),
        (L.MaxPooling2D(), "", 4, IMAGE),
        (L.GlobalAveragePooling2D(), "", 2, ("sample", "channel")),
        (L.GlobalAveragePooling2D(keepdims=True, data_format="channels_first"), "", 4, FIRST),
        (L.UpSampling1D(), "", 3, ("sample", "time", "channel")),
        (L.BatchNormalization(), "", 2, ("sample", "unit")),
        (L.BatchNormalization(), "", 4, IMAGE),
        (L.BatchNormalization(axis=1), "", 4, FIRST),
        (L.BatchNormalization(axis=2), "", 4, None),
        (L.LayerNormalization(), "", 3, TOKENS),
        (L.ReLU(), "", 2, ("sample", "unit")),
        (L.ReLU(), "", 4, None),
        (L.Flatten(), "", 2, ("sample", "unit")),
        (L.Reshape((2, 2)), "", 3, None),
        (L.LSTM(2), "", 2, ("sample", "unit")),
        (L.LSTM(2, return_sequences=True), "", 3, ("sample", "time", "unit")),
        (L.GRU(2, return_sequences=True, return_state=True), "[0]", 3, ("sample", "time", "unit")),
        (L.GRU(2, return_sequences=True, return_state=True), "[1]", 2, ("sample", "unit")),
        (L.ConvLSTM2D(2, 3, return_sequences=True), "", 5, ("sample", "time", "height", "width", "channel")),
        (L.ConvLSTM2D(2, 3), "", 4, IMAGE),
        (L.Bidirectional(L.GRU(2, return_sequences=True)), "", 3, ("sample", "time", "unit")),
        (L.TimeDistributed(L.Conv2D(2, 3)), "", 5, ("sample", "time", "height", "width", "channel")),
        (L.TimeDistributed(L.Conv1D(2, 3)), "", 4, None),
        (L.MultiHeadAttention(2, 3), "", 3, TOKENS),
        (L.MultiHeadAttention(2, 3), "[1]", 4, ("sample", "head", "query", "key")),
        (L.Attention(), "[1]", 3, ("sample", "query", "key")),
        (keras.Sequential([L.Conv2D(2, 3)]), "", 4, IMAGE),
        (keras.Sequential([]), "", 4, None),
    ],
)
def test_axes(layer, suffix, rank, names):
    assert axes_of(layer)(suffix, np.zeros((1,) * rank)) == names
