"""What is refused, and that each refusal says what to do."""

import keras
import numpy as np
import pytest
from keras_models import BACKEND, Block, L, functional, images, only_on

import actlens
import actlens_tf
from actlens.errors import LayerNeverFired, UncapturableValue, UnsupportedModel


def test_a_model_without_weights_is_refused():
    text = (
        r"this Sequential was never built: its weights do not exist yet \(layer 'dense'\). "
        r"Call model\(x\) or model.build"
    )
    model = keras.Sequential([L.Dense(2, name="dense")])
    assert list(actlens.layers(model)) == ["dense"]
    for refused in (lambda: actlens.capture(model, "*"), lambda: actlens.layers(model, images(2, 4))):
        with pytest.raises(UnsupportedModel, match=text):
            refused()
    assert not model.built
    model.build((None, 4))
    assert actlens.layers(model, images(2, 4))["dense"].shape == (2, 2)


def test_a_subclassed_model_without_weights_is_refused():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block(3)

        def call(self, x):
            return self.block(x)

    with pytest.raises(UnsupportedModel, match="this Net was never built"):
        actlens.capture(Net(), "*")


def test_a_model_of_layers_without_weights_is_taken():
    model = keras.Sequential([L.Flatten(name="flat")])
    _, acts = actlens.capture(model, "flat")(images(2, 3, 4))
    assert acts["flat"].shape == (2, 12)


def test_symbols_are_refused():
    model = functional()
    with pytest.raises(LayerNeverFired, match="KerasTensor, a symbol without values; call it with arrays"):
        actlens.capture(model, "head")(keras.Input((4,)))
    with pytest.raises(UncapturableValue, match="layer 'a' gave a KerasTensor, a symbol without values"):
        actlens_tf.fetch({"a": keras.Input((4,))})


def test_fetch_of_what_is_no_array():
    with pytest.raises(UncapturableValue, match=r"gave a builtins.object, .* Turn it into an array first"):
        actlens_tf.fetch({"a": object()})


def test_attention_that_is_fused_says_so():
    x = keras.Input((5, 4))
    model = keras.Model(x, L.MultiHeadAttention(2, 3, name="att")(x, x))
    with pytest.raises(LayerNeverFired, match="unless return_attention_scores=True"):
        actlens.capture(model, "att._softmax")(images(2, 5, 4))
    assert "fuses it" in actlens.layers(model)["att._softmax"].note


def test_what_is_no_model():
    class Fake:
        __module__ = "keras.fake"

    with pytest.raises(
        UnsupportedModel, match=r"a keras.fake.*Fake is not a model. Give the keras.Model whose"
    ):
        actlens.capture(Fake(), "*")


@only_on("tensorflow")
def test_saved_models_and_modules_are_refused(tmp_path):
    import tensorflow as tf

    model = functional()
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(UnsupportedModel, match="was loaded from a SavedModel, a graph without Keras layers"):
        actlens.layers(tf.saved_model.load(str(tmp_path / "saved")))
    layer = L.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve", name="served")
    with pytest.raises(UnsupportedModel, match="a TFSMLayer runs a SavedModel"):
        actlens.layers(layer)
    inside = keras.Sequential([layer])
    _, acts = actlens.capture(inside, "served")(images(2, 4))
    np.testing.assert_allclose(acts["served"].numpy(), model(images(2, 4)).numpy(), rtol=1e-5)

    class Old(tf.Module):
        pass

    with pytest.raises(UnsupportedModel, match="is a tf.Module, whose methods nothing can listen to"):
        actlens.layers(Old())
    old = type("Legacy", (tf.Module,), {"__module__": "tf_keras.src.engine.training"})
    with pytest.raises(UnsupportedModel, match="is a model of Keras 2"):
        actlens.layers(old())


class Gives(L.Layer):
    def __init__(self, make):
        super().__init__(name="gives")
        self.make = make

    def call(self, x):
        return self.make(x)


class Net(keras.Model):
    def __init__(self, make):
        super().__init__()
        self.gives = Gives(make)

    def call(self, x):
        self.gives(x)
        return x


