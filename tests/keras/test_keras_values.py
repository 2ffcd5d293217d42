"""What layers give, held against numpy: every kind of model, nested, shared, several inputs and outputs."""

import keras
import numpy as np
import pytest
from keras_models import Block, L, array, called, captured, dense, images, numpy

import actlens
from actlens.errors import NoLayerMatches

RNG = np.random.default_rng(5)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


W1, W2, W3, B = weights(4, 4), weights(4, 4), weights(4, 2), weights(4)


def in_a_sequence():
    return keras.Sequential(
        [keras.Input((4,)), dense("one", W1, B), L.Activation("tanh", name="act"), dense("two", W3)]
    )


def as_functions():
    x = keras.Input((4,))
    return keras.Model(x, dense("two", W3)(L.Activation("tanh", name="act")(dense("one", W1, B)(x))))


class AsClass(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.act, self.two = dense("a", W1, B), L.Activation("tanh"), dense("b", W3)

    def call(self, x):
        return self.two(self.act(self.one(x)))


@pytest.mark.parametrize("make", [in_a_sequence, as_functions, AsClass])
def test_every_kind_of_model(make):
    x = images(5, 4)
    model = called(make(), 2, 4)
    got = captured(model, ["*", "*@input"], x)
    assert list(got) == ["one@input", "one", "act@input", "act", "two@input", "two"]
    one = x @ W1 + B
    for key, expected in {"one": one, "act": np.tanh(one), "two": np.tanh(one) @ W3, "one@input": x}.items():
        close(got[key], expected)
    assert numpy(actlens.capture(model, "*")(array(x))[0]).tobytes() == numpy(model(array(x))).tobytes()


class Deep(keras.Model):
    """Three levels, one each in a list, a dict, and a tuple in a dict in a list."""

    def __init__(self):
        super().__init__()
        inner = keras.Sequential([keras.Input((4,)), dense("low", W1, B)], name="inner")
        middle = keras.Sequential([keras.Input((4,)), inner, dense("mid", W2)], name="middle")
        self.listed = [middle]
        self.named = {"left": dense("x", W3), "right": [{"far": (dense("y", W2), dense("z", W3))}]}

    def call(self, x):
        x = self.listed[0](x)
        near, far = self.named["right"][0]["far"]
        return self.named["left"](x) + far(near(x))


def test_three_levels_in_lists_and_dicts():
    x = images(5, 4)
    model = called(Deep(), 2, 4)
    got = captured(model, "**", x)
    low = x @ W1 + B
    mid = low @ W2
    expected = {
        "listed.0.inner.low": low,
        "listed.0.inner": low,
        "listed.0.mid": mid,
        "listed.0": mid,
        "named.left": mid @ W3,
        "named.right.0.far.0": mid @ W2,
        "named.right.0.far.1": mid @ W2 @ W3,
    }
    assert list(got) == list(expected)
    for key, value in expected.items():
        close(got[key], value)
    assert list(captured(model, "**.low", x)) == ["listed.0.inner.low"]


def test_a_nested_model_that_is_called_twice():
    inner = keras.Sequential([keras.Input((4,)), dense("low", W1, B)], name="inner")
    x, y = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([x, y], L.Add(name="sum")([inner(x), inner(inner(y))]))
    a, b = images(5, 4), images(5, 4) + 1
    got = captured(model, ["inner", "inner.low"], [a, b])
    assert sorted(got) == ["inner", "inner.low", "inner.low:2", "inner.low:3", "inner:2", "inner:3"]
    once = [v @ W1 + B for v in (a, b)]
    expected = [*once, once[1] @ W1 + B]
    for n, key in enumerate(["inner", "inner:2", "inner:3"]):
        matching = [truth for truth in expected if np.allclose(got[key], truth, atol=1e-4)]
        assert len(matching) == 1
        np.testing.assert_array_equal(got[key], got[key.replace("inner", "inner.low")])
        assert n < 3


def test_several_inputs_and_outputs_by_name_and_place():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    one, two = dense("one", W1, B), dense("two", W3)
    left, right = one(a), two(b)
    xs = [images(5, 4), images(5, 4) * 2]
    expected = {"one": xs[0] @ W1 + B, "two": xs[1] @ W3}
    for model, given in (
        (keras.Model([a, b], [left, right]), xs),
        (keras.Model({"a": a, "b": b}, {"l": left, "r": (right, left)}), {"a": xs[0], "b": xs[1]}),
    ):
        output, acts = actlens.capture(model, "*")(given)
        assert set(acts) == set(expected)
        for key, value in expected.items():
            close(numpy(acts[key]), value)
        outer = keras.Sequential([model]) if isinstance(given, list) else None
        close(numpy(output[0] if outer else output["l"]), expected["one"])


class Outer(keras.Model):
    """What a layer returns is a dict with a tuple in it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner({"a": x, "b": x})["l"]


def test_leaves_of_an_inner_model():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    left, right = dense("one", W1, B)(a), dense("two", W3)(b)
    model = called(Outer(keras.Model({"a": a, "b": b}, {"l": left, "r": (right, left)})), 2, 4)
    x = images(3, 4)
    got = captured(model, ["inner", "inner@input"], x)
    assert set(got) == {"inner[l]", "inner[r][0]", "inner[r][1]", "inner@input[0][a]", "inner@input[0][b]"}
    close(got["inner[l]"], x @ W1 + B)
    close(got["inner[r][0]"], x @ W3)
    close(got["inner@input[0][b]"], x)
    assert list(captured(model, "inner[r][0]", x)) == ["inner[r][0]"]


def test_a_layer_of_ones_own_with_layers_inside():
    model = keras.Sequential([keras.Input((4,)), Block(4)])
    block = model.layers[0]
    x = images(3, 4)
    got = captured(model, "**", x)
    assert list(got) == [f"{block.name}.dense", f"{block.name}.norm", block.name]
    kernel, bias = map(np.asarray, block.dense.get_weights())
    hidden = x @ kernel + bias
    close(got[f"{block.name}.dense"], hidden)
    centred = hidden - hidden.mean(1, keepdims=True)
    close(got[block.name], centred / np.sqrt((centred**2).mean(1, keepdims=True) + block.norm.epsilon))


def test_the_same_model_in_another_order_of_captures():
    model = called(AsClass(), 2, 4)
    x = images(3, 4)
    both = captured(model, ["one", "two"], x)
    close(captured(model, "two", x)["two"], both["two"])
    close(captured(model, "one", x)["one"], both["one"])


def test_a_pattern_of_another_model_lists_the_layers():
    with pytest.raises(NoLayerMatches, match=r"encoder") as caught:
        actlens.capture(in_a_sequence(), "encoder.*")
    for name in ("one", "act", "two"):
        assert name in str(caught.value)
