"""record(): columns, data pipelines, partial batches, steps, memory."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras_models import BACKEND, L, array, called, functional, images, numpy, only_on, state

import actlens
import actlens_tf
from actlens_tf._framework import framework

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def batches(count, size, *, rows=4):
    xs = images(count * size, rows)
    return [xs[at : at + size] for at in range(0, len(xs), size)]


def test_values_are_those_of_the_model(tmp_path):
    model = functional()
    xs = batches(3, 8)
    xs[-1] = xs[-1][:5]
    run = actlens.record(
        model,
        [(x, np.arange(len(x))) for x in xs],
        tmp_path / "run",
        layers=["head", "shared"],
        columns=["label"],
    )
    x = np.concatenate(xs)
    np.testing.assert_allclose(run["head"][:], numpy(model(array(x))), rtol=1e-5, atol=1e-5)
    assert run["shared"].axes == ("sample", "unit")
    assert list(run) == ["shared", "shared:2", "head"]
    assert run.columns["label"].tolist() == [*range(8), *range(8), *range(5)]


def test_inference_mode_and_nothing_changes(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            L.BatchNormalization(name="norm"),
            L.Dropout(0.5, name="drop"),
            L.Dense(2, name="last"),
        ]
    )
    model(images(2, 4))
    before = state(model)
    run = actlens.record(model, batches(2, 8), tmp_path / "run", layers="*")
    np.testing.assert_array_equal(run["drop"][:], run["norm"][:])
    assert state(model) == before


def test_random_states_go_on_in_a_context_and_are_as_before_after_it():
    class Noisy(keras.Model):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)
            self.dense = L.Dense(4)

        def call(self, x):
            return self.dense(x + keras.random.normal(keras.ops.shape(x), seed=self.seed))

    model = called(Noisy(), 2, 4)
    before = state(model)
    x = images(2, 4)
    forward = actlens.capture(model, "dense")
    with forward.backend.inference(model, forward) as run:
        got = [numpy(run(x)[1]["dense"]) for _ in range(3)]
    assert not np.array_equal(got[0], got[1])
    assert not np.array_equal(got[1], got[2])
    assert state(model) == before
    output = [numpy(model(array(x))) for _ in range(3)]
    for one, other in zip(got, output, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_training_loop_records_its_new_weights(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, name="dense")])
    layer = model.get_layer("dense")
    forward = actlens.capture(model, "dense")
    x = images(3, 4)
    with forward.backend.inference(model, forward) as run:
        for scale in (1.0, 2.0):
            layer.set_weights([np.full((4, 2), scale, np.float32), np.zeros(2, np.float32)])
            got = numpy(run(x)[1]["dense"])
            np.testing.assert_allclose(
                got, np.repeat(x.sum(1, keepdims=True) * scale, 2, 1), rtol=1e-5, atol=1e-5
            )
    with actlens.Recorder(tmp_path / "run") as rec:
        for step in range(2):
            layer.set_weights([np.full((4, 2), step, np.float32), np.zeros(2, np.float32)])
            actlens.record(model, [x], rec, layers="dense", step=step)
    run = actlens.open(tmp_path / "run")
    assert not run.sel(step=0)["dense"][:].any()
    np.testing.assert_allclose(run.sel(step=1)["dense"][:][:, 0], x.sum(1), rtol=1e-5, atol=1e-5)


def test_traces():
    traces = []

    class Traced(L.Layer):
        def call(self, x):
            traces.append(x.shape)
            return x

    model = keras.Sequential([keras.Input((4,)), Traced(name="traced")])
    traces.clear()
    forward = actlens.capture(model, "traced")
    with forward.backend.inference(model, forward) as run:
        for x in [*batches(20, 8), images(3, 4), images(8, 4), images(3, 4)]:
            _, acts = run(x)
            assert acts.report.layers["traced"].shape == x.shape
            np.testing.assert_array_equal(numpy(acts["traced"]), x)
    assert BACKEND == "torch" or len(traces) <= 2


def test_a_model_that_mixes_the_samples_of_a_batch_is_not_filled_up():
    class Centred(L.Layer):
        def call(self, x):
            return x - keras.ops.mean(x, axis=0)

    model = keras.Sequential([keras.Input((4,)), Centred(name="centred")])
    forward = actlens.capture(model, "centred")
    with forward.backend.inference(model, forward) as run:
        for x in (images(8, 4), images(3, 4)):
            _, acts = run(x)
            np.testing.assert_allclose(numpy(acts["centred"]), x - x.mean(0), rtol=1e-5, atol=1e-5)


def test_a_model_that_looks_at_values_is_recorded(tmp_path):
    from test_keras_layers import Looks

    model = called(Looks(), 2, 4)
    forward = actlens.capture(model, "dense")
    x = np.ones((3, 4), np.float32)
    with forward.backend.inference(model, forward) as run:
        for _ in range(2):
            _, acts = run(x)
    np.testing.assert_allclose(numpy(acts["dense"]), numpy(model.dense(array(x))), rtol=1e-5)
    if BACKEND != "torch":
        assert "ran this model eagerly, since it cannot be traced" in acts.report.notes[-1]
    assert actlens.record(model, [x, x], tmp_path / "run", layers="dense")["dense"].shape == (6, 2)


def test_a_dict_of_inputs_by_name(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, L.Concatenate(name="joined")([a, b]))
    data = [({"a": images(5, 4), "b": images(5, 3)}, np.arange(5))]
    forward = actlens.capture(model, "joined")
    with forward.backend.inference(model, forward) as run:
        _, acts = run(data[0][0])
    np.testing.assert_array_equal(numpy(acts["joined"])[:, :4], data[0][0]["a"])

    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.left = L.Dense(2)

        def call(self, x, y, training=None):
            return self.left(x) + y

    model = Two()
    model(images(2, 4), images(2, 2))
    data = [{"x": images(5, 4), "y": images(5, 2), "label": np.arange(5)}]
    run = actlens.record(model, data, tmp_path / "run", layers="left", inputs=["x", "y"])
    assert run.columns["label"].tolist() == [0, 1, 2, 3, 4]


def test_a_pydataset(tmp_path):
    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            if index >= 3:
                raise IndexError
            return images(4, 4), np.full(4, index)

    run = actlens.record(functional(), Data(), tmp_path / "run", layers="head", columns=["label"])
    assert run.columns["label"].tolist() == [0] * 4 + [1] * 4 + [2] * 4


@only_on("tensorflow", "jax")
def test_a_tf_dataset_with_text_columns(tmp_path):
    tf = pytest.importorskip("tensorflow")
    xs, ids = images(10, 4), [f"sample {n} ä" for n in range(10)]
    data = tf.data.Dataset.from_tensor_slices((xs, ids, np.arange(10), ids)).batch(4)
    model = functional()
    run = actlens.record(model, data, tmp_path / "run", layers="head", columns=["id", "label", "text"])
    assert list(run.ids) == ids
    assert list(run.columns["text"]) == ids
    assert run.columns["label"].tolist() == list(range(10))
    np.testing.assert_allclose(run["head"][:], numpy(model(array(xs))), rtol=1e-5, atol=1e-5)


def test_batches_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    xs = images(6, 4)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(xs)), batch_size=4)
    model = functional()
    run = actlens.record(model, data, tmp_path / "run", layers="head")
    np.testing.assert_allclose(run["head"][:], numpy(model(array(xs))), rtol=1e-5, atol=1e-5)


def test_bfloat16_is_stored_as_it_is(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, dtype="mixed_bfloat16", name="low")])
    run = actlens.record(model, batches(2, 8), tmp_path / "run", layers="low", sample=0.5)
    assert run["low"].dtype.name == "bfloat16"


def test_a_loop_that_reuses_its_buffer(tmp_path):
    def data():
        buffer = np.empty((8, 4), np.float32)
        for x in xs:
            buffer[:] = x
            yield buffer

    xs = batches(4, 8)
    model = keras.Sequential([keras.Input((4,)), L.Identity(name="same")])
    run = actlens.record(model, data(), tmp_path / "run", layers=["same", "same@input"])
    np.testing.assert_array_equal(run["same"][:], np.concatenate(xs))
    np.testing.assert_array_equal(run["same@input"][:], np.concatenate(xs))


@only_on("torch")
def test_flags_of_wrapped_torch_modules_are_put_back():
    import torch

    wrapped = keras.layers.TorchModuleWrapper(torch.nn.Dropout(0.5), name="drop")
    model = keras.Sequential([wrapped])
    model(images(2, 4), training=True)
    before = [module.training for module in model.modules()]
    forward = actlens.capture(model, "drop")
    x = images(2, 4)
    with forward.backend.inference(model, forward) as run:
        _, acts = run(x)
    np.testing.assert_array_equal(numpy(acts["drop"]), x)
    actlens.layers(model, x)
    assert [module.training for module in model.modules()] == before
    assert framework().version() == torch.__version__


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_over_a_thousand_batches(tmp_path):
    model = keras.Sequential([keras.Input((64,)), L.Dense(256, name="a"), L.Dense(8, name="b")])
    x = images(32, 64)

    def data():
        for n in range(1100):
            if n == 100:
                seen.append(resident())
            yield x

    seen = []
    actlens.record(model, data(), tmp_path / "run", layers={"a": "b u -> b", "b": None}, progress=False)
    assert resident() - seen[0] < 50 << 20
    assert actlens_tf.name == "keras"
