"""Captures in training: the same statistics, random numbers and gradients as without."""

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, array, called, captured, functional, images, numpy, only_on, state

import actlens


def noisy():
    return keras.Sequential(
        [
            keras.Input((4,)),
            L.Dense(16, kernel_initializer=keras.initializers.GlorotUniform(1), name="dense"),
            L.BatchNormalization(name="norm"),
            L.Dropout(0.5, seed=7, name="drop"),
            L.GaussianNoise(0.1, seed=8, name="noise"),
        ]
    )


def test_training_gives_what_it_gives_without_a_capture():
    plain, heard = noisy(), noisy()
    heard.set_weights(plain.get_weights())
    forward = actlens.capture(heard, ["*", "*@input"])
    for n in range(3):
        x = array(images(32, 4) + n)
        output, acts = forward(x, training=True)
        assert numpy(output).tobytes() == numpy(plain(x, training=True)).tobytes()
        np.testing.assert_array_equal(numpy(acts["noise"]), numpy(output))
    for one, other in zip(plain.variables, heard.variables, strict=True):
        assert numpy(one.value).tobytes() == numpy(other.value).tobytes()


def test_a_frozen_layer_stays_frozen():
    model = noisy()
    model.get_layer("dense").trainable = False
    model.get_layer("norm").trainable = False
    before = state(model)[0]
    mean = numpy(model.get_layer("norm").moving_mean.value)
    got = captured(model, "*", images(8, 4), training=True)
    assert list(got) == ["dense", "norm", "drop", "noise"]
    assert state(model)[0] == before
    np.testing.assert_array_equal(numpy(model.get_layer("norm").moving_mean.value), mean)
    assert not model.get_layer("dense").trainable


def test_fit_between_captures():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(1, name="b")])
    model.compile("sgd", "mse")
    x, y = images(16, 4), images(16, 1)
    forward = actlens.capture(model, "a")
    seen = []
    for _ in range(3):
        model.fit(x, y, batch_size=8, epochs=1, verbose=0)
        kernel, bias = model.get_layer("a").get_weights()
        seen.append(numpy(forward(x)[1]["a"]))
        np.testing.assert_allclose(seen[-1], x @ kernel + bias, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(seen[0], seen[1])


def test_train_on_batch_between_batches_of_record(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(1, name="b")])
    model.compile("sgd", "mse")
    x, y = images(16, 4), images(16, 1)
    truth = []

    def data():
        for _ in range(3):
            kernel, bias = model.get_layer("a").get_weights()
            truth.append(x @ kernel + bias)
            yield x
            model.train_on_batch(x, y)

    run = actlens.record(model, data(), tmp_path / "run", layers="a", progress=False)
    # the next batch is fetched after the one before it was run
    np.testing.assert_allclose(run["a"][:], np.concatenate(truth), rtol=1e-5, atol=1e-5)


def test_a_capture_inside_train_step():
    if BACKEND == "jax":
        pytest.skip("Keras's own train_step on jax is stateless")
    seen = []

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = L.Dense(3)
            self.b = L.Dense(1)

        def call(self, x):
            return self.b(self.a(x))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            _, acts = forward(x)
            seen.append(acts["a"].shape[-1])
            return keras.ops.mean((y - y_pred) ** 2) + keras.ops.mean(acts["a"] ** 2)

    model = called(Net(), 2, 4)
    forward = actlens.capture(model, "a")
    model.compile("sgd", "mse")
    before = model.a.get_weights()[0].copy()
    model.fit(images(16, 4), images(16, 1), batch_size=8, verbose=0)
    assert set(seen) == {3}
    assert not np.array_equal(before, model.a.get_weights()[0])


@only_on("torch")
def test_torch_gradients_are_those_without_a_capture():
    x = array(images(5, 4))
    model = functional()

    def gradients(call):
        model.zero_grad()
        (call(x) ** 2).sum().backward()
        return [numpy(variable.value.grad) for variable in model.trainable_variables]

    forward = actlens.capture(model, "**")
    for one, other in zip(gradients(model), gradients(lambda x: forward(x)[0]), strict=True):
        np.testing.assert_array_equal(one, other)


@only_on("tensorflow")
def test_tape_gradients_are_those_without_a_capture():
    import tensorflow as tf

    x = array(images(5, 4))
    model = functional()

    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(x) ** 2)
        return [value.numpy() for value in tape.gradient(loss, model.trainable_variables)]

    forward = actlens.capture(model, "**")
    for one, other in zip(gradients(model), gradients(lambda x: forward(x)[0]), strict=True):
        np.testing.assert_array_equal(one, other)


@only_on("tensorflow")
def test_a_function_compiled_by_xla():
    import tensorflow as tf

    model = functional()
    forward = actlens.capture(model, ["shared", "head"])
    x = array(images(5, 4))
    output, acts = tf.function(lambda x: forward(x), jit_compile=True)(x)
    assert list(acts) == ["shared", "shared:2", "head"]
    assert acts.axes["head"] == ("sample", "unit")
    np.testing.assert_allclose(output.numpy(), model(x).numpy(), rtol=1e-5, atol=1e-5)


@only_on("jax")
def test_jax_gradients_are_those_without_a_capture():
    import jax

    x = array(images(5, 4))
    model = functional()
    variables = model.trainable_variables

    def gradients(call):
        def loss(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return (call(x) ** 2).sum()

        return jax.jit(jax.grad(loss))([variable.value for variable in variables])

    forward = actlens.capture(model, "**")
    for one, other in zip(gradients(model), gradients(lambda x: forward(x)[0]), strict=True):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-5, atol=1e-5)


@only_on("jax")
def test_under_vmap_and_checkpoint_of_the_caller():
    import jax

    model = functional()
    forward = actlens.capture(model, "head")
    x = array(images(3, 5, 4))
    _, acts = jax.vmap(lambda x: forward(x))(x)
    assert acts["head"].shape == (3, 5, 2)
    _, acts = jax.checkpoint(lambda x: forward(x))(x[0])
    np.testing.assert_allclose(numpy(acts["head"]), numpy(model(x[0])), rtol=1e-5, atol=1e-5)
