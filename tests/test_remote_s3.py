"""Recordings in an object store: moto's S3 as a program of its own, behind a proxy that spoils answers."""

from __future__ import annotations

import os
import threading
import urllib.request

import numpy as np
import pytest
import servers

import actlens
from actlens.errors import (
    BudgetExceeded,
    CorruptRecording,
    ReadFailed,
    RecordingError,
    RecordingExists,
    RecordingNotFound,
    WriteFailed,
)
from actlens.remote import retry

obstore = pytest.importorskip("obstore")

ACT = np.random.default_rng(0).normal(size=(2000, 24)).astype("f4")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with servers.moto(tmp_path_factory.mktemp("moto")) as port, servers.FaultProxy(port) as proxy:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        urllib.request.urlopen(request).close()  # noqa: S310
        yield proxy


@pytest.fixture
def proxy(s3, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("AWS_", "ACTLENS_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}",
        "AWS_ACCESS_KEY_ID": "hushed-key",
        "AWS_SECRET_ACCESS_KEY": "hushed-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "ACTLENS_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.002)
    yield s3
    s3.plan, s3.rate, s3.only, s3.faults, s3.stall, s3.spoilt = [], 0.0, "", servers.FAULTS, 3.0, []
    s3.requests()


@pytest.fixture
def address(proxy, request):
    return f"s3://bucket/runs of today/{abs(hash(request.node.name))}"


@pytest.fixture
def bucket(proxy):
    """The bucket itself, past the proxy."""
    return obstore.store.S3Store(
        "bucket",
        endpoint=f"http://127.0.0.1:{proxy.upstream}",
        client_options={"allow_http": True},
    )


def written(address, rows=slice(0, 2000), at_a_time=100, **options):
    ids = np.arange(2000)[rows]
    with actlens.Recorder(address, **options) as rec:
        for at in range(0, len(ids), at_a_time):
            some = ids[at : at + at_a_time]
            rec.write({"a": ACT[some]}, id=some, label=[f"class {i % 3}" for i in some])
            rec.flush()
    return rec


def shards(bucket, address):
    prefix = address.removeprefix("s3://bucket/")
    found = obstore.list(bucket, prefix=prefix).collect()
    return sorted(one["path"] for one in found if one["path"].endswith(".safetensors"))


def is_right(address, rows=2000, **options):
    run = actlens.open(address, verify="all", **options)
    assert run.rows == rows
    assert (run["a"][:] == ACT[run.ids]).all()
    assert sorted(run.ids.tolist()) == list(range(rows))
    assert run.columns["label"].tolist() == [f"class {i % 3}" for i in run.ids]
    return run


def test_what_is_written_is_read_and_is_the_same_as_in_a_folder(address, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * (2 * size))
    monkeypatch.setattr("actlens.writing.origin._now", lambda: "then", raising=False)
    assert written(address).path == address
    written(tmp_path / "run")
    run = is_right(address)
    assert run.path == address
    assert run.info["sealed"]
    prefix = address.removeprefix("s3://bucket/") + "/"
    there = {
        path.removeprefix(prefix): bytes(obstore.get(bucket, path).bytes())
        for path in shards(bucket, address)
    }
    here = {str(p.relative_to(tmp_path / "run")): p.read_bytes() for p in tmp_path.rglob("*.safetensors")}
    assert there.keys() == here.keys()
    assert [name for name in there if _data(there[name]) != _data(here[name])] == []


def _data(content):
    """All but the header, which has the time in it."""
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_record_and_its_budget(address, proxy):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 2))
    batches = [(torch.zeros(8, 4), torch.arange(8))] * 2
    run = actlens.record(model, batches, address, layers="*", columns=["label"])
    assert run.path == address
    assert run["0"].shape == (16, 2)
    with pytest.raises(BudgetExceeded, match="budget= allows 10 B"):
        actlens.record(model, batches, address + "-2", layers="*", budget=10)
    with pytest.raises(RecordingNotFound, match="holds neither manifest.json nor shards"):
        actlens.open(address + "-2")


