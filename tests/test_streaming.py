"""Passes over parts: what travels is small, and what goes wrong between processes is said."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cluster
import numpy as np
import pytest
import threadpoolctl
from fake_layer import FakeLayer

import actlens
from actlens.errors import WorkerError
from actlens.reduce import pca
from actlens.streaming.fold import each
from actlens.streaming.part import parts_of
from actlens.streaming.reader import ArrayReader, KeptRows, LayerReader
from actlens.streaming.threads import single_threaded_blas


def blocks(part):
    return [(start, block.copy()) for start, block in part.blocks()]


@pytest.fixture
def layer(tmp_path):
    with actlens.Recorder(tmp_path / "run", shard_bytes=1 << 14) as rec:
        rec.write({"fc": np.arange(6000, dtype="f4").reshape(3000, 2)}, label=np.arange(3000) % 3)
    return actlens.open(tmp_path / "run").sel(label=[0, 1])["fc"]


@pytest.mark.parametrize("kind", ["array", "layer", "kept of an array", "kept of a layer"])
@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_a_part_travels_with_its_rows_alone(layer, kind, pieces):
    whole = np.asarray(layer)
    reader = LayerReader(layer) if kind.endswith("layer") else ArrayReader(whole)
    kept = np.flatnonzero(np.arange(len(whole)) % 5 != 2)
    if kind.startswith("kept"):
        reader, whole = KeptRows(reader, kept), whole[kept]
    parts = parts_of(reader, len(whole), rows=100, pieces=pieces)
    all_of_it = len(pickle.dumps(parts_of(reader, len(whole), rows=100)[0]))
    for part in parts:
        sent = pickle.dumps(part)
        again = pickle.loads(sent)  # noqa: S301
        for one in (again, pickle.loads(pickle.dumps(again))):  # noqa: S301 - Dask's scheduler sends it on
            for (start, block), (first, expected) in zip(blocks(one), blocks(part), strict=True):
                assert start == first
                assert np.array_equal(block, expected)
                assert np.array_equal(block, whole[start : start + len(block)])
        assert pieces == 1 or len(sent) < 0.6 * all_of_it


def test_what_cannot_be_sent_to_a_process():
    x = np.random.default_rng(0).standard_normal((50, 4))
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as executor,
        pytest.raises(WorkerError, match=r"a part of FakeLayer cannot be sent .*lambda.*executor=None"),
    ):
        pca(FakeLayer.of(x), executor=executor)
    with ThreadPoolExecutor(2) as executor:  # it needs not be sent
        assert pca(FakeLayer.of(x), executor=executor).points.shape == (50, 2)


def test_a_type_error_of_the_task_is_its_own():
    def fail(part):
        raise TypeError("no such thing")

    with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="no such thing"):
        list(each(fail, [lambda: None], executor=executor))


def test_an_executor_that_is_shut_down():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(WorkerError, match="executor= is shut down.*Call within its with block"):
        pca(np.eye(4), executor=executor)


def test_an_executor_that_is_shut_down_on_the_way():
    go, executor = threading.Event(), ThreadPoolExecutor(1)
    under_way = each(lambda part: go.wait(60), [1, 2, 3], executor=executor)
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(list, under_way)
        while executor._work_queue.qsize() < 1:
            time.sleep(0.01)
        executor.shutdown(wait=False, cancel_futures=True)
        go.set()
        with pytest.raises(WorkerError, match="a task was cancelled|is shut down"):
            coming.result(timeout=60)


def test_an_interrupt_takes_back_what_has_not_begun(tmp_path):
    def interrupt():
        cluster.begun(tmp_path, 1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    parts = parts_of(ArrayReader(np.zeros((6, 1))), 6, rows=1, pieces=6)
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as beside:
        done = beside.submit(interrupt)
        with cluster.interruptible(), pytest.raises(KeyboardInterrupt):
            list(each(cluster.Waiting(cluster.total, tmp_path), parts, executor=executor))
        done.result()
        (tmp_path / "go").touch()
    assert len(list(tmp_path.glob("begun-*"))) == 1


def threads_of_blas():
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return {one["num_threads"] for one in found if "numpy" in one["filepath"]}  # scipy has its own


def test_blas_is_held_to_one_thread_whoever_asks_and_whoever_ends_last():
    """threadpoolctl lets one thread alone set OpenBLAS: tasks in others would have all cores."""

    def held():
        with single_threaded_blas():
            return threads_of_blas()

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        assert held() == {1}
        assert threads_of_blas() == before
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
            assert [pool.submit(held).result() for pool in (one, another, one)] == [{1}] * 3
            first, second = single_threaded_blas(), single_threaded_blas()
            one.submit(first.__enter__).result()
            another.submit(second.__enter__).result()
            one.submit(first.__exit__, None, None, None).result()
            assert threads_of_blas() == {1}, "another one wants it still"
            another.submit(second.__exit__, None, None, None).result()
        assert threads_of_blas() == before


def test_the_same_bits_after_blas_was_held_elsewhere():
    x = (np.random.default_rng(0).standard_normal((40_000, 256)) * np.arange(256, 0, -1)).astype("f4")
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        alone = pca(x, n_components=3).explained_variance
    with single_threaded_blas():
        pass
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        np.testing.assert_allclose(pca(x, n_components=3).explained_variance, alone, rtol=1e-13)
