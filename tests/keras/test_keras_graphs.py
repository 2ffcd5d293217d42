"""Captures inside tf.function, gradient tapes, jax.jit and torch's autograd."""

import keras
import numpy as np
import pytest
from keras_models import L, array, functional, images, numpy, only_on

import actlens
from actlens.activations import Activations
from actlens.errors import LayerNeverFired


@only_on("tensorflow")
def test_in_a_tf_function_with_names_and_report():
    import tensorflow as tf

    model = functional()
    forward = actlens.capture(model, ["**", "!head"])
    step = tf.function(lambda x: forward(x))
    x = tf.constant(images(5, 4))
    output, acts = step(x)
    _, eager = forward(x)
    assert isinstance(acts, Activations)
    assert list(acts) == list(eager)
    assert acts.axes == eager.axes != {}
    assert acts.report.calls == eager.report.calls
    for key in eager:
        np.testing.assert_allclose(acts[key].numpy(), eager[key].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output.numpy(), model(x).numpy(), rtol=1e-5, atol=1e-6)


@only_on("tensorflow")
def test_in_a_tf_function_of_unknown_sizes():
    import tensorflow as tf

    forward = actlens.capture(functional(), {"shared": "b u -> b", "head": None})
    step = tf.function(lambda x: forward(x)[1], input_signature=[tf.TensorSpec([None, 4])])
    assert step(images(5, 4))["head"].shape == (5, 2)
    acts = step(images(3, 4))
    assert acts["shared"].shape == (3,)
    assert acts.axes == {"shared": ("sample",), "shared:2": ("sample",), "head": ("sample", "unit")}
    assert acts.report.layers["head"].shape == (-1, 2)


@only_on("tensorflow")
def test_gradients_through_a_capture():
    import tensorflow as tf

    model = functional()
    x = tf.constant(images(5, 4))
    forward = actlens.capture(model, "inner")
    for wrap in (lambda f: f, tf.function):

        def grads(x):
            with tf.GradientTape() as tape:
                output, acts = forward(x)
                loss = tf.reduce_sum(output**2) + tf.reduce_sum(acts["inner"])
            return tape.gradient(loss, [acts["inner"], *model.trainable_variables])

        for gradient in wrap(grads)(x):
            assert gradient is not None
            assert np.isfinite(gradient.numpy()).all()


@only_on("tensorflow")
def test_stop_in_a_graph_gives_no_output():
    import tensorflow as tf

    forward = actlens.capture(functional(), "inner.in1", stop=True)
    output, acts = tf.function(lambda x: forward(x))(images(5, 4))
    assert output is None
    assert list(acts) == ["inner.in1"]


@only_on("tensorflow", "jax")
def test_a_cell_in_a_graph_is_refused():
    model = keras.Sequential([keras.Input((5, 4)), L.LSTM(3, name="rnn")])
    forward = actlens.capture(model, "**")
    x = array(images(2, 5, 4))
    text = (
        "rnn.cell .runs inside the loop of the LSTM layer 'rnn', where values cannot leave the graph; capture"
    )
    with pytest.raises(LayerNeverFired, match=text):
        _compiled(lambda x: forward(x))(x)
    forward = actlens.capture(model, "rnn")
    _, acts = _compiled(lambda x: forward(x))(x)
    assert acts["rnn"].shape == (2, 3)


def _compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    return jax.jit(function)


@only_on("jax")
def test_in_jax_jit_with_names_and_report():
    import jax

    model = functional()
    forward = actlens.capture(model, "**")
    x = array(images(5, 4))
    _, acts = jax.jit(lambda x: forward(x))(x)
    _, eager = forward(x)
    assert isinstance(acts, Activations)
    assert list(acts) == list(eager)
    assert acts.axes == eager.axes != {}
    assert acts.report.calls == eager.report.calls
    for key in eager:
        np.testing.assert_allclose(numpy(acts[key]), numpy(eager[key]), rtol=1e-5, atol=1e-6)


@only_on("jax")
def test_jax_gradients_of_the_weights():
    import jax

    model = functional()
    forward = actlens.capture(model, "inner")
    x = array(images(5, 4))
    variables = model.trainable_variables

    @jax.jit
    @jax.grad
    def gradient(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            output, acts = forward(x)
        return (output**2).sum() + acts["inner"].sum()

    for value in gradient([variable.value for variable in variables]):
        assert np.abs(numpy(value)).max() > 0


@only_on("jax")
def test_stop_under_jit():
    import jax

    forward = actlens.capture(functional(), "inner.in1", stop=True)
    for _ in range(2):
        output, acts = jax.jit(lambda x: forward(x))(array(images(5, 4)))
        assert output is None
        assert list(acts) == ["inner.in1"]


@only_on("torch")
def test_torch_gradients():
    import torch

    model = functional()
    x = torch.from_numpy(images(5, 4)).requires_grad_()
    output, acts = actlens.capture(model, "inner")(x)
    (output.sum() + acts["inner"].sum()).backward()
    assert x.grad is not None
    assert all(variable.value.grad is not None for variable in model.trainable_variables)


@only_on("torch")
def test_activations_are_a_pytree_of_torch():
    import torch.utils._pytree as pytree

    _, acts = actlens.capture(functional(), "inner")(images(5, 4))
    doubled = pytree.tree_map(lambda t: t * 2, acts)
    assert doubled.axes == acts.axes
    assert (doubled["inner"] == acts["inner"] * 2).all()


@only_on("tensorflow", "jax")
def test_a_model_whose_call_is_compiled_by_its_author():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.Dense(3), L.Dense(2)

        def call(self, x):
            return self.b(self.a(x))

    def with_call(call):
        model = type("Net", (Net,), {"call": call})()
        model.a.build((None, 4))
        model.b.build((None, 3))
        return model

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        model = with_call(tf.function(Net.call))
    else:
        import functools

        import jax

        model = with_call(functools.wraps(Net.call)(jax.jit(Net.call, static_argnums=0)))
    x = array(images(2, 4))
    for text in (
        "a .runs inside",
        "a .runs inside of Net.call, a compiled function",
    ):  # traced now, and before
        with pytest.raises(LayerNeverFired, match=text):
            actlens.capture(model, "a")(x)
    with pytest.raises(LayerNeverFired, match="take the decorator away, since Keras compiles by itself"):
        actlens.capture(model, "a")(x)
    assert "compiled function" in actlens.layers(model, x)["a"].note
