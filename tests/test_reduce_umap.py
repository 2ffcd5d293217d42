"""reduce.umap. Its first fit in a process compiles for about half a minute: those tests are slow."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fake_layer import FakeLayer
from test_reduce_tsne import clusters, neighbours_of_the_same_class

from actlens import reduce
from actlens.errors import MissingDependency, ReduceError
from actlens.reduce import optional

module = sys.modules["actlens.reduce.umap"]


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


def nearest_label(z, label, placed):
    distances = np.linalg.norm(placed.points[:, None] - z.points, axis=-1)
    return label[distances.argmin(axis=1)]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dense", [False, True])
def test_our_neighbours_give_the_graph_that_it_gives_itself(library, metric, dense):
    import umap

    x, _ = clusters(samples=400, features=20)
    x = x.astype("f8")
    theirs = umap.UMAP(random_state=0, n_jobs=1, metric=metric, densmap=dense)
    ours = umap.UMAP(random_state=0, n_jobs=1, metric=metric, densmap=dense)
    with module.quiet():
        assert module._searched(ours, x)
        for model in (ours, theirs):
            model.fit(x)
    assert ours.graph_.nnz == theirs.graph_.nnz
    assert abs(ours.graph_ - theirs.graph_).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_new_rows_go_to_their_class(library, metric):
    x, label = clusters(samples=240, features=80)
    layer = FakeLayer.of(x[:180] + 5)
    z = reduce.umap(layer, metric=metric, random_state=0)
    placed = z.transform(FakeLayer.of(x[180:] + 5, name="other"))
    assert (nearest_label(z, label[:180], placed) == label[180:]).mean() > 0.95
    assert (placed.method, placed.layer, placed.points.shape) == ("umap", "other", (60, 2))
    np.testing.assert_array_equal(placed.points, z.transform(x[180:] + 5).points)
    with pytest.raises(ReduceError, match="was fitted on 80 features; the new rows have 79"):
        z.transform(x[:, :79])


@pytest.mark.slow
def test_new_rows_from_4096_on_where_umap_itself_takes_another_way(library):
    x, label = clusters(samples=4146, features=6)
    z = reduce.umap(x[:4096], random_state=0)
    placed = z.transform(x[4096:])
    assert (nearest_label(z, label[:4096], placed) == label[4096:]).mean() > 0.95


@pytest.mark.slow
def test_the_line_says_that_it_compiles_once(library, capfd, monkeypatch):
    x, _ = clusters()
    reduce.umap(x, random_state=0)
    assert capfd.readouterr().out == ""
    monkeypatch.setattr(module, "_compiled", False)
    reduce.umap(x, random_state=0, progress=True)
    said = capfd.readouterr().err
    assert "UMAP of 90 samples (umap-learn compiles once per process, about half a minute)" in said
    reduce.umap(x, random_state=0, progress=True)
    said = capfd.readouterr().err
    assert "UMAP of 90 samples" in said
    assert "compiles" not in said


@pytest.mark.slow
class TestDensmap:
    def test_it_keeps_densities(self, library):
        rng = np.random.default_rng(0)
        label = np.arange(300) % 2
        x = rng.standard_normal((300, 10)) * np.where(label, 0.1, 1.0)[:, None] + 20 * label[:, None]
        z = reduce.densmap(x, random_state=0)
        plain = reduce.umap(x, n_neighbors=30, random_state=0)
        spread = [
            np.linalg.norm(each.points[label == 0] - each.points[label == 0].mean(axis=0), axis=1).mean()
            / np.linalg.norm(each.points[label == 1] - each.points[label == 1].mean(axis=0), axis=1).mean()
            for each in (z, plain)
        ]
        assert spread[0] > 1.5 * spread[1]  # ten times as wide in the layer
        assert (z.method, z.parameters["dens_lambda"], z.parameters["n_neighbors"]) == ("densmap", 2.0, 30)
        np.testing.assert_array_equal(z.points, reduce.densmap(x, random_state=0).points)

    def test_it_takes_no_new_rows(self, library, tmp_path):
        x, _ = clusters()
        z = reduce.densmap(x, n_neighbors=10, random_state=0)
        z.save(tmp_path / "z")
        for each in (z, reduce.Embedding.load(tmp_path / "z")):
            with pytest.raises(ReduceError, match=r"by densmap has no transform\(\): umap-learn has none"):
                each.transform(x)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({}, "reduce.densmap: n_neighbors=30 needs more than 30 samples; there are 20"),
        ({"n_neighbors": 5, "dens_lambda": -1}, "reduce.densmap: dens_lambda=-1; it takes a number from 0"),
        ({"n_neighbors": 5, "progress": 0}, "progress=0; it takes None, True or False"),
    ],
)
def test_parameters_of_densmap(option, message):
    with pytest.raises(ReduceError, match=message):
        reduce.densmap(clusters(samples=20)[0], **option)
