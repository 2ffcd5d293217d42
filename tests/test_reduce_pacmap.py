"""reduce.pacmap. It compiles too: all but one small fit are slow."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from fake_layer import FakeLayer
from test_reduce_tsne import clusters, neighbours_of_the_same_class

from actlens import reduce
from actlens.errors import MissingDependency, ReduceError
from actlens.reduce import optional


@pytest.fixture
def library():
    pytest.importorskip("faiss", reason="pacmap is not installed")


@pytest.mark.slow
def test_neighbours_stay_and_the_same_numbers_come_again(library, capfd):
    import faiss

    faiss.omp_set_num_threads(2)
    x, label = clusters(samples=150, features=200)
    layer = FakeLayer.of(x + 1000)
    a, b, c, d = (reduce.pacmap(layer, random_state=seed) for seed in (0, 0, 1, None))
    assert neighbours_of_the_same_class(a.points, label) > 0.95
    np.testing.assert_array_equal(a.points, b.points)
    assert not np.array_equal(a.points, c.points)
    assert d.points.shape == (150, 2)
    assert (a.method, set(a.versions)) == ("pacmap", {"actlens", "numpy", "pacmap"})
    assert a.parameters == {
        "n_components": 2,
        "n_neighbors": 10,
        "mn_ratio": 0.5,
        "fp_ratio": 2.0,
        "metric": "euclidean",
        "random_state": 0,
        "pca_components": 50,
    }
    assert a.ids.tolist() == layer.ids.tolist()
    assert capfd.readouterr() == ("", "")
    assert faiss.omp_get_max_threads() == 2  # which it sets to 1 for a seed
    assert logging.getLogger("pacmap.pacmap").level == logging.NOTSET


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_new_rows_go_to_their_class(library, metric, tmp_path):
    x, label = clusters(samples=240, features=80)
    z = reduce.pacmap(x[:180], metric=metric, random_state=0)
    before = z.points.copy()
    placed = z.transform(FakeLayer.of(x[180:]))
    distances = np.linalg.norm(placed.points[:, None] - z.points, axis=-1)
    assert (label[:180][distances.argmin(axis=1)] == label[180:]).mean() > 0.95
    np.testing.assert_array_equal(placed.points, z.transform(x[180:]).points)
    np.testing.assert_array_equal(z.points, before)
    z.save(tmp_path / "z")
    with pytest.raises(ReduceError, match="by pacmap that was loaded from a file does not hold the fitted"):
        reduce.Embedding.load(tmp_path / "z").transform(x[180:])


@pytest.mark.parametrize("samples", [8, *(pytest.param(n, marks=pytest.mark.slow) for n in (9, 15, 40))])
def test_few_samples(library, samples):
    x, _ = clusters(samples=samples)
    for k in (1, 3):
        z = reduce.pacmap(x, n_components=k, n_neighbors=min(10, samples - 1), random_state=0)
        assert z.points.shape == (samples, k)


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pacmap", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(
        MissingDependency,
        match=r"reduce.pacmap needs pacmap, which is not installed: pip install 'actlens\[pacmap\]'",
    ):
        reduce.pacmap(clusters()[0])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_neighbors": 90}, "reduce.pacmap: n_neighbors=90 needs more than 90 samples; there are 90"),
        ({"n_neighbors": 0}, "n_neighbors=0; it takes a whole number ≥ 1"),
        ({"n_components": 61}, "n_components=61; it takes a whole number from 1 to 60"),
        ({"mn_ratio": 0}, "mn_ratio=0; it takes a positive number"),
        ({"fp_ratio": "2"}, "fp_ratio='2'; it takes a positive number"),
        ({"metric": "correlation"}, "metric='correlation'; it takes one of: euclidean, manhattan, cosine"),
        ({"random_state": 1.5}, "random_state=1.5; it takes None or a whole number"),
        ({"progress": "yes"}, "progress='yes'; it takes None, True or False"),
    ],
)
def test_parameters(option, message):
    with pytest.raises(ReduceError, match=message):
        reduce.pacmap(clusters()[0], **option)


def test_input():
    with pytest.raises(ReduceError, match="reduce.pacmap needs at least 8 samples; there are 7"):
        reduce.pacmap(np.eye(7))
