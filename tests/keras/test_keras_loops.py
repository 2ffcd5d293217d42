"""Layers in loops: what RNNs give, and branches, loops and rematerialization of keras.ops."""

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, called, captured, images, numpy

import actlens
from actlens.errors import LayerNeverFired


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent, bias):
    h = c = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


def gru(x, kernel, recurrent, bias):
    h = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        z, r, g = np.split(x[:, t] @ kernel + bias[0], 3, axis=1)
        hz, hr, hg = np.split(h @ recurrent + bias[1], 3, axis=1)
        z, r = sigmoid(z + hz), sigmoid(r + hr)
        h = z * h + (1 - z) * np.tanh(g + r * hg)
        yield h


def simple(x, kernel, recurrent, bias):
    h = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + h @ recurrent + bias)
        yield h


KINDS = [(L.LSTM, lstm), (L.GRU, gru), (L.SimpleRNN, simple)]


def filled(layer, shape):
    """The layer with random weights, biases too."""
    layer.build(shape)
    rng = np.random.default_rng(2)
    layer.set_weights([rng.normal(size=w.shape).astype(np.float32) * 0.5 for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize(("kind", "truth"), KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_what_an_rnn_gives(kind, truth, backwards):
    layer = filled(kind(3, return_sequences=True, go_backwards=backwards, name="rnn"), (None, 6, 4))
    model = keras.Sequential([keras.Input((6, 4)), layer])
    x = images(2, 6, 4)
    expected = np.stack(list(truth(x[:, ::-1] if backwards else x, *layer.get_weights())), 1)
    np.testing.assert_allclose(captured(model, "rnn", x)["rnn"], expected, rtol=1e-4, atol=1e-5)
    fused = BACKEND == "torch" and kind is not L.SimpleRNN
    if BACKEND == "jax" or fused:
        with pytest.raises(LayerNeverFired, match="loop of the .* capture 'rnn' itself, with return_seq"):
            captured(model, "rnn.cell[0]", x)
        return
    got = captured(model, "rnn.cell[0]", x)
    keys = ["rnn.cell[0]", *(f"rnn.cell:{n}[0]" for n in range(2, 7))]
    assert list(got) == keys
    np.testing.assert_allclose(np.stack([got[key] for key in keys], 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "truth"), KINDS)
def test_both_directions(kind, truth):
    layer = filled(L.Bidirectional(kind(3, return_sequences=True), name="both"), (None, 6, 4))
    model = keras.Sequential([keras.Input((6, 4)), layer])
    x = images(2, 6, 4)
    one = np.stack(list(truth(x, *layer.forward_layer.get_weights())), 1)
    other = np.stack(list(truth(x[:, ::-1], *layer.backward_layer.get_weights())), 1)[:, ::-1]
    got = captured(model, ["both", "both.forward_layer"], x)
    np.testing.assert_allclose(got["both"], np.concatenate([one, other], 2), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["both.forward_layer"], one, rtol=1e-4, atol=1e-5)


def test_states_that_an_rnn_returns():
    layer = filled(L.LSTM(3, return_state=True, name="rnn"), (None, 6, 4))

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = layer

        def call(self, x):
            return self.rnn(x)[0]

    x = images(2, 6, 4)
    got = captured(called(Net(), 2, 6, 4), "rnn", x)
    assert list(got) == ["rnn[0]", "rnn[1]", "rnn[2]"]
    *_, last = lstm(x, *layer.get_weights())
    np.testing.assert_allclose(got["rnn[0]"], last, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got["rnn[1]"], got["rnn[0]"])


def test_a_layer_at_each_step():
    layer = filled(L.TimeDistributed(L.Dense(3), name="each"), (None, 5, 4))
    model = keras.Sequential([keras.Input((5, 4)), layer])
    x = images(2, 5, 4)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(captured(model, "each", x)["each"], x @ kernel + bias, rtol=1e-4, atol=1e-5)
    forward = actlens.capture(model, "each.layer")
    _, acts = forward(x)
    steps = np.stack([numpy(value) for value in acts.values()], 1)
    np.testing.assert_allclose(steps, x @ kernel + bias, rtol=1e-4, atol=1e-5)
    assert list(acts)[:2] == ["each.layer", "each.layer:2"]


class Net(keras.Model):
    """A layer outside of what `how` does with another layer."""

    def __init__(self, how):
        super().__init__()
        self.before = L.Dense(4)
        self.inside = L.Dense(4)
        self.how = how

    def build(self, shape):
        self.before.build(shape)
        self.inside.build(shape)

    def call(self, x):
        return self.how(self.inside, self.before(x))


def cond(layer, x):
    return keras.ops.cond(keras.ops.sum(x) < 1e9, lambda: layer(x), lambda: x)


def switch(layer, x):
    return keras.ops.switch(0, [lambda v: layer(v), lambda v: v], x)


def while_loop(layer, x):
    return keras.ops.while_loop(lambda n, _: n < 3, lambda n, v: (n + 1, layer(v)), (0, x))[1]


def fori_loop(layer, x):
    return keras.ops.fori_loop(0, 3, lambda _, v: layer(v), x)


def scan(layer, x):
    return keras.ops.scan(lambda v, _: (layer(v), v), x, length=3)[0]


def map_(layer, x):
    return keras.ops.map(lambda row: layer(row[None])[0], x)


def vectorized(layer, x):
    return keras.ops.vectorized_map(lambda row: layer(row[None])[0], x)


def remat(layer, x):
    return keras.remat(layer)(x)


HOWS = {  # how often the layer runs
    cond: 1,
    switch: 1,
    while_loop: 3,
    fori_loop: 3,
    scan: 3,
    map_: 3,
    vectorized: 3,
    remat: 1,
}


REFUSED = {
    "tensorflow": {vectorized},
    "jax": {cond, switch, while_loop, fori_loop, scan, map_, vectorized, remat},
    "torch": {vectorized},
}


def expected(model, how, x):
    """What the layer gives in its calls, from numpy."""
    (kernel, bias), (inner, inner_bias) = model.before.get_weights(), model.inside.get_weights()
    value = x @ kernel + bias
    if how in {map_, vectorized}:
        return list((value @ inner + inner_bias)[:, None])
    values = []
    for _ in range(HOWS[how]):
        value = value @ inner + inner_bias
        values.append(value)
    return values


@pytest.mark.parametrize("how", HOWS)
def test_a_layer_in_a_loop_or_branch_is_right_or_refused(how):
    model = called(Net(how), 3, 4)
    x = images(3, 4)
    plain = numpy(model(x))
    truth = expected(model, how, x)
    output, acts = actlens.capture(model, "before")(x)
    assert numpy(output).tobytes() == plain.tobytes()
    assert list(acts) == ["before"]
    forward = actlens.capture(model, "inside")
    if how in REFUSED[BACKEND]:
        # jax.checkpoint keeps the trace that the call before made
        text = "never called in this forward: inside" if how is remat else "a layer outside of it instead"
        with pytest.raises(LayerNeverFired, match=text):
            forward(x)
        if how is not remat:
            assert "inside a loop" in actlens.layers(model, x)["inside"].note
        return
    output, acts = forward(x)
    assert numpy(output).tobytes() == plain.tobytes()
    values = list(acts.values())
    if how is map_ and BACKEND == "tensorflow":  # Keras tries the function on the first row first
        np.testing.assert_array_equal(numpy(values[0]), numpy(values.pop(1)))
    assert len(values) == HOWS[how]
    for value, one in zip(values, truth, strict=True):
        np.testing.assert_allclose(numpy(value), one, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
def test_record_beside_a_loop(how, tmp_path):
    model = called(Net(how), 3, 4)
    x = images(3, 4)
    kernel, bias = model.before.get_weights()
    run = actlens.record(model, [x, x], tmp_path / "run", layers="before")
    np.testing.assert_allclose(run["before"][:3], x @ kernel + bias, rtol=1e-4, atol=1e-5)
    if BACKEND != "torch" and how in {while_loop, map_, scan}:
        with pytest.raises(LayerNeverFired, match="inside a loop"):
            actlens.record(model, [x, x], tmp_path / "other", layers="inside")


def test_a_layer_under_a_scope_of_rematerialization():
    with keras.RematScope(mode="full"):
        model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")])
    x = images(3, 4)
    kernel, bias = model.get_layer("a").get_weights()
    if BACKEND == "jax":
        with pytest.raises(LayerNeverFired, match="rematerialization"):
            captured(model, "*", x)
        return
    got = captured(model, "*", x)
    assert list(got) == ["a", "b"]
    np.testing.assert_allclose(got["a"], x @ kernel + bias, rtol=1e-4, atol=1e-5)
