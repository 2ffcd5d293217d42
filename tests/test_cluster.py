"""Passes on a Dask cluster: the same numbers; workers that die, or see no files; an object store."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cluster
import numpy as np
import pytest
import servers
from fake_layer import FakeLayer

import actlens
from actlens.errors import CorruptRecording, ReadFailed, WorkerError
from actlens.reduce import pca
from actlens.reduce.components.moments import SumMoments, join
from actlens.streaming.fold import each, fold, workers_of
from actlens.streaming.part import parts_of
from actlens.streaming.reader import ArrayReader, KeptRows, LayerReader

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ROWS, FEATURES = 9000, 96


def activations(rows=ROWS, features=FEATURES, seed=0):
    rng = np.random.default_rng(seed)
    scale = (1 + np.arange(features)) ** -0.7
    return (rng.standard_normal((rows, features)) * scale + 30 * scale).astype("f4")


def written(path, x, name="fc"):
    with actlens.Recorder(path, shard_bytes=1 << 18) as rec:
        for at in range(0, len(x), 500):
            rec.write({name: x[at : at + 500]}, label=np.arange(at, min(at + 500, len(x))) % 10)
    return path


@pytest.fixture(scope="module")
def started():
    with cluster.dask_client() as client:
        yield client


@pytest.fixture
def client(started):
    started.wait_for_workers(2, timeout=60)  # a test may have killed some
    return started


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return written(tmp_path_factory.mktemp("cluster") / "run", activations())


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return written(tmp_path_factory.mktemp("cluster") / "wide", activations(300, 2000))


def layer_of(recording):
    return actlens.open(recording)["fc"]


def parts_in(layer, pieces, rows=500):
    return parts_of(LayerReader(layer), len(layer), rows=rows, pieces=pieces)


def same(layer, executor, **options):
    """Compare with what this process alone finds, and with numpy."""
    here = pca(layer, n_components=5, cache=False, **options)
    there = pca(layer, n_components=5, cache=False, executor=executor, **options)
    np.testing.assert_allclose(there.explained_variance, here.explained_variance, rtol=1e-12)
    np.testing.assert_allclose(there.components, here.components, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        there.points, here.points, rtol=0, atol=1e-6 * np.abs(here.points).max(initial=0)
    )
    x = np.asarray(layer).astype("f8")
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:5] ** 2 / (len(x) - 1)
    np.testing.assert_allclose(there.explained_variance, values, rtol=1e-5)
    how = there.solution, here.solution
    assert len({(one.svd_solver, one.precision, one.passes, one.why) for one in how}) == 1
    return there


class TestTheSameNumbers:
    @pytest.mark.parametrize("pure", [False, True])
    def test_of_the_covariance(self, client, recording, pure):
        z = same(layer_of(recording), client.get_executor(pure=pure))
        assert z.solution.svd_solver == "covariance_eigh"

    def test_of_the_samples_matrix(self, client, wide):
        assert same(layer_of(wide), client.get_executor(pure=False)).solution.svd_solver == "gram"

    @pytest.mark.parametrize("name", ["recording", "wide"])
    def test_of_random_directions(self, client, request, name):
        layer = layer_of(request.getfixturevalue(name))
        z = same(layer, client.get_executor(pure=False), svd_solver="randomized")
        assert z.solution.passes > 3

    def test_of_selected_rows_and_of_an_array(self, client, recording):
        executor = client.get_executor(pure=False)
        same(actlens.open(recording).sel(label=[1, 4, 7])["fc"], executor)
        same(activations(4000, 30), executor)

    def test_of_rows_without_nan(self, client, tmp_path):
        x = activations(5000, 20)
        x[[3, 2500, 4999], [0, 5, 19]] = np.nan
        layer = layer_of(written(tmp_path / "run", x))
        here = pca(layer, n_components=3, nan="drop", cache=False)
        there = pca(layer, n_components=3, nan="drop", cache=False, executor=client.get_executor(pure=False))
        np.testing.assert_allclose(there.explained_variance, here.explained_variance, rtol=1e-12)
        assert there.parameters["dropped"] == 3
        assert np.array_equal(there.ids, here.ids)

    def test_of_a_layer_of_ones_own(self, client):
        same(FakeLayer.of(activations(3000, 24)), client.get_executor(pure=False))

    @pytest.mark.parametrize("pieces", [1, 2, 3, 7, 18])
    def test_whatever_the_number_of_parts(self, client, recording, pieces):
        layer = layer_of(recording)
        task = SumMoments(np.asarray(layer[:100].mean(axis=0), "f8"), np.dtype("f8"))
        sums = fold(task, parts_in(layer, pieces), join, executor=client.get_executor(pure=False))
        mean, covariance = sums.finish()
        x = np.asarray(layer).astype("f8")
        np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(np.triu(covariance), np.triu(np.cov(x.T)), rtol=1e-9, atol=1e-12)

    def test_with_two_threads_a_worker(self, recording, wide):
        with cluster.dask_client(workers=2, threads=2) as client:
            executor = client.get_executor(pure=False)
            assert workers_of(executor) == 4
            for layer in (layer_of(recording), layer_of(wide)):
                same(layer, executor)
                same(layer, executor, svd_solver="randomized")

    def test_a_task_above_ten_megabytes_is_sent_in_silence(self, client):
        """Dask would advise to load the data with Dask; warnings are errors here."""
        x = activations(30_000, 110)
        parts = parts_of(ArrayReader(x), len(x), rows=30_000)
        assert len(pickle.dumps(parts[0])) > 10 << 20
        (found,) = each(cluster.total, parts, executor=client.get_executor(pure=False))
        np.testing.assert_allclose(found, x.sum(dtype="f8"), rtol=1e-12)

    def test_dask_shows_tasks_by_their_names(self, client, recording):
        executor = client.get_executor(pure=False)
        fold(
            SumMoments(np.zeros(FEATURES), np.dtype("f8")),
            parts_in(layer_of(recording), 2),
            join,
            executor=executor,
        )
        prefixes = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
        assert "SumMoments" in prefixes


class TestWorkersThatDie:
    def test_in_the_middle_of_a_pass(self, client, recording, tmp_path):
        """Dask gives its part to another worker, and nobody notices."""
        layer = layer_of(recording)
        task = cluster.Waiting(SumMoments(np.zeros(FEATURES), np.dtype("f8")), tmp_path)
        executor = client.get_executor(pure=False)
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(fold, task, parts_in(layer, 2), join, executor=executor)
            victim, _ = cluster.begun(tmp_path, 2)
            assert victim in client.run(os.getpid).values()
            os.kill(victim, signal.SIGKILL)
            cluster.begun(tmp_path, 3)  # the same part again, by another process
            (tmp_path / "go").touch()
            sums = coming.result(timeout=120)
        assert sums.count == ROWS
        np.testing.assert_allclose(sums.total, np.asarray(layer).sum(axis=0, dtype="f8"), rtol=1e-9)

    def test_each_time(self, recording):
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 1}),
            cluster.dask_client() as client,
            pytest.warns(UserWarning, match="a worker died .* worked on again in this process"),
        ):
            layer = layer_of(recording)
            parts = parts_in(layer, 4)
            executor = client.get_executor(pure=False)
            found = list(each(cluster.Deadly(cluster.total), parts, executor=executor))
        expected = [float(layer[part.start : part.stop].sum(dtype="f8")) for part in parts]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


class TestWorkersThatSeeOtherFiles:
    SAID = r"a worker \(.*process \d+\) finds no recording at .*run\. Workers open it themselves.*shared.* \(s3://"

    @pytest.mark.parametrize("nan", ["raise", "drop"])
    def test_none_where_it_was(self, client, tmp_path, nan):
        x = activations(2000, 8)
        x[7, 7] = np.nan if nan == "drop" else 0
        layer = layer_of(written(tmp_path / "run", x))
        reader = LayerReader(layer)
        reader = KeptRows(reader, np.delete(np.arange(2000), 7)) if nan == "drop" else reader
        parts = parts_of(reader, 1999, rows=500, pieces=2)
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(WorkerError, match=self.SAID):
            list(each(cluster.total, parts, executor=client.get_executor(pure=False)))

    def test_a_worker_without_the_file_system(self, tmp_path):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            pytest.skip("a mount namespace may not be made here")
        run = written(tmp_path / "run", activations(2000, 8))
        task = cluster.Hidden(cluster.total, str(tmp_path))
        with cluster.dask_client(workers=1) as client:
            executor = client.get_executor(pure=False)
            with pytest.raises(WorkerError, match=self.SAID):
                list(each(task, parts_in(layer_of(run), 2), executor=executor))
        assert layer_of(run).shape == (2000, 8), "here it is"

    def test_another_recording_under_its_path(self, client, tmp_path):
        """The layer that was opened is what is read, or it is an error that names the worker."""
        layer = layer_of(written(tmp_path / "run", activations(2000, 8)))
        parts = parts_in(layer, 2)
        shutil.rmtree(tmp_path / "run")
        written(tmp_path / "run", activations(2000, 8, seed=1))
        with pytest.raises(ReadFailed, match="No such file") as caught:
            list(each(cluster.total, parts, executor=client.get_executor(pure=False)))
        (note,) = caught.value.__notes__
        assert note.startswith("on a worker (")
        assert "its path must lead to the same files" in note


class TestResultsThatDaskHas:
    """pure=True, the default of get_executor(): what looks the same is answered with a result that lives."""

    def test_what_travels_tells_recordings_apart(self, client, tmp_path):
        first, second = activations(2000, 8), activations(2000, 8, seed=1)
        part = parts_in(layer_of(written(tmp_path / "run", first)), 1)[0]
        executor = client.get_executor(pure=True)
        alive = executor.submit(cluster.total, part)
        np.testing.assert_allclose(alive.result(), first.sum(dtype="f8"), rtol=1e-12)
        shutil.rmtree(tmp_path / "run")
        again = parts_in(layer_of(written(tmp_path / "run", second)), 1)[0]
        assert dask.tokenize.tokenize(part) != dask.tokenize.tokenize(again)
        np.testing.assert_allclose(
            executor.submit(cluster.total, again).result(), second.sum(dtype="f8"), rtol=1e-12
        )
        del alive

    def test_a_shard_that_was_rewritten_is_read_again(self, client, tmp_path):
        layer = layer_of(written(tmp_path / "run", activations(2000, 8)))
        executor = client.get_executor(pure=True)
        under_way = each(cluster.total, parts_in(layer, 2), executor=executor)
        next(under_way)  # the second result lives on
        shard = sorted((tmp_path / "run").rglob("*.safetensors"))[0]
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.unlink()
        shard.write_bytes(content)
        with pytest.raises(CorruptRecording):
            list(each(cluster.total, parts_in(layer, 2), executor=executor))

    def test_an_error_that_was_mended_is_not_given_again(self, client, tmp_path):
        run = written(tmp_path / "run", activations(2000, 8))
        parts, executor = parts_in(layer_of(run), 1), client.get_executor(pure=True)
        away = run.rename(tmp_path / "away")
        with pytest.raises(WorkerError) as kept:  # its traceback holds the future, as a notebook does
            list(each(cluster.total, parts, executor=executor))
        away.rename(run)
        (found,) = each(cluster.total, parts, executor=executor)
        np.testing.assert_allclose(found, activations(2000, 8).sum(dtype="f8"), rtol=1e-12)
        del kept


class Sealed:
    """A task that cannot be pickled."""

    def __call__(self, part):
        return part

    def __reduce__(self):
        raise TypeError("it holds a socket")


class NotThere:
    """A part that only its own process can load."""

    def __reduce__(self):
        return _loaded_in, (os.getpid(),)


def _loaded_in(process):
    raise ModuleNotFoundError("No module named 'my_layers'")


def itself(part):
    return part


class TestExecutorsThatCannotBeUsed:
    def test_a_client(self, client, recording):
        with pytest.raises(WorkerError, match=r"got Client. Of a Dask client: client.get_executor\(\)"):
            pca(layer_of(recording), executor=client, cache=False)

    def test_an_asynchronous_client(self):
        async def workers():
            async with distributed.Client(
                processes=False,
                n_workers=1,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                asynchronous=True,
            ) as client:
                return workers_of(client.get_executor())

        with pytest.raises(WorkerError, match="asynchronous Dask client.*to_thread"):
            asyncio.run(workers())

    def test_a_client_that_is_closed(self, client):
        with distributed.Client(client.scheduler.address) as other:
            executor = other.get_executor(pure=False)
        with pytest.raises(WorkerError, match="is shut down, or its client closed.*make a new one"):
            pca(np.eye(4), executor=executor)

    def test_one_that_is_shut_down(self, client):
        executor = client.get_executor(pure=False)
        executor.shutdown()
        with pytest.raises(WorkerError, match="is shut down, or its client closed"):
            pca(np.eye(4), executor=executor)

    def test_one_that_is_shut_down_on_the_way(self, client, tmp_path, caplog):
        executor = client.get_executor(pure=False)
        parts = parts_of(ArrayReader(np.zeros((4, 1))), 4, rows=1, pieces=4)
        task = cluster.Waiting(cluster.total, tmp_path)
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(list, each(task, parts, executor=executor))
            cluster.begun(tmp_path, 2)
            executor.shutdown(wait=False)
            with pytest.raises(WorkerError, match="a task was cancelled before .*Nothing is returned"):
                coming.result(timeout=60)
        (tmp_path / "go").touch()
        assert "exception calling callback" not in caplog.text

    def test_what_cannot_be_pickled(self, client):
        with pytest.raises(
            WorkerError, match=r"cannot be sent to another process \(TypeError: it holds a socket\)"
        ):
            list(each(Sealed(), [1, 2], executor=client.get_executor(pure=False)))

    def test_what_the_cluster_cannot_load(self, client):
        said = r"cannot load what was sent to it \(ModuleNotFoundError: No module named 'my_layers'\)"
        with pytest.raises(WorkerError, match=said):
            list(each(itself, [NotThere()], executor=client.get_executor(pure=False)))


def test_an_interrupted_pass_leaves_no_tasks_behind(client, tmp_path):
    def interrupt():
        cluster.begun(tmp_path, 2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    parts = parts_of(ArrayReader(np.zeros((8, 1))), 8, rows=1, pieces=8)
    task = cluster.Waiting(cluster.total, tmp_path)
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(interrupt)
        with cluster.interruptible(), pytest.raises(KeyboardInterrupt):
            list(each(task, parts, executor=client.get_executor(pure=False)))
        done.result()
    end = time.monotonic() + 30
    while any(client.processing().values()):
        assert time.monotonic() < end, "tasks are still waiting for workers"
        time.sleep(0.05)
    (tmp_path / "go").touch()
    assert len(list(tmp_path.glob("begun-*"))) == 2


@pytest.fixture(scope="class")
def bucket(tmp_path_factory):
    """An S3 server with a bucket; what reads and writes it is in the environment."""
    pytest.importorskip("obstore")
    folder = tmp_path_factory.mktemp("moto")
    with servers.moto(folder) as port, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "ACTLENS_"))]:
            patch.delenv(name)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "hushed-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "ACTLENS_CACHE": str(folder / "cache"),
        }.items():
            patch.setenv(name, value)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        urllib.request.urlopen(request).close()  # noqa: S310
        yield "s3://bucket"


class TestFromAnObjectStore:
    def test_it_is_what_is_found_in_a_folder(self, bucket, recording):
        address = written(f"{bucket}/run", activations())
        here = pca(layer_of(recording), n_components=5, cache=False)
        with cluster.dask_client() as client:  # with the environment as it is here
            executor = client.get_executor(pure=False)
            layer = layer_of(address)
            there = same(layer, executor)
            same(layer, executor, svd_solver="randomized")
            assert b"hushed" not in pickle.dumps(parts_in(layer, 1)[0])
        np.testing.assert_allclose(there.explained_variance, here.explained_variance, rtol=1e-12)
        np.testing.assert_allclose(there.components, here.components, rtol=0, atol=1e-12)

    def test_a_worker_that_dies(self, bucket, tmp_path):
        x = activations(4000, 16)
        layer = layer_of(written(f"{bucket}/dies", x))
        with cluster.dask_client() as client, ThreadPoolExecutor(1) as beside:
            task = cluster.Waiting(cluster.total, tmp_path)
            coming = beside.submit(
                list, each(task, parts_in(layer, 4), executor=client.get_executor(pure=False))
            )
            os.kill(cluster.begun(tmp_path, 2)[1], signal.SIGKILL)
            cluster.begun(tmp_path, 3)
            (tmp_path / "go").touch()
            np.testing.assert_allclose(sum(coming.result(timeout=120)), x.sum(dtype="f8"), rtol=1e-12)

    def test_an_object_that_is_gone(self, bucket):
        layer = layer_of(written(f"{bucket}/gone", activations(2000, 8)))
        obstore = pytest.importorskip("obstore")
        store = obstore.store.S3Store("bucket", client_options={"allow_http": True})
        parts = parts_in(layer, 2)
        names = [one["path"] for one in obstore.list(store, prefix="gone/shards").collect()]
        obstore.delete(store, [name for name in names if name.endswith(".safetensors")])
        with cluster.dask_client(workers=1) as client, pytest.raises(CorruptRecording) as caught:
            list(each(cluster.total, parts, executor=client.get_executor(pure=False)))
        assert caught.value.__notes__[0].startswith("on a worker (")

    def test_the_program_of_the_page(self, bucket, tmp_path):
        page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
        (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        shown = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0]
        (tmp_path / "program.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", "program.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout == shown
        z = actlens.reduce.Embedding.load(tmp_path / "pca.safetensors")
        here = pca(actlens.open("s3://bucket/runs/residual")["block.11"], n_components=3)
        np.testing.assert_allclose(z.explained_variance, here.explained_variance, rtol=1e-12)
