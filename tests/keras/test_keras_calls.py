"""Which calls are heard: loops, branches, several inputs, modes, threads, errors."""

import threading

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, array, called, captured, functional, images, numpy, only_on, state

import actlens
from actlens.errors import LayerNeverFired


class Rnn(keras.Model):
    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.head = L.Dense(2)

    def call(self, x):
        return self.head(self.rnn(x))


def test_a_capture_after_predict_is_heard():
    model = functional()
    model.compile(loss="mse")
    x = images(4, 4)
    output = model.predict(x, verbose=0)
    got = captured(model, "head", x)
    np.testing.assert_allclose(got["head"], output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), output, rtol=1e-5, atol=1e-5)


def test_the_output_is_bit_for_bit_the_models_own():
    for model, shape in ((functional(), (5, 4)), (called(Rnn(L.GRU(3)), 2, 5, 4), (2, 5, 4))):
        x = array(images(*shape))
        output, _ = actlens.capture(model, ["**", "!rnn.cell"])(x)
        assert numpy(output).tobytes() == numpy(model(x)).tobytes()


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.SimpleRNN])
@pytest.mark.parametrize("unroll", [False, True])
def test_a_cell_is_heard_once_a_step_or_refused(kind, unroll):
    model = called(Rnn(kind(3, return_sequences=True, unroll=unroll, name="r")), 2, 7, 4)
    x = images(2, 7, 4)
    forward = actlens.capture(model, ["rnn", "rnn.cell[0]"])
    fused = BACKEND == "torch" and kind is not L.SimpleRNN
    if fused or (BACKEND == "jax" and not unroll):
        with pytest.raises(LayerNeverFired, match=r"capture 'rnn' itself, with return_sequences=True"):
            forward(x)
        return
    _, acts = forward(x)
    assert forward.report.calls == {"rnn.cell": 7, "rnn": 1}
    steps = [numpy(acts["rnn.cell[0]"]), *(numpy(acts[f"rnn.cell:{n}[0]"]) for n in range(2, 8))]
    np.testing.assert_allclose(np.stack(steps, 1), numpy(acts["rnn"]), rtol=1e-5, atol=1e-5)


def test_stacked_cells():
    cells = [L.GRUCell(3), L.GRUCell(2)]
    model = called(Rnn(L.RNN(cells, return_sequences=True)), 2, 5, 4)
    assert list(actlens.layers(model)) == ["rnn", "rnn.cell", "rnn.cell.cells.0", "rnn.cell.cells.1", "head"]
    forward = actlens.capture(model, "rnn.cell.cells.1[0]")
    if BACKEND == "jax":
        with pytest.raises(LayerNeverFired, match="loop of the RNN layer 'rnn'"):
            forward(images(2, 5, 4))
    else:
        forward(images(2, 5, 4))
        assert forward.report.calls == {"rnn.cell.cells.1": 5}


def test_bidirectional():
    model = called(Rnn(L.Bidirectional(L.GRU(3, return_sequences=True))), 2, 5, 4)
    forward = actlens.capture(model, ["rnn", "rnn.*_layer"])
    _, acts = forward(images(2, 5, 4))
    assert list(acts) == ["rnn.forward_layer", "rnn.backward_layer", "rnn"]
    assert acts.axes["rnn"] == ("sample", "time", "unit")
    np.testing.assert_array_equal(numpy(acts["rnn"])[..., :3], numpy(acts["rnn.forward_layer"]))


def test_time_distributed():
    model = called(Rnn(L.TimeDistributed(L.Dense(3))), 2, 5, 4)
    forward = actlens.capture(model, ["rnn", "rnn.layer"])
    _, acts = forward(images(2, 5, 4))
    assert forward.report.calls == {"rnn.layer": 5, "rnn": 1}
    assert acts.axes["rnn"] == ("sample", "time", "unit")
    np.testing.assert_array_equal(numpy(acts["rnn"])[:, 4], numpy(acts["rnn.layer:5"]))


class Branch(keras.Model):
    def __init__(self, *, outside):
        super().__init__()
        self.dense = L.Dense(4)
        self.last = L.Dense(4)
        self.outside = outside

    def build(self, shape):
        self.dense.build(shape)
        self.last.build(shape)

    def call(self, x):
        if self.outside:
            x = self.dense(x)
        x = keras.ops.vectorized_map(lambda row: self.dense(row[None])[0], x)
        return self.last(x)


@pytest.mark.parametrize("outside", [False, True])
def test_a_layer_in_an_inner_graph_is_never_dropped_in_silence(outside):
    model = called(Branch(outside=outside), 2, 4)
    before = state(model)
    forward = actlens.capture(model, "*")
    start = "dense .one of its calls runs" if outside else "dense .runs"
    with pytest.raises(LayerNeverFired, match=f"{start} inside a loop, a branch or a compiled function"):
        forward(images(3, 4))
    assert state(model) == before
    infos = actlens.layers(model, images(3, 4))
    assert "inside a loop" in infos["dense"].note
    assert infos["last"].shape == (3, 4)
    assert list(captured(model, "last", images(3, 4))) == ["last"]


def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    joined = L.Concatenate(name="joined")([L.Dense(2, name="left")(a), b])
    model = keras.Model({"a": a, "b": b}, [L.Dense(2, name="one")(joined), L.Dense(1, name="two")(joined)])
    outer = keras.Sequential([model])
    xs = {"a": images(6, 4), "b": images(6, 3)}
    got = captured(model, ["*", "joined@input"], xs)
    assert list(got)[:4] == ["left", "joined@input[0][0]", "joined@input[0][1]", "joined"]
    assert set(list(got)[4:]) == {"one", "two"}
    np.testing.assert_array_equal(got["joined"], np.concatenate([got["left"], xs["b"]], 1))
    assert outer.layers == [model]
    got = captured(keras.Model({"a": a, "b": b}, model({"a": a, "b": b})), model.name, xs)
    assert list(got) == [f"{model.name}[0]", f"{model.name}[1]"]


