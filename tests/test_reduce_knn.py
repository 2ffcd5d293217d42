"""reduce.knn against distances that numpy measures one by one, and its cache."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from actlens.reduce import knn

pytest.importorskip("sklearn.neighbors")
distance = pytest.importorskip("scipy.spatial.distance")


@pytest.fixture(autouse=True)
def _empty_cache():
    knn.forget()
    yield
    knn.forget()


def rows(samples=300, features=12, dtype="f4", seed=0):
    return np.random.default_rng(seed).standard_normal((samples, features)).astype(dtype)


def brute(x, k, metric):
    """(samples, k) sorted distances to the other rows, in float64, from differences."""
    every = distance.cdist(x.astype("f8"), x.astype("f8"), metric)
    np.fill_diagonal(every, np.inf)
    return np.sort(every, axis=1)[:, :k], every


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock", "correlation"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_nearest_are_found(metric, dtype):
    x = rows(dtype=dtype)
    found = knn.search(x, 10, metric=metric)
    expected, every = brute(x, 10, metric)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(every, found.indices, axis=1), expected, rtol=1e-5, atol=1e-6
    )
    assert (found.indices != np.arange(300)[:, None]).all()
    assert (found.indices.dtype, found.distances.dtype) == (np.int32, np.float32)
    assert (found.exact, found.metric) == (True, metric)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_rows_are_neighbours_and_no_row_is_its_own(metric):
    x = np.repeat(rows(40), 5, axis=0)
    for k in (2, 4, 9):
        found = knn.search(x, k, metric=metric)
        own = np.arange(200)[:, None]
        assert (found.indices != own).all()
        assert (found.indices[:, : min(k, 4)] // 5 == own // 5).all()
        assert (found.distances[:, : min(k, 4)] == 0).all()
        assert all(len(set(row)) == k for row in found.indices.tolist())
    more_equal_than_asked = knn.search(np.repeat(rows(2), 150, axis=0), 3, metric=metric)
    assert (more_equal_than_asked.indices != np.arange(300)[:, None]).all()
    assert (more_equal_than_asked.distances == 0).all()


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
@pytest.mark.parametrize("spread", [1.0, 1e-7])
def test_a_far_origin_and_tight_groups_cost_no_figures(offset, spread):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((20, 6)), 15, axis=0) + spread * rng.standard_normal((300, 6))
    x = x + offset
    expected, every = brute(x, 14, "euclidean")
    found = knn.search(x, 14)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-5)
    picked = np.take_along_axis(every, found.indices, axis=1)
    np.testing.assert_allclose(picked, expected, rtol=1e-5)


def test_ties_are_in_the_order_of_the_rows():
    x = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    assert knn.search(x, 4).indices[0].tolist() == [1, 2, 3, 4]


def test_rows_of_zeros_have_no_angle():
    x = rows(30)
    x[[3, 8]] = 0
    found = knn.search(x, 29, metric="cosine")
    assert (found.indices[3, 0], found.indices[8, 0]) == (8, 3)
    np.testing.assert_allclose(found.distances[3, 1:], 1, atol=1e-7)
    assert np.isfinite(knn.search(x * 1e-200, 5, metric="cosine").distances).all()
    huge = knn.search(np.delete(x, [3, 8], axis=0).astype("f8") * 1e200, 5, metric="cosine")
    np.testing.assert_allclose(
        huge.distances, knn.search(np.delete(x, [3, 8], axis=0), 5, metric="cosine").distances, atol=1e-6
    )


class TestCache:
    def test_one_search_for_all(self, monkeypatch):
        searches = []
        inner = knn._exact
        monkeypatch.setattr(knn, "_exact", lambda *given: searches.append(given[2]) or inner(*given))
        x = rows()
        first = knn.search(x, 15)
        for k in (10, 90, 91):
            found = knn.search(x.copy(), k)
            assert found.indices.shape == (300, k)
            np.testing.assert_array_equal(found.indices[:, :10], first.indices[:, :10])
        some = knn.of_rows(x, np.array([5, 0]), 10)
        np.testing.assert_array_equal(some.indices, first.indices[[5, 0], :10])
        assert searches == [92]  # of 91 and the row itself
        knn.search(x, 100)
        knn.search(x, 95)
        assert searches == [92, 101]
        x[0, 0] += 1
        knn.search(x, 15)
        knn.search(x, 15, metric="cosine")
        assert searches == [92, 101, 92, 92]

    def test_it_is_bounded_and_cannot_be_written(self, monkeypatch):
        for seed in range(6):
            knn.search(rows(50, seed=seed), 5)
        assert len(knn._cache) == knn._ENTRIES
        monkeypatch.setattr(knn, "_BYTES", 3 * 50 * 49 * 8)
        found = knn.search(rows(50, seed=9), 5)
        assert len(knn._cache) == 3
        assert found.indices.shape == (50, 5)
        with pytest.raises(ValueError, match="read-only"):
            found.indices[0, 0] = 3
        monkeypatch.setattr(knn, "_BYTES", 10)
        assert knn.search(rows(50, seed=10), 5).indices.shape == (50, 5)
        assert not knn._cache

    def test_several_threads(self):
        x = [rows(200, seed=seed) for seed in range(6)]
        expected = [brute(each, 5, "euclidean")[0] for each in x]
        wrong = []

        def work(number):
            for turn in range(6):
                at = (number + turn) % 6
                if not np.allclose(knn.search(x[at], 5).distances, expected[at], rtol=1e-5):
                    wrong.append(at)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_some_rows_without_a_search_before():
    x = np.repeat(rows(50), 2, axis=0)
    found = knn.of_rows(x, np.array([7, 3]), 5)
    whole = knn.search(x, 5)
    np.testing.assert_array_equal(found.indices, whole.indices[[7, 3]])
    np.testing.assert_array_equal(found.distances, whole.distances[[7, 3]])


def test_new_rows():
    x, new = rows(), rows(20, seed=1)
    for metric in ("euclidean", "cosine", "cityblock"):
        indices, distances = knn.to(x, new, 7, metric=metric)
        every = distance.cdist(new, x, metric)
        np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :7], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(indices[:, 0], every.argmin(axis=1))
    assert knn.to(x[:3], new, 7)[0].shape == (20, 3)


def test_beyond_the_exact_search(monkeypatch):
    pytest.importorskip("openTSNE")
    x = np.repeat(rows(600), 2, axis=0)
    exact = knn.search(x, 20)
    monkeypatch.setattr(knn, "EXACT_ROWS", 500)
    found, again = knn.search(x, 20, seed=3), knn.search(x, 20, seed=3)
    knn.forget()
    anew = knn.search(x, 20, seed=3)
    assert not found.exact
    assert (found.indices != np.arange(1200)[:, None]).all()
    np.testing.assert_array_equal(found.indices, again.indices)
    np.testing.assert_array_equal(found.indices, anew.indices)
    shared = np.mean(
        [len({*a} & {*b}) / 20 for a, b in zip(found.indices.tolist(), exact.indices.tolist(), strict=True)]
    )
    assert shared > 0.9


def test_a_metric_that_is_none():
    with pytest.raises(ValueError, match="metric"):
        knn.search(rows(), 5, metric="nope")
    assert not knn._cache
