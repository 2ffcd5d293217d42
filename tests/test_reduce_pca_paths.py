"""The ways to principal components: each right, with an honest account of its error, wherever it is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from fake_layer import FakeLayer

import actlens
from actlens.errors import ReduceError, WorkerError
from actlens.reduce import pca, source
from actlens.streaming.fold import each, workers_of
from actlens.streaming.part import parts_of
from actlens.streaming.reader import LayerReader


def residual_activations(samples=20_000, features=192, *, mean=30.0, seed=0):
    """Float32 rows with a falling spectrum, and means of so many deviations in every unit."""
    rng = np.random.default_rng(seed)
    scale = (1 + np.arange(features)) ** -0.7
    turn = np.linalg.qr(rng.standard_normal((features, features)))[0]
    x = rng.standard_normal((samples, features)) * scale @ turn
    return (x + mean * x.std(axis=0) * rng.choice([-1, 1], features)).astype("f4")


def float64(x, k):
    values, vectors = np.linalg.eigh(np.cov(x.astype("f8").T))
    return values[::-1], vectors[:, ::-1][:, :k]


def angles(components, vectors):
    return np.arccos(np.clip(np.abs(np.einsum("kd,dk->k", components, vectors)), 0, 1))


@pytest.fixture
def large(monkeypatch):
    """Take arrays for large ones, of several blocks."""
    monkeypatch.setattr(source, "_SMALL", 0)
    monkeypatch.setattr(source, "_CHUNK_BYTES", 1 << 20)


@pytest.mark.parametrize("mean", [0, 1, 30, 1000, 3000])
def test_products_of_float32_are_right_whatever_the_mean(large, mean):
    x = residual_activations(mean=mean)
    z = pca(x, n_components=20)
    values, vectors = float64(x, 20)
    assert (z.solution.precision, z.solution.passes) == ("float32", 1)
    off = np.abs(z.explained_variance / values[:20] - 1)
    assert off.max() < 1e-5
    gaps = np.minimum(np.append(np.inf, -np.diff(values[:20])), -np.diff(values[:21]))
    separated = gaps > 0.05 * values[:20]
    assert separated.sum() >= 5
    assert angles(z.components, vectors)[separated].max() < 1e-3
    np.testing.assert_allclose(z.points.var(axis=0, dtype="f8", ddof=1), values[:20], rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_the_error_that_is_stated_is_the_error_there_is(large, seed):
    x = residual_activations(12_000, 96, seed=seed)
    z = pca(x, n_components=30)
    values, _ = float64(x, 30)
    true = np.abs(z.explained_variance / values[:30] - 1).max()
    assert true / 2 < z.solution.variance_error < 50 * true


def test_massive_units_that_hardly_change(large):
    """Four units at ± 1000 in otherwise ordinary rows: scikit-learn's float32 covariance is wrong there."""
    x = residual_activations(mean=1)
    x[:, [3, 50, 99, 180]] += np.float32([1000, -1000, 3000, -3000])
    z = pca(x, n_components=10)
    np.testing.assert_allclose(z.explained_variance, float64(x, 10)[0][:10], rtol=1e-5)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_what_float32_cannot_tell_is_multiplied_again_in_float64(large, order):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40_000, 32)).astype("f4")
    x[20_000:] += 1000
    x = x if order == "sorted" else rng.permutation(x)
    z = pca(x, n_components=5)
    assert (z.solution.precision, z.solution.passes) == ("float64", 2)
    assert "second one in float64" in z.solution.why
    np.testing.assert_allclose(z.explained_variance, float64(x, 5)[0][:5], rtol=1e-9)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("shape", [(5000, 96), (90, 400)])
def test_the_partition_does_not_matter(large, monkeypatch, cut, shape):
    x = residual_activations(*shape)
    with ThreadPoolExecutor(cut) as executor:
        z = pca(x, n_components=7, executor=executor)
    whole = pca(x, n_components=7)
    np.testing.assert_allclose(z.explained_variance, whole.explained_variance, rtol=1e-12)
    np.testing.assert_allclose(z.components, whole.components, atol=1e-12)
    np.testing.assert_allclose(z.points, whole.points, rtol=0, atol=1e-6 * np.abs(whole.points).max())


