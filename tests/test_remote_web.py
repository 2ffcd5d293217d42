"""Recordings on a web server (nginx, a real one), and where fsspec reaches."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
import servers

import actlens
from actlens import upkeep
from actlens.errors import CorruptRecording, ReadFailed, RecordingNotFound
from actlens.remote import retry

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    with servers.nginx(root, tmp_path_factory.mktemp("nginx")) as server:
        server.root = root
        yield server


@pytest.fixture
def run(web, two_steps, monkeypatch, tmp_path, request):
    """A recording on the server: its address, and what is in it."""
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    path, truth, labels = two_steps
    name = re.sub(r"\W+", "-", request.node.name)
    shutil.copytree(path, web.root / name)
    web.requests()
    return f"{web.address}/{name}", truth, labels, web.root / name


def shards(folder):
    return sorted(folder.glob("shards/*/*.safetensors"))


def test_a_recording_is_read_from_a_web_server(run, two_steps, web):
    address, truth, labels, _ = run
    found, local = actlens.open(address, verify="all"), actlens.open(two_steps[0])
    assert len(web.requests()) == 1, "the manifest"
    assert found.path == address
    assert repr(found) == f"<Recording {address}: 200 rows × 2 layers (conv, fc)>"
    for key in truth:
        assert (found[key][:] == truth[key]).all()
        assert np.concatenate(list(found[key].chunks(33))).tobytes() == local[key][:].tobytes()
        assert (found[key][[190, 3, 77, 3]] == truth[key][[190, 3, 77, 3]]).all()
    assert (found.columns["label"] == labels).all()
    assert found.sel(step=1, label="class 3")["fc"].shape == local.sel(step=1, label="class 3")["fc"].shape
    assert found.info == {**local.info, "path": address}


def test_opened_again_no_header_is_asked_for(run, web):
    address, truth, _, folder = run
    for headers in (len(shards(folder)), 0):
        assert (actlens.open(address)["fc"][:] == truth["fc"]).all()
        lines = web.requests()
        assert len([line for line in lines if "bytes=0-65535" in line]) == headers
        assert len(lines) == 1 + headers + len(shards(folder))


def test_only_a_sealed_recording_can_be_read_where_nothing_can_be_listed(run):
    address, _, _, folder = run
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").unlink()
    with pytest.raises(
        RecordingNotFound, match=f"cannot read {address}: there is no manifest.json, and this place"
    ):
        actlens.open(address)
    with actlens.Recorder(folder.parent / "unsealed-run") as rec:
        rec.write({"a": np.eye(2)})
        rec.flush()
        with pytest.raises(
            RecordingNotFound, match="its manifest.json is not sealed, and this place cannot be list"
        ):
            actlens.open(address.rpartition("/")[0] + "/unsealed-run")
        for act in (
            upkeep.verify,
            lambda at: upkeep.copy(at, folder.parent / "copied"),
        ):  # not: "ok, 0 shards"
            with pytest.raises(RecordingNotFound, match="its manifest.json is not sealed, and this place"):
                act(address.rpartition("/")[0] + "/unsealed-run")
    (folder / "manifest.json").write_text(text)
    assert actlens.open(address).rows == 200


def test_a_shard_that_is_gone_damaged_or_another(run, monkeypatch):
    address, _, _, folder = run
    monkeypatch.setenv("ACTLENS_CACHE", "")
    first, second, *_ = shards(folder)
    content = first.read_bytes()
    first.write_bytes(content[:9000] + bytes(len(content) - 9000))
    with pytest.raises(
        CorruptRecording, match=f"{address}/shards/.*00000000.safetensors is damaged: the data of"
    ):
        actlens.open(address)["conv"][:]
    first.write_bytes(content[:-100])
    with pytest.raises(CorruptRecording, match="its header breaks the format"):
        actlens.open(address)["fc"][:2]
    first.write_bytes(b"")
    with pytest.raises(CorruptRecording, match="it is 0 bytes long, shorter than any shard"):
        actlens.open(address)["fc"][:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(CorruptRecording, match="it is not the shard that the manifest lists|it was renamed"):
        actlens.open(address)["fc"][:2]
    first.unlink()
    with pytest.raises(CorruptRecording, match=f"{address}/shards/.*/00000000.safetensors is missing"):
        actlens.open(address)["fc"][:2]


def test_a_shard_that_is_replaced_under_a_reader(run):
    address, truth, _, folder = run
    found = actlens.open(address)
    found["fc"][:1]
    first, second, *_ = shards(folder)
    first.write_bytes(second.read_bytes())
    os.utime(first, (1, 1))  # nginx makes its ETag of the size and the second
    with pytest.raises(
        CorruptRecording, match="was replaced while it was read: its size or its ETag is another"
    ):
        found["fc"][1:2]
    assert (found["fc"][-5:] == truth["fc"][-5:]).all()


@pytest.mark.parametrize("cached", [False, True])
def test_every_range_is_of_the_object_that_was_read_first(run, web, cached):
    """The server is told its ETag; a header of the cache has none that holds, the first answer has."""
    address, truth, _, folder = run
    if cached:
        actlens.open(address)["fc"][:]
    web.requests()
    found = actlens.open(address)
    assert (found["fc"][0] == truth["fc"][0]).all()
    assert (found["fc"][1] == truth["fc"][1]).all()
    told = [line.split()[-1] != "-" for line in web.requests()]
    assert told == ([False, False, True] if cached else [False, False, True, True])
    first = shards(folder)[0]
    os.utime(first, (1, 1))
    with pytest.raises(CorruptRecording, match="was replaced while it was read"):
        found["fc"][2]


def test_a_recording_that_was_copied_again_opens_from_the_cache(run, web):
    address, truth, _, folder = run
    actlens.open(address)["fc"][:]
    for path in shards(folder):
        os.utime(path, (1, 1))  # the same content, and another ETag
    web.requests()
    assert (actlens.open(address)["fc"][:] == truth["fc"]).all()
    assert not [line for line in web.requests() if "bytes=0-65535" in line]
    shards(folder)[0].write_bytes(b"!" * 9000)
    with pytest.raises(CorruptRecording, match="00000000.safetensors was replaced"):
        actlens.open(address)["fc"][:]


def test_what_a_server_refuses(run, web):
    _, _, _, folder = run
    with pytest.raises(
        ReadFailed, match="cannot read .*/private/x/manifest.json: the server answered 403 Forbidden. Me"
    ):
        actlens.open(f"{web.address}/private/x")
    with pytest.raises(ReadFailed, match="00000000.safetensors: the server gives no ranges of a file"):
        actlens.open(f"{web.address}/plain/{folder.name}")["fc"][:]


FAULTS = [
    ("busy", "the server answered 503 Service Unavailable; it was tried 6 times"),
    ("error", "the server answered 500 Internal Server Error; it was tried 6 times"),
    ("forbidden", "the server answered 403 Forbidden. Mend the cause"),
    ("cut", "the answer broke off; it was tried 6 times"),
    ("reset", "the connection broke; it was tried 6 times"),
    ("lost", "the connection broke; it was tried 6 times"),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_faults_pass_or_are_named_without_what_is_hidden(run, web, fault, told):
    address, truth, _, folder = run
    with servers.FaultProxy(int(web.address.rpartition(":")[2])) as proxy:
        address = f"http://name:password@127.0.0.1:{proxy.port}/{folder.name}?token=hush"
        if "tried" in told:
            proxy.plan = [fault] * 5
            found = actlens.open(address)
            proxy.plan = [fault] * 5
            assert (found["fc"][:] == truth["fc"]).all()
            assert not proxy.plan
        proxy.plan = [fault] * 6
        with pytest.raises(ReadFailed) as error:
            actlens.open(address)
        assert told in str(error.value)
        assert f"http://127.0.0.1:{proxy.port}/{folder.name}/manifest.json" in str(error.value)
        chain = [error.value, error.value.__cause__]
        assert not [text for text in ("password", "hush") if text in repr(chain)]
        assert error.value.__suppress_context__


@pytest.mark.slow
def test_a_server_that_does_not_answer(run, web, monkeypatch):
    _, truth, _, folder = run
    monkeypatch.setenv("ACTLENS_TIMEOUT", "1")
    monkeypatch.setattr(retry, "TRIES", 2)
    with servers.FaultProxy(int(web.address.rpartition(":")[2])) as proxy:
        address = f"http://127.0.0.1:{proxy.port}/{folder.name}"
        proxy.plan = ["", "stall"]
        assert (actlens.open(address)["fc"][:] == truth["fc"]).all()
        proxy.plan = ["stall"] * 2
        with pytest.raises(ReadFailed, match="no answer in time; it was tried 2 times"):
            actlens.open(address)


def test_a_server_that_answers_with_another_range(run, web):
    _, _, _, folder = run
    with servers.FaultProxy(int(web.address.rpartition(":")[2])) as proxy:
        proxy.plan = ["", *["shift"] * 6]
        with pytest.raises(
            ReadFailed, match="the answer was another range than was asked for; it was tried 6 times"
        ):
            actlens.open(f"http://127.0.0.1:{proxy.port}/{folder.name}")["fc"][:1]


def test_many_rows_take_few_requests(web, tmp_path, monkeypatch, rng):
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "cache"))
    rows = rng.normal(size=(20_000, 64)).astype("f4")
    with actlens.Recorder(web.root / "many", shard_bytes=1 << 20) as rec:
        rec.write({"a": rows, "b": rows})
    number = len(shards(web.root / "many"))
    picked = rng.integers(0, 20_000, 1000)
    with servers.FaultProxy(int(web.address.rpartition(":")[2])) as proxy:
        found = actlens.open(f"http://127.0.0.1:{proxy.port}/many")
        assert len(proxy.requests()) == 1
        assert (found["a"][picked] == rows[picked]).all()
        assert len(proxy.requests()) == 2 * number, "a header and one range for each of its shards"
        assert (found["a"][picked] == rows[picked]).all()
        assert len(proxy.requests()) == number
        assert (found["b"][:] == rows).all()
        assert len(proxy.requests()) == number
        assert 2 < proxy.most_under_way <= 32


def test_where_fsspec_reaches(two_steps, monkeypatch, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    path, truth, labels = two_steps
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/runs/two", recursive=True)
    found = actlens.open("memory://runs/two")
    assert (found["conv"][:] == truth["conv"]).all()
    assert (found.columns["label"] == labels).all()
    assert found.info["sealed"]
    memory.rm("/runs/two/manifest.json")
    found = actlens.open("memory://runs/two")
    assert (found["conv"][[3, 150]] == truth["conv"][[3, 150]]).all()
    assert not found.info["sealed"]
    assert (actlens.open(f"file://{path}")["fc"][:] == truth["fc"]).all()
    with pytest.raises(
        RecordingNotFound, match="no recording at memory://nothing: it holds neither manifest.json nor"
    ):
        actlens.open("memory://nothing")
    for name in memory.find("/runs/two"):
        memory.pipe_file(name, memory.cat_file(name)[:5000])
    with pytest.raises(CorruptRecording, match="damaged"):
        actlens.open("memory://runs/two")["conv"][:]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (PermissionError("secret"), r"the file system failed \(PermissionError\). Mend"),
        (ConnectionError("secret"), r"the file system failed \(ConnectionError\); it was tried 6 times"),
    ],
)
def test_a_file_system_that_fails(monkeypatch, raised, told):
    memory = pytest.importorskip("fsspec.implementations.memory")
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)

    def fails(*_args, **_kwargs):
        raise raised

    monkeypatch.setattr(memory.MemoryFileSystem, "cat_file", fails)
    with pytest.raises(ReadFailed, match=f"cannot read memory://x/manifest.json: {told}"):
        actlens.open("memory://x")


def test_a_file_system_that_cannot_list(two_steps, monkeypatch):
    memory = pytest.importorskip("fsspec.implementations.memory")

    def fails(*_args, **_kwargs):
        raise NotImplementedError

    memory.MemoryFileSystem().put(str(two_steps[0]), "/runs/unlisted", recursive=True)
    monkeypatch.setattr(memory.MemoryFileSystem, "find", fails)
    assert (actlens.open("memory://runs/unlisted")["fc"][:] == two_steps[1]["fc"]).all()


def test_the_command_line_takes_an_address(run, capsys):
    from cli_run import CommandLine

    address = run[0]
    done = CommandLine(capsys)("info", address)
    assert done.code == 0, done
    assert f"{address}: 200 rows × 2 layers" in done.out
