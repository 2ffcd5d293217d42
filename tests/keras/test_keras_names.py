"""What layers are called: the same on every backend of Keras."""

import keras
import numpy as np
from keras_models import BACKEND, Block, L, Subclassed, called, captured, functional, images

import actlens


def test_a_functional_model_has_the_names_of_its_layers():
    assert list(actlens.layers(functional())) == ["shared", "inner", "inner.in1", "inner.in2", "head"]


def test_a_subclassed_model_has_the_names_of_its_attributes():
    infos = actlens.layers(called(Subclassed(), 2, 4))
    assert list(infos) == [
        *("first", "blocks.0", "blocks.0.dense", "blocks.0.norm", "blocks.1", "blocks.1.dense"),
        *("blocks.1.norm", "heads.a", "heads.b_c", "pair.0", "pair.1"),
        *("enc", "enc.shared", "enc.inner", "enc.inner.in1", "enc.inner.in2", "enc.head"),
    ]
    assert infos["first"].aliases == ("again",)
    assert infos["blocks.0"].type == "Block"


def test_every_nested_layer_is_captured():
    model = called(Subclassed(), 2, 4)
    x = images(5, 4)
    got = captured(model, "**", x)
    assert list(got) == [
        *("first", "first:2", "blocks.0.dense", "blocks.0.norm", "blocks.0", "blocks.1.dense"),
        *("blocks.1.norm", "blocks.1", "pair.0", "pair.1", "heads.a", "heads.b_c"),
        *("enc.shared", "enc.inner.in1", "enc.inner.in2", "enc.inner", "enc.shared:2", "enc.head", "enc"),
    ]
    kernel, bias = map(np.asarray, model.first.get_weights())
    np.testing.assert_allclose(got["first"], x @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got["first:2"], got["first"] @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got["enc"], got["enc.head"])
    np.testing.assert_array_equal(got["enc.inner"], got["enc.inner.in2"])


def test_names_that_keys_are_made_of_are_made_legal_and_stay_apart():
    names = ["a.b" if BACKEND != "torch" else "a@b", "a:b", "a_b"]  # torch itself refuses a dot
    model = keras.Sequential([keras.Input((4,)), *(L.Dense(4, name=name) for name in names)])
    assert list(actlens.layers(model)) == ["a_b", "a_b_1", "a_b_2"]
    assert list(captured(model, "a_b_1", images(2, 4))) == ["a_b_1"]


def test_a_layer_that_holds_the_one_around_it():
    model = functional()
    object.__setattr__(model.get_layer("head"), "owner", model)
    assert list(actlens.layers(model)) == ["shared", "inner", "inner.in1", "inner.in2", "head"]


def test_same_class_siblings_keep_their_own_names():
    a = keras.Sequential([keras.Input((4,)), L.Dense(4, name="blk")], name="one")
    b = keras.Sequential([keras.Input((4,)), L.Dense(4, name="blk")], name="two")
    model = keras.Sequential([keras.Input((4,)), a, b])
    assert list(actlens.layers(model)) == ["one", "one.blk", "two", "two.blk"]


def test_a_bare_layer_is_a_model_where_it_holds_layers():
    block = Block(3)
    block(images(2, 4))
    assert list(captured(block, "*", images(2, 4))) == ["dense", "norm"]


def test_layers_that_a_functional_model_holds_beside_its_graph():
    class Wrapped(keras.Model):
        def __init__(self):
            x = keras.Input((4,))
            super().__init__(x, L.Dense(4, name="core")(x))
            self.more = L.Dense(2)

        def call(self, x, training=None, mask=None):
            return self.more(super().call(x))

    model = called(Wrapped(), 2, 4)
    assert list(captured(model, "**", images(2, 4))) == ["core", "more"]
