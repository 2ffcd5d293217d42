"""The demo: the same samples at every step, pictures that show something, and no file of others touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from cli_run import CommandLine

import actlens
from actlens.demo import digits, folder, pictures, protocol, run_demo
from actlens.demo.problems import DemoError
from actlens.errors import MissingDependency

pytest.importorskip("sklearn")


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def sets():
    return digits.split(digits.load(), 0)


def test_the_split_is_a_partition_with_the_same_shares(sets):
    training, held_out = sets
    assert len(held_out) == digits.HELD_OUT
    assert sorted([*training.ids, *held_out.ids]) == list(range(1797))
    assert np.all(np.diff(held_out.ids) > 0)
    shares = [np.bincount(part.labels) / len(part) for part in sets]
    assert np.abs(shares[0] - shares[1]).max() < 0.01


def test_the_split_is_the_seeds(sets):
    again = digits.split(digits.load(), 0)
    other = digits.split(digits.load(), 1)
    assert np.array_equal(again[1].ids, sets[1].ids)
    assert not np.array_equal(other[1].ids, sets[1].ids)


def test_an_id_is_the_index_in_the_data_set(sets):
    from sklearn.datasets import load_digits

    data = load_digits()
    held_out = sets[1]
    assert np.array_equal(held_out.labels, data.target[held_out.ids])
    assert np.array_equal(held_out.images * 16, data.images[held_out.ids])


def test_the_torch_demo_keeps_the_protocol(sets):
    torch = pytest.importorskip("torch")
    spoken = protocol.framework("torch")
    training = sets[0].take(np.arange(200))
    before = torch.random.get_rng_state()
    models = [
        {name: value.clone() for name, value in model.state_dict().items()}
        for _ in range(2)
        for _, model in spoken.train(training.images, training.labels, epochs=1, seed=3)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(models[1][name], models[3][name]) for name in models[1])  # the seed decides
    assert any(not torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert spoken.layout(training.images).shape == (200, 1, 8, 8)
    assert len(spoken.LAYERS) == 3


def test_the_core_of_the_demo_imports_no_framework():
    import subprocess

    program = (
        "import sys, actlens.demo; from actlens.demo import protocol; protocol.available(); "
        "assert not {'torch', 'jax', 'keras', 'tensorflow', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_flax_demo_keeps_the_protocol(sets):
    jax = pytest.importorskip("jax")
    nnx = pytest.importorskip("flax.nnx")
    spoken = protocol.framework("flax")
    training = sets[0].take(np.arange(200))
    models = [
        [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]
        for _ in range(2)
        for _, model in spoken.train(training.images, training.labels, epochs=1, seed=3)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(models[1], models[3], strict=True))  # the seed decides
    assert any(not np.array_equal(a, b) for a, b in zip(models[0], models[1], strict=True))
    assert spoken.layout(training.images).shape == (200, 8, 8, 1)
    assert tuple(spoken.LAYERS) == tuple(protocol.framework("torch").LAYERS)


def test_other_frameworks_are_not_spoken(tmp_path):
    for name in ("jax", "nope"):
        with pytest.raises(DemoError, match=r"does not speak .*Frameworks it speaks: flax, keras, torch\."):
            run_demo(tmp_path / "demo", framework=name)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("epochs", [0, -1, 1001, 2.5, True])
def test_epochs(tmp_path, epochs):
    with pytest.raises(DemoError, match=r"from 1 to 1000"):
        run_demo(tmp_path / "demo", epochs=epochs)


@pytest.mark.parametrize("seed", [-1, 1 << 32, 0.5])
def test_seeds(tmp_path, seed):
    with pytest.raises(DemoError, match=r"from 0 to 4294967295"):
        run_demo(tmp_path / "demo", seed=seed)


def test_what_is_missing_is_said_before_the_training(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("actlens.demo.driver.has", lambda module: module != "umap")
    with pytest.raises(MissingDependency, match=r"the demo needs umap-learn.*actlens\[look\]"):
        run_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def earlier_demo(out):
    """Make what a demo leaves, without training."""
    out.mkdir()
    with actlens.Recorder(out / "run") as rec:
        rec.write({"fc1": np.zeros((3, 2), np.float32)})
    for name in folder.SHOWN:
        (out / name).write_text("old")


def test_files_of_an_earlier_demo_are_not_touched_unasked(tmp_path, cli):
    out = tmp_path / "demo"
    earlier_demo(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(DemoError, match=r"holds run, pca\.png, .* nothing was touched"):
        folder.prepare(out, force=False)
    assert "--force" in cli.refused("demo", "--out", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_force_removes_ours_and_nothing_else(tmp_path):
    out = tmp_path / "demo"
    earlier_demo(out)
    (out / "notes.txt").write_text("mine")
    (out / "pca").mkdir()
    folder.prepare(out, force=True)
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "pca"]


@pytest.mark.parametrize(
    "name", ["run/notes.txt", "run/shards/notes.txt", "run/shards/00000-a/model.safetensors", "run/more/x"]
)
def test_a_foreign_file_in_the_recording_stops_everything(tmp_path, name):
    out = tmp_path / "demo"
    earlier_demo(out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    before = sorted(out.rglob("*"))
    with pytest.raises(DemoError, match=r"not of a recording .*nothing was deleted"):
        folder.prepare(out, force=True)
    assert sorted(out.rglob("*")) == before


def test_links_are_not_followed(tmp_path):
    out, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    earlier_demo(elsewhere)
    out.mkdir()
    (out / "run").symlink_to(elsewhere / "run")
    with pytest.raises(DemoError, match=r"not a folder"):
        folder.prepare(out, force=True)
    (out / "run").unlink()
    (out / "pca.png").symlink_to(elsewhere / "pca.png")
    folder.prepare(out, force=True)
    assert (elsewhere / "pca.png").read_text() == "old"
    assert not list(out.iterdir())


def test_a_killed_demo_can_be_replaced(tmp_path):
    out = tmp_path / "demo"
    earlier_demo(out)
    shards = next((out / "run" / "shards").iterdir())
    (shards / ".tmp-00000001.safetensors-ab12").write_text("half")
    (out / "run" / "manifest.json").unlink()
    folder.prepare(out, force=True)
    assert not list(out.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(DemoError, match=r"is a file"):
        folder.prepare(tmp_path / "demo", force=True)


@pytest.mark.parametrize("last", range(1, 60))
def test_the_epochs_that_are_drawn(last):
    steps = pictures.spread(range(last + 1), 6)
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == last
    assert len(steps) == min(6, last + 1)


def blank(path):
    from matplotlib.image import imread

    seen = imread(path)[..., :3]
    return seen.std() < 0.02 or len(np.unique(seen.reshape(-1, 3), axis=0)) < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flax", "keras"])
def test_the_demo_of_another_framework_records_the_same_samples(tmp_path, name):
    """In a process of its own: what Keras runs on is decided once for each."""
    out = tmp_path / "demo"
    command = [
        sys.executable,
        "-m",
        "actlens.cli",
        "demo",
        "--framework",
        name,
        "--out",
        out,
        "--epochs",
        "3",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = actlens.open(out / "run")
    held_out = digits.split(digits.load(), 0)[1]
    for step in range(4):
        part = run.sel(step=step)
        assert np.array_equal(part.ids, held_out.ids)
        assert np.array_equal(part.columns["label"], held_out.labels)
    assert {key: (layer.shape, layer.axes) for key, layer in part.items()} == {
        "conv1": ((450, 8, 8, 16), ("sample", "height", "width", "channel")),
        "conv2": ((450, 4, 4, 32), ("sample", "height", "width", "channel")),
        "fc1": ((450, 64), ("sample", "unit")),
    }
    accuracies = [float(found) for found in re.findall(r"^\d+ +([\d.]+) %$", done.stdout, re.MULTILINE)]
    assert len(accuracies) == 4
    assert accuracies[0] < 35
    assert accuracies[-1] > 90
    assert not any(blank(out / file) for file in folder.SHOWN if file.endswith(".png"))


@pytest.mark.slow
def test_the_whole_demo(tmp_path, cli):
    for module in ("torch", "matplotlib", "umap"):
        pytest.importorskip(module)
    out, epochs = tmp_path / "demo", 5
    done = cli("demo", "--out", out, "--epochs", epochs)
    assert done.code == 0, done.err
    run = actlens.open(out / "run")

    # The same samples in the same order at every step; labels are scikit-learn's, by id.
    from sklearn.datasets import load_digits

    assert np.unique(run.columns["step"]).tolist() == list(range(epochs + 1))
    ids = run.sel(step=0).ids
    for step in range(epochs + 1):
        part = run.sel(step=step)
        assert np.array_equal(part.ids, ids)
        assert np.array_equal(part.columns["label"], load_digits().target[ids])
    assert {key: layer.shape for key, layer in part.items()} == {
        "conv1": (450, 16, 8, 8),
        "conv2": (450, 32, 4, 4),
        "fc1": (450, 64),
    }
    assert run.info["sealed"]

    accuracies = [float(found) for found in re.findall(r"^\d+ +([\d.]+) %$", done.out, re.MULTILINE)]
    assert len(accuracies) == epochs + 1
    assert accuracies[0] < 30
    assert accuracies[-1] > 90

    for name in folder.SHOWN:
        assert str(out / name) in done.out
        if name.endswith(".png"):
            assert not blank(out / name), name
        else:
            z = actlens.reduce.Embedding.load(out / name)
            assert (z.layer, z.step, z.points.shape) == ("fc1", epochs, (450, 2))
            assert np.array_equal(z.ids, ids)
