"""reduce.tsne: the rule for the engine, the defaults, reproducibility, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fake_layer import FakeLayer

from actlens import reduce
from actlens.errors import MissingDependency, ReduceError
from actlens.reduce import knn, neighbors, opentsne, optional, source

manifold = pytest.importorskip("sklearn.manifold")
module = sys.modules["actlens.reduce.tsne"]


def clusters(samples=90, features=60, count=3):
    rng = np.random.default_rng(0)
    label = np.arange(samples) % count
    centres = rng.standard_normal((count, features)) * 4
    return (centres[label] + rng.standard_normal((samples, features))).astype("f4"), label


def neighbours_of_the_same_class(points, label):
    distances = np.square(points[:, None] - points[None]).sum(axis=-1) + np.diag(np.full(len(points), np.inf))
    return (label[distances.argmin(axis=1)] == label).mean()


@pytest.mark.parametrize("engine", ["scikit-learn", "openTSNE"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_neighbours_stay(engine, k):
    pytest.importorskip("openTSNE")
    x, label = clusters()
    options = {"perplexity": 10, "random_state": 0, "engine": engine, "n_jobs": 1}
    z = reduce.tsne(x, n_components=k, learning_rate=15 if k == 3 else "auto", max_iter=400, **options)
    assert z.points.shape == (90, k)
    assert z.points.dtype == np.float32
    assert neighbours_of_the_same_class(z.points, label) > 0.95
    assert z.parameters["engine"] == engine
    assert set(z.versions) == {"actlens", "numpy", engine}


@pytest.mark.parametrize("engine", ["scikit-learn", "openTSNE"])
def test_the_same_numbers_again(engine):
    pytest.importorskip("openTSNE")
    x, _ = clusters()
    for init in ("pca", "random"):
        a, b, c = (
            reduce.tsne(
                x, perplexity=10, random_state=seed, init=init, max_iter=250, engine=engine, n_jobs=1
            ).points
            for seed in (1, 1, 2)
        )
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_what_is_recorded():
    pytest.importorskip("openTSNE")
    x, label = clusters()
    layer = FakeLayer.of(x, columns={"label": label, "step": np.full(90, 7)})
    z = reduce.tsne(layer, perplexity=10, random_state=np.int64(3), n_jobs=1)
    assert (z.layer, z.method, z.step) == ("fc1", "tsne", 7)
    assert z.ids.tolist() == layer.ids.tolist()
    assert z.columns["label"].tolist() == label.tolist()
    assert z.parameters == {
        "n_components": 2,
        "perplexity": 10.0,
        "early_exaggeration": 12.0,
        "learning_rate": "auto",
        "metric": "euclidean",
        "random_state": 3,
        "n_jobs": 1,
        "max_iter": 750,
        "init": "pca",
        "pca_components": 50,
        "engine": "openTSNE",
    }
    with pytest.raises(ReduceError, match=r"has no inverse\(\)"):
        z.inverse(z.points)


@pytest.mark.parametrize(
    ("asked", "k", "engine", "iterations"),
    [
        (None, 1, "openTSNE", 750),
        (None, 2, "openTSNE", 750),
        (None, 3, "scikit-learn", 1000),
        ("openTSNE", 3, "openTSNE", 750),
        ("scikit-learn", 2, "scikit-learn", 1000),
    ],
)
def test_the_rule_for_the_engine(asked, k, engine, iterations):
    chosen = module._engine(asked, k)
    assert (chosen.name, chosen.iterations) == (engine, iterations)


@pytest.mark.parametrize("k", [1, 2])
def test_large_inputs_are_interpolated_after_an_approximate_search(monkeypatch, k):
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(opentsne, "_TREE", 80)
    monkeypatch.setattr(knn, "EXACT_ROWS", 80)
    x, label = clusters(samples=300)
    z = reduce.tsne(x, n_components=k, perplexity=10, random_state=0, max_iter=255, n_jobs=1)
    assert z.parameters["engine"] == "openTSNE"
    assert neighbours_of_the_same_class(z.points, label) > 0.9


def test_it_is_what_opentsne_gives_from_the_same_start():
    library = pytest.importorskip("openTSNE")
    x, _ = clusters(samples=150, features=20)
    z = reduce.tsne(x, perplexity=10, random_state=0, n_jobs=1, max_iter=250)
    affinities = library.affinity.PerplexityBasedNN(x.astype("f8"), perplexity=10, method="exact")
    theirs = library.TSNE(
        early_exaggeration_iter=250, n_iter=0, negative_gradient_method="bh", random_state=0
    ).fit(affinities=affinities, initialization=neighbors.start(x.astype("f8"), 2, 0, "f"))
    # Distances in float32 differ in the last figure, which more iterations would make visible.
    correlation = np.corrcoef(z.points.ravel(), np.asarray(theirs).ravel())[0, 1]
    assert correlation > 0.999


def test_threads_change_nothing():
    pytest.importorskip("openTSNE")
    x, _ = clusters(samples=400, features=20)
    one, two = (
        reduce.tsne(x, perplexity=10, random_state=0, max_iter=300, n_jobs=jobs).points for jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


class TestTransform:
    @pytest.mark.parametrize(
        ("gradient", "k"),
        [
            ("tree", 1),
            ("tree", 2),
            ("interpolation", 1),
            pytest.param("interpolation", 2, marks=pytest.mark.slow),
        ],
    )
    def test_new_rows_go_to_their_class(self, gradient, k, monkeypatch):
        pytest.importorskip("openTSNE")
        monkeypatch.setattr(opentsne, "_TREE", 5000 if gradient == "tree" else 10)
        x, label = clusters(samples=180, features=200)
        layer = FakeLayer.of(x[:120] + 50, columns={"label": label[:120]})
        z = reduce.tsne(layer, n_components=k, perplexity=10, random_state=0)
        before = z.points.copy()
        new = FakeLayer.of(
            x[120:] + 50, name="other", columns={"label": label[120:]}, ids=np.arange(60) + 5000
        )
        for _ in range(2):  # the model moves its own points at the first
            placed = z.transform(new)
            np.testing.assert_array_equal(z.points, before)
            distances = np.linalg.norm(placed.points[:, None] - z.points, axis=-1)
            assert (label[:120][distances.argmin(axis=1)] == label[120:]).mean() > 0.95
            # Among the points, where a shift by the centre would be seen.
            assert (distances.min(axis=1) < 0.1 * np.ptp(z.points, axis=0).max()).mean() > 0.95
        assert (placed.layer, placed.method, placed.ids[0]) == ("other", "tsne", 5000)
        assert placed.columns["label"].tolist() == label[120:].tolist()
        assert placed.points.dtype == np.float32

    def test_each_row_by_itself(self):
        pytest.importorskip("openTSNE")
        x, _ = clusters(samples=150, features=20)
        z = reduce.tsne(x[:120], perplexity=10, random_state=0, max_iter=400)
        whole = z.transform(x[120:]).points
        np.testing.assert_allclose(z.transform(x[130:131]).points, whole[10:11], atol=1e-3)

    def test_few_rows_and_another_metric(self):
        pytest.importorskip("openTSNE")
        x, _ = clusters(samples=40, features=5)
        for metric in ("cosine", "cityblock"):
            z = reduce.tsne(x[:8], perplexity=2, metric=metric, random_state=0, max_iter=250)
            assert np.isfinite(z.transform(x[8:]).points).all()
        tiny = reduce.tsne(x[:4], perplexity=1, random_state=0, max_iter=250)
        assert tiny.transform(x[4:6]).points.shape == (2, 2)

    def test_what_it_refuses(self, tmp_path):
        pytest.importorskip("openTSNE")
        x, _ = clusters(features=6)
        z = reduce.tsne(x, perplexity=10, random_state=0, max_iter=250)
        with pytest.raises(ReduceError, match="was fitted on 6 features; the new rows have 5"):
            z.transform(x[:, :5])
        x[3, 3] = np.nan
        with pytest.raises(ReduceError, match=r"NaN or inf in 1 row \(ids: 3\). Embedding.transform takes"):
            z.transform(x)
        z.save(tmp_path / "z")
        with pytest.raises(
            ReduceError,
            match="an embedding by tsne that was loaded from a file does not hold the fitted model",
        ):
            reduce.Embedding.load(tmp_path / "z").transform(x)
        by_scikit_learn = reduce.tsne(x[4:], perplexity=10, max_iter=250, engine="scikit-learn", n_jobs=1)
        with pytest.raises(
            ReduceError, match=r"no transform\(\): scikit-learn has none for t-SNE. reduce.tsne\(…"
        ):
            by_scikit_learn.transform(x)


class TestProgress:
    @pytest.mark.parametrize("engine", ["scikit-learn", "openTSNE"])
    def test_a_line_where_it_is_asked_for(self, engine, capfd):
        pytest.importorskip("openTSNE")
        x, _ = clusters()
        silent = reduce.tsne(x, perplexity=10, random_state=0, max_iter=300, engine=engine, n_jobs=1)
        assert capfd.readouterr() == ("", "")  # no terminal
        seen = reduce.tsne(
            x, perplexity=10, random_state=0, max_iter=300, engine=engine, n_jobs=1, progress=True
        )
        out, err = capfd.readouterr()
        assert out == ""
        assert "reduce.tsne: t-SNE of 90 samples" in err
        assert ("300/300" in err) is (engine == "openTSNE")
        np.testing.assert_array_equal(silent.points, seen.points)

    def test_what_it_takes(self):
        with pytest.raises(ReduceError, match="reduce.tsne: progress=1; it takes None, True or False"):
            reduce.tsne(clusters()[0], perplexity=10, progress=1)


def test_an_engine_that_is_not_installed(monkeypatch):
    x, _ = clusters()
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(
        MissingDependency, match=r"reduce.tsne needs openTSNE, .*: pip install 'actlens\[tsne\]'"
    ):
        reduce.tsne(x, perplexity=10, engine="openTSNE")
    with pytest.raises(
        MissingDependency, match=r"reduce.tsne \(engine='scikit-learn' is slower\) needs openTSNE"
    ):
        reduce.tsne(x, perplexity=10)
    assert reduce.tsne(x, perplexity=10, engine="scikit-learn", max_iter=250).points.shape == (90, 2)


class TestPrepare:
    def test_wide_rows_are_reduced_to_fifty(self):
        x, _ = clusters(samples=80, features=200)
        ready = neighbors.prepare(source.rows_of(x, "reduce.tsne"), "euclidean", "auto")
        assert ready.x.shape == (80, 50)
        assert ready.pca_components == 50
        assert np.array_equal(ready.x, reduce.pca(x, n_components=50).points)

    def test_fewer_samples_than_fifty_lose_nothing(self):
        x, _ = clusters(samples=20, features=200)
        ready = neighbors.prepare(source.rows_of(x, "f"), "euclidean", "auto")
        assert ready.x.shape == (20, 20)
        x = x.astype("f8")
        before = np.linalg.norm(x[:, None] - x, axis=-1)
        np.testing.assert_allclose(np.linalg.norm(ready.x[:, None] - ready.x, axis=-1), before, atol=1e-4)

    @pytest.mark.parametrize(
        ("metric", "width"), [("cosine", "auto"), ("euclidean", None), ("euclidean", 60)]
    )
    def test_what_is_left_as_it_is(self, metric, width):
        x, _ = clusters()
        ready = neighbors.prepare(source.rows_of(x, "f"), metric, width)
        assert ready.pca_components is None
        np.testing.assert_array_equal(ready.x, x)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1000.1])
    @pytest.mark.parametrize("features", [3, 200])
    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_a_dead_layer_has_no_neighbours(self, value, features, dtype, monkeypatch):
        for small in (0, 1 << 22):
            monkeypatch.setattr(source, "_SMALL", small)
            with pytest.raises(
                ReduceError, match="the 80 rows of the array are all equal, so there is nothing"
            ):
                reduce.tsne(np.full((80, features), value, dtype), perplexity=10)

    def test_the_start(self):
        x, _ = clusters()
        a = neighbors.start(x, 2, 0, "f")
        assert a.dtype == np.float32
        assert np.isclose(a[:, 0].std(), 1e-4, rtol=0.01)
        points = reduce.pca(x).points
        assert np.corrcoef(a[:, 1], points[:, 1])[0, 1] > 0.99
        assert np.array_equal(a, neighbors.start(x, 2, None, "f"))
        doubled = neighbors.start(np.repeat(x[:10], 2, axis=0), 2, 0, "f")
        assert len(np.unique(doubled, axis=0)) == 20  # equal rows start apart
        assert neighbors.start(x[:, :1], 3, 0, "f").shape == (90, 3)


class TestRefusals:
    def test_perplexity(self):
        x, _ = clusters(samples=50)
        with pytest.raises(
            ReduceError,
            match=r"perplexity=30 is too large for 50 samples. The largest .* is 16: pass perplexity=16 or",
        ):
            reduce.tsne(x)
        assert len(reduce.tsne(x, perplexity=16, max_iter=250)) == 50
        with pytest.raises(ReduceError, match="reduce.tsne needs at least 4 samples; there are 3"):
            reduce.tsne(x[:3])
        assert reduce.tsne(x[:4], perplexity=1, max_iter=250).points.shape == (4, 2)

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"n_components": 0}, "n_components=0; it takes a whole number from 1 to 3"),
            ({"n_components": 4}, "n_components=4; it takes a whole number from 1 to 3"),
            ({"n_components": 2.0}, "n_components=2.0; it takes a whole number"),
            ({"perplexity": -1}, "perplexity=-1; it takes a positive number"),
            ({"perplexity": float("nan")}, "perplexity=nan; it takes a positive number"),
            ({"perplexity": "30"}, "perplexity='30'; it takes a positive number"),
            ({"early_exaggeration": 0}, "early_exaggeration=0; it takes a positive number"),
            ({"learning_rate": 0}, "learning_rate=0; it takes a positive number"),
            ({"max_iter": 100}, "max_iter=100; it takes a whole number ≥ 250"),
            ({"random_state": 1.5}, r"random_state=1.5; it takes None or a whole number from 0 to 2\*\*32"),
            ({"random_state": -1}, "random_state=-1; it takes None"),
            ({"init": "spectral"}, r"init='spectral'; it takes 'pca', 'random' or an array"),
            ({"init": np.zeros((3, 2))}, r"init has shape \(3, 2\); expected \(90, 2\)"),
            ({"init": np.zeros((90, 3))}, r"init has shape \(90, 3\); expected \(90, 2\)"),
            (
                {"init": np.full((90, 2), np.nan)},
                "init= has NaN, inf or more than 3.4e38 in 90 of its rows; it t",
            ),
            ({"init": np.full((90, 2), 1e60)}, "init= has NaN, inf or more than 3.4e38 in 90 of its rows"),
            ({"init": np.full((90, 2), "a")}, "init= has dtype <U1; it takes finite numbers"),
            ({"init": [[0, 0]] * 90}, "init=<class 'list'>; it takes 'pca', 'random' or an array of numpy"),
            ({"metric": "nope"}, "metric='nope' cannot be used: .*Choose another, e.g. 'euclidean'"),
            ({"metric": "haversine"}, "metric='haversine' cannot be used: "),
            ({"metric": "precomputed"}, "metric='precomputed' cannot be used: distances are not"),
            ({"metric": None}, "metric=None cannot be used: "),
            ({"engine": "cuML"}, "engine='cuML'; it takes None or one of: scikit-learn, openTSNE"),
            ({"pca_components": 0}, "pca_components=0; it takes a whole number ≥ 1"),
        ],
    )
    def test_parameters(self, option, message):
        x, _ = clusters()
        with pytest.raises(ReduceError, match=message):
            reduce.tsne(x, **({"perplexity": 10} | option))

    def test_metrics_that_an_engine_refuses(self):
        x, _ = clusters(features=6)
        for engine in ("scikit-learn", "openTSNE"):
            with pytest.raises(ReduceError, match="metric='nope' cannot be used: .*Choose another"):
                reduce.tsne(x, perplexity=10, metric="nope", engine=engine)
        with pytest.raises(
            ReduceError, match="metric='mahalanobis' cannot be used: Must provide either V or"
        ):
            reduce.tsne(x, perplexity=10, metric="mahalanobis", engine="scikit-learn")

    def test_one_bad_row_to_start_from(self):
        x, _ = clusters()
        init = np.zeros((90, 2), "f4")
        init[7, 1] = -np.inf
        for engine in ("scikit-learn", "openTSNE"):
            with pytest.raises(ReduceError, match="reduce.tsne: init= has NaN, inf .* in 1 of its rows"):
                reduce.tsne(x, perplexity=10, init=init, engine=engine)

    def test_values_too_large(self):
        x, _ = clusters()
        with pytest.raises(ReduceError, match="reduce.tsne: the values of the array are too large"):
            reduce.tsne(x.astype("f8") * 1e200, perplexity=10)

    def test_input(self):
        with pytest.raises(
            ReduceError, match=r"reduce.tsne takes \(samples, features\); the array has shape"
        ):
            reduce.tsne(np.zeros((40, 3, 3)))
        x, _ = clusters()
        x[4, 4] = np.nan
        with pytest.raises(ReduceError, match=r"NaN or inf in 1 row \(ids: 4\). reduce.tsne takes finite"):
            reduce.tsne(x, perplexity=10)

    def test_points_that_are_no_numbers(self):
        with pytest.raises(ReduceError, match="reduce.tsne gave no finite position for 2 samples"):
            neighbors.finite("reduce.tsne", np.array([[0, np.nan], [1, 1], [np.inf, 0]]))


def test_an_array_to_start_from():
    x, _ = clusters()
    first = reduce.pca(x).points * 1e-4
    z = reduce.tsne(x, init=first, perplexity=10, max_iter=250)
    assert z.parameters["init"] == "array(90, 2)"