def _refused(make, text):
    with pytest.raises(UncapturableValue, match=f"layer 'gives' gave {text}"):
        actlens.capture(Net(make), "gives")(images(2, 4))


@only_on("tensorflow")
def test_unusual_tensors_of_tensorflow():
    import tensorflow as tf

    ragged = tf.ragged.constant([[1.0], [2.0, 3.0]])
    sparse = tf.sparse.from_dense([[1.0, 0.0]])
    _refused(lambda x: ragged, r"a ragged tensor, .* t.to_tensor")
    _refused(lambda x: sparse, r"a sparse tensor, .* tf.sparse.to_dense")
    _, acts = actlens.capture(Net(lambda x: ragged), {"gives": lambda t: t.to_tensor()})(images(2, 4))
    assert acts["gives"].shape == (2, 2)
    for value, text in ((ragged, "ragged"), (sparse, "sparse")):
        with pytest.raises(UncapturableValue, match=f"layer 'a' gave a {text} tensor"):
            actlens_tf.fetch({"a": value})
    with pytest.raises(UncapturableValue, match="string tensor that is not UTF-8"):
        actlens_tf.fetch({"a": tf.constant([b"\xff"])})()
    with pytest.raises(UncapturableValue, match="a tensor of variant"):
        actlens_tf.fetch({"a": tf.data.experimental.to_variant(tf.data.Dataset.range(2))})

    @tf.function
    def inside(x):
        actlens_tf.fetch({"a": x})

    with pytest.raises(
        UncapturableValue, match="a symbolic tensor of a graph, .* Return it from the tf.function"
    ):
        inside(tf.zeros(2))
    forward = actlens.capture(Net(lambda x: tf.py_function(lambda v: v, [x], tf.float32)), "gives")
    with pytest.raises(UncapturableValue, match="a tensor of unknown rank, .* tf.ensure_shape"):
        tf.function(lambda x: forward(x))(tf.zeros((2, 4)))


@only_on("jax")
def test_unusual_arrays_of_jax():
    import jax
    import jax.experimental.sparse

    sparse = jax.experimental.sparse.BCOO.fromdense(np.eye(2))
    keys = jax.random.key(0)
    _refused(lambda x: sparse, r"a sparse array, .* a.todense")
    _refused(lambda x: keys, r"random keys, .* jax.random.key_data")
    for value, text in ((sparse, "a sparse array"), (keys, "random keys")):
        with pytest.raises(UncapturableValue, match=text):
            actlens_tf.fetch({"a": value})
    with pytest.raises(UncapturableValue, match="a tracer of a jax transformation, .* write it outside"):
        jax.jit(lambda x: actlens_tf.fetch({"a": x}))(np.zeros(2))


@only_on("torch")
def test_unusual_tensors_of_torch():
    import torch

    sparse = torch.eye(2).to_sparse()
    meta = torch.zeros(2, device="meta")
    _refused(lambda x: sparse, r"a sparse tensor .torch.sparse_coo., .* t.to_dense")
    _refused(lambda x: meta, "a meta tensor, which has no values")
    for value, text in ((sparse, "a sparse or nested tensor"), (meta, "a meta tensor")):
        with pytest.raises(UncapturableValue, match=text):
            actlens_tf.fetch({"a": value})
    with pytest.raises(UncapturableValue, match=r"a tensor of torch.bits8, which numpy lacks"):
        actlens_tf.fetch({"a": torch.empty(2, dtype=torch.bits8)})
    with pytest.raises(UncapturableValue, match="a tensor inside torch.vmap"):
        torch.vmap(lambda row: actlens.capture(Net(lambda x: x), "gives")(row)[0])(torch.zeros(2, 4))


def test_keras_variables_are_read():
    variable = keras.Variable(np.arange(3.0, dtype="float32"))
    np.testing.assert_array_equal(actlens_tf.fetch({"a": variable})()["a"], [0, 1, 2])
    assert BACKEND in actlens_tf.version()