def test_the_number_of_requests(address, proxy, tmp_path, monkeypatch):
    written(address)
    asked = proxy.requests()
    assert len([one for one in asked if one[0] == "PUT"]) == 2 + 21 + 1, "marker, manifest; shards; manifest"
    assert len([one for one in asked if one[0] == "GET"]) <= 16, "each header was kept when it was put"
    run = actlens.open(address)
    assert len(proxy.requests()) == 2, "the manifest, and a listing"
    assert (run["a"][:] == ACT[run.ids]).all()
    assert len([one for one in proxy.requests() if one[0] == "GET"]) == 20 + 20, (
        "data; ids; the last shard has no rows"
    )
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "other"))
    for headers in (20, 0):  # on another machine, once and again
        run = actlens.open(address)
        assert len(proxy.requests()) == 2
        rows = np.random.default_rng(0).integers(0, 2000, 1000)
        run["a"][rows]
        assert len(proxy.requests()) == 20 + headers
    monkeypatch.setenv("ACTLENS_CACHE", "")
    actlens.open(address)["a"][:]
    assert len(proxy.requests()) == 2 + 2 * 20


def test_an_unsealed_recording_is_opened_at_once_and_again_from_the_cache(
    address, proxy, bucket, monkeypatch, tmp_path
):
    written(address)
    obstore.delete(bucket, address.removeprefix("s3://bucket/") + "/manifest.json")
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "other"))
    proxy.requests()
    proxy.most_under_way = 0
    assert not actlens.open(address).info["sealed"]
    assert len(proxy.requests()) == 2 + 21
    assert proxy.most_under_way > 4, "headers are not asked for one after the other"
    is_right(address)
    proxy.requests()
    actlens.open(address)
    assert len(proxy.requests()) == 2


