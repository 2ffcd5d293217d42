"""reduce.umap. Its first fit in a process compiles for about half a minute: those tests are slow."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_reduce_tsne import clusters, neighbours_of_the_same_class

from actlens import reduce
from actlens.errors import MissingDependency, ReduceError
from actlens.reduce import optional


@pytest.fixture
def library():
    pytest.importorskip("pynndescent", reason="umap-learn is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_neighbours_stay_and_the_same_numbers_come_again(library, k):
    x, label = clusters()
    a, b, c = (reduce.umap(x, n_components=k, random_state=seed) for seed in (0, 0, 1))
    assert a.points.shape == (90, k)
    assert a.points.dtype == np.float32
    assert neighbours_of_the_same_class(a.points, label) > 0.98
    assert np.array_equal(a.points, b.points)
    assert not np.array_equal(a.points, c.points)


@pytest.mark.slow
def test_what_is_recorded(library):
    x, _ = clusters()
    z = reduce.umap(x, random_state=4, n_jobs=2, min_dist=0)
    assert (z.method, set(z.versions)) == ("umap", {"actlens", "numpy", "umap-learn"})
    assert z.parameters == {
        "n_components": 2,
        "n_neighbors": 15,
        "min_dist": 0.0,
        "metric": "euclidean",
        "random_state": 4,
        "n_jobs": 1,  # what umap-learn does with a seed, without its warning
        "pca_components": 50,
    }


@pytest.mark.slow
@pytest.mark.parametrize("samples", [4, 5, 6, 8])
def test_few_samples(library, samples):
    x, _ = clusters(samples=samples)
    for k in (1, 2):
        assert reduce.umap(x, n_components=k, n_neighbors=3, random_state=0).points.shape == (samples, k)


@pytest.mark.slow
def test_clusters_that_do_not_touch_another_metric_and_no_seed(library):
    x, label = clusters(samples=120, features=5)
    x += 100 * label[:, None]
    assert neighbours_of_the_same_class(reduce.umap(x, n_neighbors=5, random_state=0).points, label) == 1
    z = reduce.umap(x, metric="cosine", n_neighbors=10)
    assert (z.parameters["pca_components"], z.parameters["random_state"]) == (None, None)
    many_equal = np.repeat(x[:10], 12, axis=0)
    assert np.isfinite(reduce.umap(many_equal, n_neighbors=5, random_state=0).points).all()


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(
        MissingDependency,
        match=r"reduce.umap needs umap-learn, which is not installed: pip install 'actlens\[umap\]'",
    ):
        reduce.umap(clusters()[0])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"n_neighbors": 90},
            "n_neighbors=90 needs more than 90 samples; there are 90. Pass n_neighbors=89 or",
        ),
        ({"n_neighbors": 1}, "n_neighbors=1; it takes a whole number ≥ 2"),
        ({"n_components": 89}, "n_components=89; it takes a whole number from 1 to 88"),
        ({"min_dist": 1.5}, "min_dist=1.5; it takes a number from 0 to 1"),
        ({"min_dist": "0"}, "min_dist='0'; it takes a number from 0 to 1"),
        ({"metric": "nope"}, "metric='nope' cannot be used: umap-learn does not know it .*Choose another"),
        ({"metric": "precomputed"}, "metric='precomputed' cannot be used"),
        ({"random_state": "x"}, "random_state='x'; it takes None or a whole number"),
    ],
)
def test_parameters(option, message):
    with pytest.raises(ReduceError, match=message):
        reduce.umap(clusters()[0], **option)


def test_input():
    with pytest.raises(ReduceError, match="reduce.umap needs at least 4 samples; there are 3"):
        reduce.umap(np.eye(3))
    with pytest.raises(ReduceError, match=r"reduce.umap takes \(samples, features\)"):
        reduce.umap(np.zeros((40, 3, 3)))