@pytest.mark.parametrize("shape", [(3000, 200), (300, 2000)])
def test_krylov_without_a_square_matrix(monkeypatch, large, shape):
    monkeypatch.setattr(sys.modules["actlens.reduce.pca"], "_WIDEST", 100)
    x = residual_activations(*shape)
    z = pca(x, n_components=12)
    values, vectors = float64(x, 12)
    assert z.solution.svd_solver == "randomized"
    assert 2 < z.solution.passes < 12
    off = np.abs(z.explained_variance / values[:12] - 1).max()
    assert off < 1e-5
    assert off <= max(z.solution.variance_error, 1e-9)
    assert angles(z.components, vectors).max() < 1e-3
    np.testing.assert_allclose(z.explained_variance_ratio, values[:12] / values.sum(), rtol=1e-5)
    assert np.array_equal(z.points, pca(x, n_components=12, random_state=0).points)


def test_krylov_of_few_directions(monkeypatch, large):
    monkeypatch.setattr(sys.modules["actlens.reduce.pca"], "_WIDEST", 5)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((100, 3)) @ rng.standard_normal((3, 40)) + 7).astype("f4")
    z = pca(x, n_components=3)
    np.testing.assert_allclose(z.explained_variance, float64(x, 3)[0][:3], rtol=1e-6)
    exact = np.round(8 * x)  # sums of few directions, in whole numbers
    assert pca(exact[:, :3].repeat(5, axis=1), n_components=None).points.shape == (100, 3)
    with pytest.raises(ReduceError, match="varies in 3 directions only"):
        pca(exact[:, :3].repeat(5, axis=1), n_components=6)
    with pytest.raises(ReduceError, match="are all equal"):
        pca(np.ones((30, 40), "f4"), n_components=3)