@pytest.mark.slow
def test_two_hundred_commits_among_faults(address, proxy, bucket, monkeypatch):
    """No false conflict, no shard twice, none lost that was acknowledged."""
    monkeypatch.setattr(retry, "TRIES", 12)
    monkeypatch.setenv("ACTLENS_TIMEOUT", "1")
    proxy.rate, proxy.stall = 0.25, 1.2
    acknowledged, folder = [], ""
    with actlens.Recorder(address) as rec:
        for at in range(0, 2000, 8):
            if at % 400 == 0:
                proxy.plan = [["stall", "slow"][at // 400 % 2]]
            rec.write(
                {"a": ACT[at : at + 8]},
                id=np.arange(at, at + 8),
                label=[f"class {i % 3}" for i in range(at, at + 8)],
            )
            rec.flush()
            acknowledged.append(at)
            folder = folder or shards(bucket, address)[0].rpartition("/")[0]
            assert obstore.head(bucket, f"{folder}/{len(acknowledged) - 1:08d}.safetensors")["size"]
    assert len(acknowledged) == 250
    assert {*servers.FAULTS, "stall", "slow"} <= set(proxy.spoilt)
    assert proxy.spoilt.count("lost") > 10
    assert len(shards(bucket, address)) == 251
    proxy.rate = 0
    run = is_right(address)
    assert run.info["duplicates"] == 0
    assert run.ids.tolist() == list(range(2000))


@pytest.mark.slow
def test_an_answer_lost_at_every_request(address, proxy, bucket):
    """Lose the answer to the k-th request, for every k until none is: the recording is whole all the same."""
    for k in range(0, 60, 3):
        proxy.plan = [""] * k + ["lost"]
        written(f"{address}-{k}", slice(0, 2), 2)
        reached, proxy.plan = not proxy.plan, []
        assert len(shards(bucket, f"{address}-{k}")) == 2
        if not reached:
            break
        assert is_right(f"{address}-{k}", 2).info["duplicates"] == 0
    assert 10 < k < 57


def test_a_store_that_is_down_for_good(address, proxy):
    with pytest.raises(WriteFailed) as error:
        with actlens.Recorder(address) as rec:
            rec.write({"a": ACT[:100]}, id=np.arange(100), label="class 0")
            rec.flush()
            proxy.only, proxy.rate, proxy.faults = "PUT", 1.0, ("busy",)
            rec.write({"a": ACT[100:200]}, id=np.arange(100, 200), label="class 0")
            rec.flush()
    told = str(error.value)
    assert (
        f"writing a shard of {address} failed: the server answered 503 Service Unavailable; it was tried 6"
        in told
    )
    assert "The 100 rows committed before are safe" in told
    assert "hushed" not in told + repr(error.value.__cause__)
    proxy.rate = 0
    assert actlens.open(address).rows == 100
    assert written(address, resume=True).rows == 1900
    assert actlens.open(address).rows == 2000


def test_a_put_of_which_nobody_knows(address, proxy):
    with pytest.raises(
        WriteFailed, match="the connection broke; and whether it arrived cannot be told: the server ans"
    ):
        with actlens.Recorder(address) as rec:
            rec.write({"a": ACT[:100]}, id=np.arange(100), label="class 0")
            proxy.plan, proxy.rate, proxy.faults = ["lost"], 1.0, ("busy",)
            rec.flush()
    proxy.rate = 0
    assert actlens.open(address).rows == 100, "it had arrived"


def test_a_shard_that_another_has_put_is_a_conflict(address, proxy, bucket):
    with pytest.raises(WriteFailed, match=r"File exists \(FileExistsError\)"):
        with actlens.Recorder(address) as rec:
            rec.write({"a": ACT[:100]}, id=np.arange(100))
            rec.flush()
            (first,) = shards(bucket, address)
            obstore.put(bucket, first.replace("00000000.", "00000001."), b"another's")
            rec.write({"a": ACT[:100]}, id=np.arange(100, 200))
            rec.flush()
    with pytest.raises(CorruptRecording, match="00000001.safetensors is damaged"):
        actlens.open(address)


def test_two_ranks_at_once(address, proxy):
    proxy.rate, proxy.faults = 0.1, ("lost", "busy")
    recorders = [None, None]
    together = threading.Barrier(2)

    def write(rank):
        together.wait()
        with actlens.Recorder(address, rank=rank, ranks=2) as rec:
            recorders[rank] = rec
            together.wait()  # both have begun
            for at in range(rank * 100, 2000, 200):
                ids = np.arange(at, at + 100)
                rec.write({"a": ACT[ids]}, id=ids, label=[f"class {i % 3}" for i in ids])
                rec.flush()

    threads = [threading.Thread(target=write, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.rate = 0
    run = is_right(address)
    assert run.info["sealed"]
    assert run.info["writers"] == 2


def test_going_on_and_what_is_refused(address, proxy):
    written(address, slice(0, 1000))
    with pytest.raises(RecordingExists, match=f"{address} holds a recording already; nothing was touched"):
        actlens.Recorder(address)
    assert written(address, resume=True).rows == 1000, "half of them are there"
    assert is_right(address).info["writers"] == 2
    with pytest.raises(RecordingExists, match="exists and is not a recording"):
        actlens.Recorder("s3://bucket/runs of today")


def test_reading_while_it_is_written(address, proxy):
    with actlens.Recorder(address) as rec:
        with pytest.raises(RecordingNotFound, match="has no committed rows yet"):
            actlens.open(address)
        for at in range(0, 500, 100):
            rec.write({"a": ACT[at : at + 100]}, id=np.arange(at, at + 100))
            rec.flush()
            run = actlens.open(address)
            assert run.rows == at + 100
            assert (run["a"][:] == ACT[: at + 100]).all()
    assert run.rows == 500
    assert actlens.open(address).info["sealed"]


def test_where_nothing_was_written_nothing_is_left(address, bucket):
    with pytest.raises(RecordingError, match=f"the recording {address} would be empty"):
        with actlens.Recorder(address):
            pass
    assert obstore.list(bucket, prefix=address.removeprefix("s3://bucket/")).collect() == []
    with pytest.raises(KeyError):
        with actlens.Recorder(address):
            raise KeyError
    assert obstore.list(bucket, prefix=address.removeprefix("s3://bucket/")).collect() == []


def test_a_bucket_that_is_not_there_and_http_that_is_not_allowed(proxy, monkeypatch):
    with pytest.raises(
        ReadFailed, match="cannot read s3://none/x/shards: there is no such bucket. Mend the cause"
    ):
        actlens.open("s3://none/x")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(ReadFailed, match="addressed with http://, which AWS_ALLOW_HTTP=true must allow"):
        actlens.open("s3://bucket/x")


def test_a_damaged_cache_is_fetched_anew(address, proxy, tmp_path):
    written(address)
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged" + path.read_bytes()[7:])
    proxy.requests()
    is_right(address)
    assert len([one for one in proxy.requests() if one[2] == "bytes=0-65535"]) == 21
    is_right(address)
    assert not [one for one in proxy.requests() if one[2] == "bytes=0-65535"]
