"""The demo's network: the same layers as in the other frameworks, and that it learns."""

import numpy as np
import pytest
from keras_models import BACKEND

import actlens
from actlens_tf import demo

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_the_demo_learns(tmp_path):
    from actlens.demo import digits

    training, held_out = digits.split(digits.load(), 0)
    epochs = 4
    with actlens.Recorder(tmp_path / "run") as rec:
        for epoch, model in demo.train(training.images, training.labels, epochs=epochs, seed=0):
            batch = (demo.layout(held_out.images), held_out.ids, held_out.labels)
            actlens.record(
                model,
                [batch],
                rec,
                layers=list(demo.LAYERS),
                columns=["id", "label"],
                step=epoch,
                progress=False,
            )
    assert demo.accuracy(model, held_out.images, held_out.labels) > 0.94
    run = actlens.open(tmp_path / "run")
    assert list(run) == list(demo.LAYERS)
    assert run["conv1"].axes == ("sample", "height", "width", "channel")
    late = run.sel(step=epochs)
    assert late["fc1"].shape == (450, 64)
    assert not np.array_equal(late["fc1"][:], run.sel(step=0)["fc1"][:])
    assert BACKEND


def test_the_demo_starts_the_same_for_a_seed():
    x, y = np.zeros((32, 8, 8), np.float32), np.zeros(32, np.int64)
    first, second = (next(demo.train(x, y, epochs=1, seed=3))[1].get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