def test_keyword_arguments():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x, scale=1.0, training=None):
            return self.dense(x) * scale

    model = called(Two(), 2, 4)
    x = images(2, 4)
    output, _ = actlens.capture(model, "dense")(x=x, scale=2.0)
    np.testing.assert_array_equal(numpy(output), numpy(model(x, scale=2.0)))


def test_training_is_the_callers_word():
    model = keras.Sequential(
        [keras.Input((4,)), L.BatchNormalization(name="norm"), L.Dropout(0.5, name="drop")]
    )
    x = images(64, 4) + 3
    mean = numpy(model.get_layer("norm").moving_mean.value)
    got = captured(model, "*", x)
    np.testing.assert_array_equal(got["drop"], got["norm"])
    np.testing.assert_array_equal(numpy(model.get_layer("norm").moving_mean.value), mean)
    got = captured(model, "*", x, training=True)
    assert (got["drop"] == 0).mean() > 0.2
    assert not np.array_equal(numpy(model.get_layer("norm").moving_mean.value), mean)


def test_masks_pass_as_without_a_capture():
    model = keras.Sequential(
        [keras.Input((5,)), L.Embedding(9, 3, mask_zero=True, name="emb"), L.LSTM(2, name="rnn")]
    )
    x = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 0, 0]])
    output, acts = actlens.capture(model, ["emb", "rnn"])(x)
    assert numpy(output).tobytes() == numpy(model(x)).tobytes()
    assert acts.axes["emb"] == ("sample", "token", "unit")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_its_dtype(policy):
    head = L.Dense(2, dtype="float32", name="head")
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, dtype=policy, name="low"), head])
    forward = actlens.capture(model, ["*", "low@input"])
    _, acts = forward(images(2, 4))
    low = policy.removeprefix("mixed_")
    assert [forward.report.layers[key].dtype for key in ("low@input", "low", "head")] == [low, low, "float32"]
    host = forward.backend.fetch(acts)()
    assert host["low"].dtype.name == low


def test_a_quantized_layer_is_heard():
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, name="dense"), L.Dense(2, name="head")])
    model.get_layer("dense").quantize("int8")
    x = images(2, 4)
    before = state(model)
    output, acts = actlens.capture(model, "*")(x)
    assert list(acts) == ["dense", "head"]
    np.testing.assert_array_equal(numpy(acts["head"]), numpy(output))
    assert state(model) == before


def test_a_call_that_somebody_put_on_a_layer_is_heard_and_stays():
    model = functional()
    layer = model.get_layer("head")
    own = layer.call
    object.__setattr__(layer, "call", lambda x: own(x) * 2)
    mine = vars(layer)["call"]
    x = images(2, 4)
    output, acts = actlens.capture(model, "head")(x)
    assert vars(layer)["call"] is mine
    np.testing.assert_array_equal(numpy(acts["head"]), numpy(output))


def test_threads_wait_for_each_other():
    model = functional()
    before = state(model)
    forward = actlens.capture(model, "**")
    xs = [images(n + 1, 4) for n in range(4)]
    wrong = []

    def run(x):
        for _ in range(5):
            _, acts = forward(x)
            if any(value.shape[0] != len(x) for value in acts.values()) or len(acts) != 6:
                wrong.append(list(acts))

    threads = [threading.Thread(target=run, args=(x,)) for x in xs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert state(model) == before


def test_threads_with_models_that_share_a_layer():
    shared = L.Dense(4, name="shared")
    models = [keras.Sequential([keras.Input((4,)), shared, L.Dense(n + 1, name="own")]) for n in range(3)]
    before = [state(model) for model in models]
    forwards = [actlens.capture(model, "*") for model in models]
    wrong = []

    def run(forward, units):
        for _ in range(20):
            _, acts = forward(images(2, 4))
            if forward.report.calls != {"shared": 1, "own": 1} or acts["own"].shape[1] != units:
                wrong.append(forward.report.calls)

    threads = [threading.Thread(target=run, args=(forward, n + 1)) for n, forward in enumerate(forwards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [state(model) for model in models] == before


def test_a_forward_inside_of_another():
    inner = functional()
    hear = actlens.capture(inner, "head")

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner
            self.last = L.Dense(2)

        def build(self, shape):
            self.last.build((None, 2))

        def call(self, x):
            output, acts = hear(x)
            return self.last(output + acts["head"])

    model = called(Outer(), 2, 4)
    before = state(model)
    assert list(captured(model, ["inner.head", "last"], images(2, 4))) == ["inner.head", "last"]
    assert state(model) == before


def test_numpy_that_is_written_into_later_changes_nothing():
    x = images(64, 64)
    model = keras.Sequential([keras.Input((64,)), L.Identity(name="same"), L.Dense(2)])
    _, acts = actlens.capture(model, ["same", "same@input"])(x)
    truth = x.copy()
    x[:] = 99
    np.testing.assert_array_equal(numpy(acts["same"]), truth)
    np.testing.assert_array_equal(numpy(acts["same@input"]), truth)


@only_on("torch")
def test_a_model_that_writes_in_place_changes_nothing_captured():
    class InPlace(L.Layer):
        def call(self, x):
            return x.mul_(0)

    model = keras.Sequential([L.Dense(4, name="dense"), InPlace(name="zero")])
    model(images(2, 4))
    got = captured(model, "*", images(2, 4))
    assert (got["zero"] == 0).all()
    assert (got["dense"] != 0).all()
