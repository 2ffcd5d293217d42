"""Embedding.quality against scikit-learn's trustworthiness, scipy's Spearman and recall counted by numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_layer import FakeLayer
from test_reduce_tsne import clusters

import actlens
from actlens import reduce
from actlens.errors import NeighborError, ReduceError
from actlens.reduce import Quality, knn
from actlens.reduce.quality import Measures

manifold = pytest.importorskip("sklearn.manifold")
stats = pytest.importorskip("scipy.stats")
distance = pytest.importorskip("scipy.spatial.distance")


@pytest.fixture(autouse=True)
def _empty_cache():
    knn.forget()


def by_hand(z, x, **changes):
    """An embedding of given points, as reduce.fit would make it."""
    base = reduce.Embedding(
        points=np.asarray(z, "f4"),
        ids=np.arange(len(z)),
        columns={},
        layer="",
        method="Isomap",
        parameters={},
        versions={},
    )
    return dataclasses.replace(base, **changes)


def pictures():
    rng = np.random.default_rng(0)
    x, _ = clusters(samples=200, features=30, count=5)
    return x, {
        "first two": x[:, :2],
        "noise": rng.standard_normal((200, 2)),
        "pca": reduce.pca(x).points,
        "line": x[:, :1],
    }


def recall_by_hand(x, z, k):
    near = []
    for rows in (x, z):
        every = distance.squareform(distance.pdist(np.asarray(rows, "f8")))
        np.fill_diagonal(every, np.inf)
        near.append(np.argsort(every, axis=1)[:, :k])
    return np.mean([len({*a} & {*b}) / k for a, b in zip(*np.array(near).tolist(), strict=True)])


@pytest.mark.parametrize("picture", ["first two", "noise", "pca", "line"])
@pytest.mark.parametrize("k", [3, 10])
def test_the_numbers_are_those_of_others(picture, k):
    x, every = pictures()
    z = np.asarray(every[picture], "f4")
    q = by_hand(z, x).quality(x, k=k)
    assert q.measures.trustworthiness == pytest.approx(
        manifold.trustworthiness(x, z, n_neighbors=k), abs=1e-9
    )
    assert q.measures.continuity == pytest.approx(manifold.trustworthiness(z, x, n_neighbors=k), abs=1e-9)
    assert q.measures.recall == pytest.approx(recall_by_hand(x, z, k))
    expected = stats.spearmanr(distance.pdist(x.astype("f8")), distance.pdist(z.astype("f8"))).statistic
    assert q.measures.distance_correlation == pytest.approx(expected, abs=1e-6)
    linear = reduce.pca(x).points
    assert q.baseline.recall == pytest.approx(recall_by_hand(x, linear, k))
    assert q.baseline.trustworthiness == pytest.approx(
        manifold.trustworthiness(x, linear, n_neighbors=k), abs=1e-6
    )
    assert (q.queries, q.landmarks, q.samples, q.k, q.random_state) == (200, 200, 200, k, 0)
    assert (q.space, q.metric) == ("30 features", "euclidean")


def test_a_perfect_picture():
    x = np.random.default_rng(0).standard_normal((60, 2))
    q = by_hand(x, x).quality(x, k=5)
    assert q.measures == Measures(1.0, 1.0, 1.0, pytest.approx(1.0))


def test_sampled_rows_are_asked_for_neighbours_among_all():
    x, every = pictures()
    z = by_hand(every["first two"], x)
    q = z.quality(x, k=5, samples=80, random_state=3)
    asked = np.sort(np.random.default_rng(3).choice(200, 80, replace=False))
    near = []
    for rows in (x, z.points):
        distances = distance.cdist(rows[asked].astype("f8"), rows.astype("f8"))
        distances[np.arange(80), asked] = np.inf
        near.append(np.argsort(distances, axis=1)[:, :5].tolist())
    expected = np.mean([len({*a} & {*b}) / 5 for a, b in zip(*near, strict=True)])
    assert q.measures.recall == pytest.approx(expected)
    assert q.measures.trustworthiness == pytest.approx(
        manifold.trustworthiness(x[asked], z.points[asked], n_neighbors=5)
    )
    assert (q.queries, q.samples, q.random_state) == (80, 200, 3)
    assert q == z.quality(x, k=5, samples=80, random_state=3)
    assert q != z.quality(x, k=5, samples=80, random_state=4)


def test_landmarks_are_few():
    x = np.random.default_rng(0).standard_normal((1300, 4))
    q = by_hand(x[:, :2], x).quality(x)
    assert (q.queries, q.landmarks) == (1300, 1000)
    assert str(q).endswith(" · 1,300 of 1,300 samples")


def test_wide_rows_are_compared_in_fifty_components():
    x, _ = clusters(samples=150, features=200)
    z = reduce.pca(x)
    q = z.quality(x, k=5)
    reduced = reduce.pca(x, n_components=50).points
    assert q.space == "50 principal components"
    assert q.measures.trustworthiness == pytest.approx(
        manifold.trustworthiness(reduced, z.points, n_neighbors=5)
    )
    whole = dataclasses.replace(z, method="umap", parameters={"metric": "euclidean", "pca_components": None})
    assert whole.quality(x, k=5).space == "200 features"
    angles = dataclasses.replace(z, method="umap", parameters={"metric": "cosine", "pca_components": None})
    q = angles.quality(x, k=5)
    assert q.metric == "cosine"
    expected = manifold.trustworthiness(x.astype("f8"), z.points, n_neighbors=5, metric="cosine")
    assert q.measures.trustworthiness == pytest.approx(expected)


def test_one_line():
    measures, linear = Measures(0.394, 0.9966, 0.98, 0.652), Measures(0.061, 0.93, 0.95, 0.814)
    q = Quality(measures, linear, 10, 2000, 1000, 30_000, 0, "tsne", "50 principal components", "euclidean")
    line = (
        "10-NN recall 0.39 (PCA 0.06) · trustworthiness 0.997 (0.93) · distance correlation 0.65 (0.81) · "
        "2,000 of 30,000 samples"
    )
    assert (str(q), repr(q), q.warning) == (line, f"Quality({line})", "")
    assert "(" not in str(dataclasses.replace(q, method="pca"))


def test_where_a_picture_misleads():
    measures, linear = Measures(0.04, 0.99, 0.98, 0.65), Measures(0.06, 0.93, 0.95, 0.81)
    q = Quality(measures, linear, 10, 2000, 1000, 30_000, 0, "umap", "50 principal components", "euclidean")
    assert q.warning.startswith(
        "Of 10 neighbours in this picture 0.4 on average are neighbours in the layer: "
    )
    worse = dataclasses.replace(
        q,
        measures=dataclasses.replace(measures, recall=0.3),
        baseline=dataclasses.replace(linear, recall=0.3),
    )
    assert "no more neighbours than two principal components do (0.30 and 0.30)" in worse.warning
    assert dataclasses.replace(worse, method="pca").warning == ""
    assert "neighbours in the layer" in dataclasses.replace(q, method="pca").warning


class TestWhichRows:
    def test_an_embedding_remembers_its_rows(self):
        pytest.importorskip("openTSNE")
        x, _ = clusters()
        z = reduce.tsne(FakeLayer.of(x), perplexity=10, random_state=0, max_iter=300)
        assert z.quality_ is None
        q = z.quality(k=5)
        assert z.quality_ is q
        assert q == z.quality(FakeLayer.of(x), k=5)
        assert dataclasses.replace(z, layer="other").quality_ is None
        assert q.measures.recall > q.baseline.recall
        placed = z.transform(x[:40])
        assert placed.quality(k=5).samples == 40

    def test_rows_are_joined_by_id(self, tmp_path):
        pytest.importorskip("openTSNE")
        x, _ = clusters()
        z = reduce.tsne(FakeLayer.of(x), perplexity=10, random_state=0, max_iter=300)
        expected = z.quality(k=5)
        z.save(tmp_path / "z")
        back = reduce.Embedding.load(tmp_path / "z")
        with pytest.raises(
            ReduceError, match=r"does not hold; one that was loaded .* Pass the layer: z.quality"
        ):
            back.quality()
        order = np.random.default_rng(0).permutation(90)
        more = np.vstack([x[order], x[:10] + 1])
        layer = FakeLayer.of(more, ids=np.concatenate([order + 1000, np.arange(10)]))
        assert back.quality(layer, k=5) == expected
        with pytest.raises(
            ReduceError, match=r"layer 'fc1' lacks 5 of the embedding's 90 ids \(1085, 1086, "
        ):
            back.quality(FakeLayer.of(x[:85]))
        with pytest.raises(ReduceError, match=r"the array lacks 90 of the embedding's 90 ids"):
            back.quality(x)
        twice = FakeLayer.of(more, ids=np.concatenate([order + 1000, np.arange(10) + 1000]))
        with pytest.raises(ReduceError, match="ids repeat in the layer, and in another order"):
            back.quality(twice)
        repeated = dataclasses.replace(
            back, points=back.points[[0, 0, 1]], ids=back.ids[[0, 0, 1]], columns={}
        )
        with pytest.raises(ReduceError, match="ids repeat in the embedding"):
            repeated.quality(FakeLayer.of(x))

    def test_equal_ids_in_equal_order_may_repeat(self):
        x, every = pictures()
        ids = np.arange(200) % 50
        z = by_hand(every["pca"], x, ids=ids)
        assert z.quality(FakeLayer.of(x, ids=ids), k=5) == by_hand(every["pca"], x).quality(x, k=5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"k": 0}, "Embedding.quality: k=0; it takes a whole number ≥ 1"),
        ({"k": 100}, r"k=100 needs more than 200 samples; there are 200. Pass k=99 or less"),
        ({"samples": 20}, r"Embedding.quality: samples=20; it takes a whole number ≥ 21"),
        ({"random_state": "a"}, "random_state='a'; it takes None or a whole number"),
    ],
)
def test_what_it_refuses(option, message):
    x, every = pictures()
    with pytest.raises(ReduceError, match=message):
        by_hand(every["pca"], x).quality(x, **option)


def test_layers_that_cannot_be_compared():
    x, every = pictures()
    z = by_hand(every["pca"], x)
    with pytest.raises(ReduceError, match=r"Embedding.quality takes \(samples, features\)"):
        z.quality(np.zeros((200, 3, 3)))
    with pytest.raises(ReduceError, match="the 200 rows of the array are all equal"):
        z.quality(np.ones((200, 3)))
    angles = by_hand(every["pca"], x, method="umap", parameters={"metric": "ll_dirichlet"})
    with pytest.raises(ReduceError, match="Embedding.quality: metric='ll_dirichlet' cannot be used"):
        angles.quality(x)
    collapsed = by_hand(np.zeros((200, 2)), x).quality(x)
    assert collapsed.measures.distance_correlation == 0
    assert collapsed.warning


class TestOtherRows:
    """Ids that agree by accident are not a reason to compare rows."""

    def layers(self):
        x = np.random.default_rng(0).standard_normal((120, 8))
        of = lambda a, **about: FakeLayer.of(a, ids=np.arange(120), **about)  # noqa: E731
        return x, of

    def test_another_array(self):
        x, _ = self.layers()
        z = reduce.pca(x[20:80])
        assert z.quality(x[20:80], k=5).measures == z.quality(k=5).measures
        with pytest.raises(NeighborError, match="the array has 120 rows and the embedding 60; .*no ids"):
            z.quality(x, k=5)
        with pytest.raises(ReduceError, match="fitted on 8 features; the new rows have 5"):
            z.quality(x[20:80, :5], k=5)

    def test_another_layer_or_step(self):
        x, of = self.layers()
        z = reduce.pca(of(x, name="fc1", columns={"step": np.zeros(120, int)}))
        with pytest.raises(NeighborError, match=r"of layer 'fc1', and the layer is 'fc2'. Pass run\['fc1'\]"):
            z.quality(of(x, name="fc2"), k=5)
        with pytest.raises(NeighborError, match="differ in column 'step', so they are other rows"):
            z.quality(of(x, name="fc1", columns={"step": np.ones(120, int)}), k=5)
        order = np.random.default_rng(1).permutation(120)
        shuffled = FakeLayer.of(x[order], ids=order, name="fc1", columns={"step": np.zeros(120, int)})
        assert z.quality(shuffled, k=5).measures == z.quality(k=5).measures

    @pytest.mark.parametrize("far", [1e8, 1e10])
    def test_a_far_origin(self, far):
        x, _ = self.layers()
        x = np.round(x * 64) / 64
        near, there = reduce.pca(x).quality(k=5).measures, reduce.pca(x + far).quality(k=5).measures
        assert there.trustworthiness == pytest.approx(near.trustworthiness, abs=1e-3)
        assert there.distance_correlation == pytest.approx(near.distance_correlation, abs=1e-3)


def test_a_kept_result_without_its_bad_rows_has_all_that_the_first_had(tmp_path):
    x = np.random.default_rng(0).standard_normal((90, 6)).astype("f4")
    x[[4, 50], 2] = np.nan
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write({"l": x})
    layer = actlens.open(tmp_path / "run")["l"]
    first, again = (reduce.pca(layer, nan="drop") for _ in range(2))
    assert again.parameters["dropped"] == 2
    assert again.quality(k=5).measures == first.quality(k=5).measures == first.quality(layer, k=5).measures
    loaded = dataclasses.replace(again, rows=None)
    assert loaded.quality(layer, k=5).measures == first.quality(k=5).measures