def test_wide_samples_in_several_bands(monkeypatch, large):
    monkeypatch.setattr(sys.modules["actlens.reduce.components.gram"], "_LEAST_BYTES", 1)
    x = residual_activations(60, 500)
    z = pca(x, n_components=7)
    assert z.solution.svd_solver == "gram"
    np.testing.assert_allclose(z.explained_variance, float64(x, 7)[0][:7], rtol=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_share_of_the_variance_of_many_features(large, share):
    x = residual_activations(4000, 700)
    values = float64(x, 1)[0]
    needed = int((np.cumsum(values) / values.sum() < share).sum()) + 1
    assert pca(x, n_components=share).points.shape[1] == needed


class TestRowsThatAreNotFinite:
    def rows(self):
        x = residual_activations(3000, 20)
        x[[5, 1700], [0, 3]] = np.nan
        x[2999, 19] = np.inf
        return x

    @pytest.mark.parametrize("wrap", [lambda x: x, FakeLayer.of])
    def test_they_are_listed_whole(self, large, wrap):
        base = 0 if wrap(self.rows()) is not None and not isinstance(wrap(self.rows()), FakeLayer) else 1000
        ids = ", ".join(str(base + n) for n in (5, 1700, 2999))
        with pytest.raises(ReduceError, match=rf"NaN or inf in 3 rows \(ids: {ids}\).*nan='drop'"):
            pca(wrap(self.rows()))

    def test_they_are_left_out_when_asked_for(self, large):
        x = self.rows()
        good = np.isfinite(x).all(axis=1)
        z = pca(FakeLayer.of(x, columns={"label": np.arange(3000) % 7}), n_components=4, nan="drop")
        assert z.parameters["dropped"] == 3
        assert np.array_equal(z.ids, 1000 + np.flatnonzero(good))
        assert np.array_equal(z.columns["label"], (np.arange(3000) % 7)[good])
        np.testing.assert_allclose(z.explained_variance, float64(x[good], 4)[0][:4], rtol=1e-5)

    def test_where_samples_are_few(self, large):
        x = np.random.default_rng(0).standard_normal((10, 50)).astype("f4")
        x[3, 3] = np.inf
        with pytest.raises(ReduceError, match=r"in 1 row \(ids: 3\)"):
            pca(x)
        assert len(pca(x, nan="drop")) == 9

    def test_in_a_layer_too_wide(self, large, monkeypatch):
        monkeypatch.setattr(sys.modules["actlens.reduce.pca"], "_WIDEST", 5)
        with pytest.raises(ReduceError, match="in 3 rows"):
            pca(self.rows())


def total(part):
    return sum(float(block.sum(dtype="f8")) for _, block in part.blocks())


def die_once(part):
    """End the worker's process at the first part, the first time."""
    if part.start == 0 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return total(part)


@pytest.fixture
def recording(tmp_path):
    x = residual_activations(3000, 24)
    with actlens.Recorder(tmp_path / "run", shard_bytes=1 << 16) as rec:
        for start in range(0, 3000, 500):
            rec.write({"fc": x[start : start + 500]}, label=np.arange(500) % 10)
    return tmp_path / "run"


def spawned(workers=2):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.slow
def test_processes_open_the_recording_themselves(recording, monkeypatch):
    layer = actlens.open(recording)["fc"]
    here = pca(layer, n_components=3, cache=False)
    monkeypatch.chdir(recording.parent)
    relative = actlens.open("run")["fc"]
    monkeypatch.chdir("/")
    with spawned() as executor:
        for one in (layer, relative, layer[:]):
            z = pca(one, n_components=3, executor=executor, cache=False)
            np.testing.assert_allclose(z.explained_variance, here.explained_variance, rtol=1e-12)
            np.testing.assert_allclose(z.points, here.points, atol=1e-6)
        some = actlens.open(recording).sel(label=3)["fc"]
        there = pca(some, n_components=2, executor=executor, cache=False)
        np.testing.assert_allclose(there.points, pca(some, n_components=2, cache=False).points, atol=1e-6)
        parts = parts_of(LayerReader(layer), len(layer), rows=100, pieces=3)
        hidden = recording.rename(recording.with_name("elsewhere"))
        with pytest.raises(
            WorkerError, match=r"a worker \(.*process \d+\) finds no recording at .*run\. .* shared"
        ):
            list(each(total, parts, executor=executor))
        hidden.rename(recording)


@pytest.mark.slow
def test_a_worker_that_dies_costs_no_result(recording):
    layer = actlens.open(recording)["fc"]
    parts = parts_of(LayerReader(layer), len(layer), rows=100, pieces=6)
    with (
        spawned() as executor,
        pytest.warns(UserWarning, match="a worker died .* worked on again in this process"),
    ):
        found = list(each(die_once, parts, executor=executor))
    expected = [float(layer[part.start : part.stop].sum(dtype="f8")) for part in parts]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_error_of_the_task_is_its_own():
    def fail(part):
        raise ZeroDivisionError(part)

    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError, match="7"):
        list(each(fail, [7, 8, 9], executor=executor))


def test_what_is_no_executor():
    class Client:
        def get_executor(self):
            raise NotImplementedError

    with pytest.raises(WorkerError, match=r"got Client. Of a Dask client: client.get_executor\(\)"):
        workers_of(Client())
    with pytest.raises(WorkerError, match=r"executor= takes None or an executor with submit\(\).*got int.$"):
        pca(np.eye(4), executor=4)


def test_float64_states_its_rounding_too():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 12)) * 10.0 ** -np.arange(12)[::-1].clip(max=5)
    z = pca(x, n_components=12)
    assert z.solution.precision == "float64"
    assert 1e-8 < z.solution.variance_error < 1e-4
    assert np.abs(z.explained_variance / float64(x, 1)[0] - 1).max() < z.solution.variance_error
