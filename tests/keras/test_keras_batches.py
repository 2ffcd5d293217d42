"""Batches as data pipelines give them: partial, mixed, texts, states; and what is traced for them."""

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, array, called, captured, functional, images, numpy, only_on, state

import actlens


class Traces(L.Layer):
    """Counts how often its call runs: when traced, or each time."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def call(self, x):
        self.times += 1
        return x


def parts(x, size):
    return [x[at : at + size] for at in range(0, len(x), size)]


def test_traces_of_record(tmp_path):
    counts = Traces()
    model = keras.Sequential([keras.Input((4,)), counts, L.Dense(3, name="a")])
    counts.times = 0
    x = images(83, 4)
    run = actlens.record(model, parts(x, 8), tmp_path / "run", layers="a", progress=False)
    np.testing.assert_allclose(run["a"][:], numpy(model.get_layer("a")(array(x))), rtol=1e-5, atol=1e-5)
    counted = {"tensorflow": 2, "jax": 2, "torch": 11}[BACKEND]  # jax: once more for shapes, not compiled
    assert counts.times <= counted


class Mixes(L.Layer):
    """What a sample gives depends on the others of its batch."""

    def call(self, x):
        return x - keras.ops.mean(x, axis=0, keepdims=True)


def test_a_layer_that_mixes_the_samples_of_a_batch(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Mixes(name="mixes"), L.Dense(3, name="a")])
    x = images(21, 4)
    run = actlens.record(model, parts(x, 8), tmp_path / "run", layers="*", progress=False)
    expected = np.concatenate([part - part.mean(0) for part in parts(x, 8)])
    np.testing.assert_allclose(run["mixes"][:], expected, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_as_wide_as_it_has_samples(tmp_path):
    """A constant of the size of the batch is no batch."""

    class Constant(L.Layer):
        def call(self, x):
            return keras.ops.ones((8, 2)) * keras.ops.mean(x[:1])

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.table = L.Dense(8), Constant()

        def call(self, x):
            return self.a(x) + keras.ops.sum(self.table(x))

    model = called(Net(), 2, 8)
    x = images(20, 8)
    run = actlens.record(model, parts(x, 8), tmp_path / "run", layers="a", progress=False)
    kernel, bias = model.a.get_weights()
    np.testing.assert_allclose(run["a"][:], x @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_several_inputs_with_a_partial_batch(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([a, b], L.Concatenate(name="joined")([a, b]))
    xs = images(10, 4), images(10, 3)
    forward = actlens.capture(model, "joined")
    with forward.backend.inference(model, forward) as run:
        got = [run([xs[0][at : at + 4], xs[1][at : at + 4]])[1]["joined"] for at in (0, 4, 8)]
    np.testing.assert_array_equal(np.concatenate([numpy(one) for one in got]), np.concatenate(xs, 1))


def test_a_stateful_rnn_goes_on_in_a_record_and_is_as_before(tmp_path):
    rnn = L.SimpleRNN(3, stateful=True, name="rnn")
    model = keras.Sequential([keras.Input((5, 4), batch_size=2), rnn])
    model(images(2, 5, 4))
    rnn.reset_states()
    before = state(model)
    x = images(6, 5, 4)
    run = actlens.record(model, parts(x, 2), tmp_path / "run", layers="rnn", progress=False)
    assert state(model) == before
    truth = np.concatenate([numpy(model(array(part))) for part in parts(x, 2)])
    np.testing.assert_allclose(run["rnn"][:], truth, rtol=1e-5, atol=1e-5)


def test_statistics_and_random_numbers_are_left_alone(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            L.BatchNormalization(name="norm"),
            L.Dropout(0.5, seed=3, name="drop"),
            L.ActivityRegularization(0.1, name="reg"),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(images(16, 4), images(16, 4), verbose=0)
    model(images(8, 4), training=True)
    before = state(model)
    losses = [float(numpy(loss)) for loss in model.losses]
    assert losses
    x = images(10, 4)
    run = actlens.record(model, parts(x, 4), tmp_path / "run", layers="*", progress=False)
    actlens.layers(model, x)
    np.testing.assert_array_equal(run["drop"][:], run["norm"][:])
    assert state(model) == before
    assert [float(numpy(loss)) for loss in model.losses] == losses
    mean, spread = (numpy(v.value) for v in (model.layers[0].moving_mean, model.layers[0].moving_variance))
    np.testing.assert_allclose(
        run["norm"][:],
        (x - mean) / np.sqrt(spread + 1e-3) * numpy(model.layers[0].gamma.value)
        + numpy(model.layers[0].beta.value),
        rtol=1e-4,
        atol=1e-5,
    )
    model.fit(images(16, 4), images(16, 4), verbose=0)  # nothing of a trace is left in it


def test_a_generator_with_columns(tmp_path):
    def data():
        for n in range(3):
            x = images(4 if n < 2 else 1, 4)
            yield x, np.arange(len(x)) + 4 * n, [f"s{4 * n + k}" for k in range(len(x))]

    run = actlens.record(
        functional(), data(), tmp_path / "run", layers="head", columns=["label", "id"], progress=False
    )
    assert run.columns["label"].tolist() == list(range(9))
    assert list(run.ids) == [f"s{n}" for n in range(9)]


def test_a_torch_loader_with_columns(tmp_path):
    torch = pytest.importorskip("torch")
    xs = images(7, 4)

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 7

        def __getitem__(self, at):
            return xs[at], at, f"s{at}"

    model = functional()
    data = torch.utils.data.DataLoader(Data(), batch_size=3)
    run = actlens.record(
        model, data, tmp_path / "run", layers="head", columns=["label", "id"], progress=False
    )
    assert run.columns["label"].tolist() == list(range(7))
    assert list(run.ids) == [f"s{n}" for n in range(7)]
    np.testing.assert_allclose(run["head"][:], numpy(model(array(xs))), rtol=1e-5, atol=1e-5)


def test_float64_and_integers_are_cast_as_the_model_casts_them(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a")])
    for x in (images(6, 4).astype(np.float64), np.arange(24).reshape(6, 4), images(6, 4).astype(np.float16)):
        run = actlens.record(model, [x], tmp_path / f"run_{x.dtype}", layers="a", progress=False)
        assert run["a"].dtype == np.float32
        np.testing.assert_allclose(run["a"][:], numpy(model(x)), rtol=1e-5, atol=1e-5)


def test_a_single_sample_and_many():
    model = functional()
    x = images(300, 4)
    forward = actlens.capture(model, "head")
    with forward.backend.inference(model, forward) as run:
        for rows in (1, 300, 1, 299, 2):
            got = numpy(run(x[:rows])[1]["head"])
            np.testing.assert_allclose(got, numpy(model(array(x[:rows]))), rtol=1e-5, atol=1e-5)


def test_two_contexts_at_once():
    models = [functional(), functional()]
    x = images(3, 4)
    forwards = [actlens.capture(model, "head") for model in models]
    one = forwards[0].backend.inference(models[0], forwards[0])
    other = forwards[1].backend.inference(models[1], forwards[1])
    with one as first, other as second:
        for _ in range(2):
            got = [numpy(run(x)[1]["head"]) for run in (first, second)]
    for model, values in zip(models, got, strict=True):
        np.testing.assert_allclose(values, numpy(model(array(x))), rtol=1e-5, atol=1e-5)


@only_on("tensorflow")
def test_texts_into_a_model():
    import tensorflow as tf

    vector = L.TextVectorization(output_mode="int", output_sequence_length=4, name="vector")
    vector.adapt(["a b c", "b c d"])
    model = keras.Sequential([vector, L.Embedding(10, 3, name="emb")])
    texts = tf.constant(["a b", "d c b a"])
    plain = model(texts)
    output, acts = actlens.capture(model, ["vector", "emb"])(texts)
    np.testing.assert_array_equal(output, plain)
    np.testing.assert_array_equal(acts["vector"], vector(texts))
    forward = actlens.capture(model, ["vector", "emb"])
    with forward.backend.inference(model, forward) as run:
        for given in (texts, np.array(["a b", "d c b a"])):
            _, acts = run(given)
            np.testing.assert_allclose(acts["emb"], plain, rtol=1e-6)


def test_layers_of_preprocessing():
    norm = L.Normalization(name="norm")
    norm.adapt(images(50, 4))
    model = keras.Sequential([keras.Input((4,)), norm, L.Rescaling(2.0, name="scale")])
    x = images(5, 4)
    got = captured(model, "*", x)
    np.testing.assert_allclose(got["scale"], got["norm"] * 2, rtol=1e-5)
    np.testing.assert_allclose(got["norm"], numpy(norm(array(x))), rtol=1e-5)


def test_a_listing_computes_nothing():
    counts = Traces()
    model = keras.Sequential([keras.Input((4,)), counts, L.Dense(3, name="a")])
    if BACKEND == "torch":
        actlens.layers(model, images(2, 4))
        return
    times = []

    class Computes(L.Layer):
        def call(self, x):
            times.append(keras.ops.is_tensor(x) and hasattr(x, "numpy") and type(x).__name__)
            return x

    model = keras.Sequential([keras.Input((4,)), Computes(), L.Dense(3, name="a")])
    times.clear()
    before = state(model)
    infos = actlens.layers(model, images(1 << 4, 4))
    assert infos["a"].shape == (16, 3)
    assert "EagerTensor" not in times
    assert "ArrayImpl" not in times
    assert len(times) == 1
    assert state(model) == before


def test_a_listing_makes_no_weights():
    model = keras.Sequential([L.Dense(1 << 40, name="huge")])
    assert actlens.layers(model)["huge"].type == "Dense"
    with pytest.raises(actlens.errors.UnsupportedModel, match="was never built"):
        actlens.layers(model, images(2, 1 << 10))
    assert not model.weights
