"""Recordings elsewhere, without a server: addresses, requests, the cache of headers, trying again."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.errors import AddressError, CorruptRecording, MissingDependency, ReadFailed
from actlens.format.blob import read_spans
from actlens.remote import retry
from actlens.remote.address import Address
from actlens.remote.blob import RemoteBlob
from actlens.remote.cache import HeaderCache
from actlens.remote.coalesce import GAP, MOST, coalesced
from actlens.remote.place import RemotePlace
from actlens.remote.store import Absent, Changed, Listed, PastTheEnd, Piece, StoreError, Taken
from actlens.remote.threads import at_once
from actlens.remote.writable import RemoteWritablePlace
from actlens.shard_set import ShardSet


class Objects:
    """A store in memory. `keeps_marks` says whether it remembers what is noted beside an object."""

    def __init__(self, *, keeps_marks=True):
        self.objects, self.noted, self.asked, self.keeps_marks = {}, {}, [], keeps_marks
        self.before_put = lambda path: None
        self.after_put = lambda path: None

    def _found(self, path):
        if path not in self.objects:
            raise Absent("it does not exist")
        return self.objects[path]

    def whole(self, path, limit):
        return self._found(path)[:limit]

    def part(self, path, begin, end, tag=""):
        content = self._found(path)
        self.asked.append((path, begin, end))
        if tag not in {"", self._tag(content)}:
            raise Changed("it is another object now")
        if begin >= len(content):
            raise PastTheEnd("it ends before")
        return Piece(content[begin:end], len(content), self._tag(content))

    def _tag(self, content):
        return f'"{hash(content)}"'

    def listing(self, folder):
        return {
            path: Listed(len(content), self._tag(content))
            for path, content in self.objects.items()
            if path.startswith(folder + "/")
        }

    def names(self, folder):
        prefix = folder + "/" if folder else ""
        rest = [path[len(prefix) :] for path in self.objects if path.startswith(prefix)]
        return sorted({name.partition("/")[0] + "/" * ("/" in name) for name in rest})

    def put(self, path, content, marks, *, create):
        self.before_put(path)
        if create and path in self.objects:
            raise Taken("it exists already")
        self.objects[path] = bytes(content)
        self.noted[path] = dict(marks) if self.keeps_marks else {}
        self.after_put(path)
        return self._tag(bytes(content))

    def marks(self, path):
        self._found(path)
        return self.noted[path]

    def delete(self, path):
        del self.objects[path]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)


@pytest.fixture
def objects(monkeypatch):
    """A store in memory behind every s3:// address."""
    pytest.importorskip("obstore")
    store = Objects()
    monkeypatch.setattr("actlens.remote.objects.ObjectStore", lambda at: store)
    monkeypatch.setenv("ACTLENS_CACHE", "")
    return store


def blob(store, path="x", **given):
    return RemoteBlob(store, path, f"s3://b/{path}", cache=HeaderCache(None), **given)


# --- which requests ---------------------------------------------------------------------------------

spans = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 300)), max_size=40)


@given(spans, st.integers(0, 400), st.integers(1, 700))
def test_every_byte_is_asked_for_and_lands_where_it_belongs(wanted, gap, most):
    content = np.random.default_rng(0).bytes(4400)
    views = [(begin, memoryview(bytearray(length))) for begin, length in wanted]
    requests = coalesced(views, gap=gap, most=most)
    for request in requests:
        assert 0 < request.end - request.begin <= most
        covered = request.begin
        for begin, view in request.spans:  # in order: holes are no longer than the gap
            assert begin - covered <= gap
            covered = max(covered, begin + len(view))
        assert covered == request.end
        request.fill(memoryview(content)[request.begin : request.end])
    for begin, view in views:
        assert bytes(view) == content[begin : begin + len(view)]


@given(spans)
def test_no_two_requests_could_have_been_one(wanted):
    requests = coalesced([(b, memoryview(bytearray(n))) for b, n in wanted], gap=50, most=10_000)
    assert all(b.begin - a.end > 50 for a, b in itertools.pairwise(requests))


def test_the_limits_of_requests():
    assert (GAP, MOST) == (1 << 20, 16 << 20)
    sizes = [r.end - r.begin for r in coalesced([(5, memoryview(bytearray(40 << 20)))])]
    assert sizes == [16 << 20, 16 << 20, 8 << 20]


# --- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket//a b#1?x", "s3://bucket/a b#1?x"),
        ("https://name:word@host:8/a?token=word", "https://host:8/a"),
        ("gs://bucket/", "gs://bucket"),
        ("file:///tmp/x", "file:///tmp/x"),
        ("memory://run", "memory://run"),
    ],
)
def test_addresses_are_shown_without_secrets(text, shown):
    assert str(Address.parse(text)) == shown
    assert "word" not in Address.parse(text).under("shards/x")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            "s3:///run",
            "s3:///run cannot be used: it names no bucket or server. An address is s3://bucket/path",
        ),
        ("https://host/../x", "it has a part '.' or '..'"),
        ("s3://b/\0", "it is not scheme://place/path"),
        (
            "nowhere://u:secret@b/x",
            "nowhere://b/x cannot be used: neither obstore nor fsspec knows nowhere://",
        ),
        ("http://host:port/x", "obstore does not take it"),
        ("az://container/x", "AZURE_STORAGE_ACCOUNT_NAME is not set"),
        ("zip://x::nothing://", "fsspec does not take it"),
        (Path("s3://bucket/run"), 'Give it as a text: "s3://bucket/run"'),
    ],
)
def test_addresses_that_lead_nowhere(given, why):
    pytest.importorskip("obstore")
    pytest.importorskip("fsspec")
    with pytest.raises(AddressError) as error:
        actlens.open(given)
    assert why in str(error.value)
    assert "secret" not in str(error.value)


def test_a_folder_whose_name_ends_with_a_colon_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:").mkdir()
    with actlens.Recorder(Path("run:/x")) as rec:
        rec.write({"a": np.eye(2)})
    assert actlens.open(Path("run:/x")).rows == 2


def test_what_an_address_cannot_do(monkeypatch):
    pytest.importorskip("obstore")
    with pytest.raises(AddressError, match="mmap=True maps a file of this machine, and there is none"):
        actlens.open("s3://b/x", mmap=True)
    for address in ("https://host/run", "memory://run"):
        with pytest.raises(
            AddressError, match=f"{address} can only be read. Recordings are written to .*s3://"
        ):
            actlens.Recorder(address)
    monkeypatch.setenv("ACTLENS_TIMEOUT", "soon")
    with pytest.raises(AddressError, match="ACTLENS_TIMEOUT is 'soon'; it takes a whole number of seconds"):
        actlens.open("s3://b/x")


def test_packages_that_are_not_installed(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependency, match=r"reading an address needs obstore.*'actlens\[remote\]'"):
        actlens.open("s3://b/x")
    monkeypatch.setattr("fsspec.core.url_to_fs", _no_package)
    with pytest.raises(
        MissingDependency, match="reading sftp:// needs another package. fsspec says: install paramiko"
    ):
        actlens.open("sftp://b/x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependency, match=r"reading memory:// needs fsspec.*'actlens\[remote\]'"):
        actlens.open("memory://x")


def _no_package(address):
    raise ImportError("install paramiko")


def test_nothing_is_loaded_before_an_address_is_given(tmp_path):
    code = (
        "import sys, actlens, numpy as np\n"
        f"with actlens.Recorder({str(tmp_path / 'r')!r}) as rec: rec.write({{'a': np.eye(2)}})\n"
        "actlens.open(rec.path)['a'][:]\n"
        "assert not {'actlens.remote', 'obstore', 'fsspec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- reading objects --------------------------------------------------------------------------------


def test_an_object_that_was_replaced_is_told_by_its_tag_and_by_its_size():
    store = Objects()
    store.objects["x"] = b"0" * 100
    first = blob(store)
    first.head()
    store.objects["x"] = b"1" * 100
    with pytest.raises(
        CorruptRecording, match="s3://b/x was replaced while it was read: its size or its ETag"
    ):
        read_spans(first, [(0, memoryview(bytearray(8)))])
    untagged = blob(store)
    store._tag = lambda content: ""
    untagged.head()
    store.objects["x"] = b"1" * 120
    with pytest.raises(CorruptRecording, match="s3://b/x was replaced while it was read"):
        read_spans(untagged, [(0, memoryview(bytearray(8)))])


def test_an_object_that_is_gone_or_too_short():
    store = Objects()
    store.objects |= {"x": b"0" * 100, "empty": b""}
    assert blob(store, "empty").head() == (0, b"")
    for begin in (95, 200):  # it ends within the range; and before it
        with pytest.raises(
            CorruptRecording, match="s3://b/x is damaged: it ends before its data; it was cut short"
        ):
            read_spans(blob(store), [(begin, memoryview(bytearray(10)))])
    with pytest.raises(CorruptRecording, match="s3://b/gone is missing: it was committed, and is not there"):
        blob(store, "gone").head()


def test_a_long_header_is_read_whole_and_kept(tmp_path, objects, monkeypatch):
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "cache"))
    layers = {f"layer {'x' * 200}{i}": np.full((3, 2), i, "f4") for i in range(400)}
    with actlens.Recorder("s3://b/run") as rec:
        rec.write(layers)
    (path,) = objects.listing("shards").keys() - {p for p in objects.objects if p.endswith("joined")}
    for expected in (2, 0):  # requests for the header
        place = RemotePlace(Address.parse("s3://other/run"), objects, HeaderCache(tmp_path / "other"))
        place.shard_paths()
        objects.asked.clear()
        size, first = place.blob(path).head()
        assert size == len(objects.objects[path])
        assert len(first) > 1 << 16
        assert len(objects.asked) == expected


def test_sixteen_shards_at_once_and_no_deadlock():
    def outer(number):
        return sum(at_once("shards", lambda x: x, range(number))) + sum(at_once("requests", abs, range(40)))

    assert list(at_once("shards", outer, range(64))) == [n * (n - 1) // 2 + 780 for n in range(64)]
    assert list(at_once("shards", str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(at_once("shards", lambda x: 1 // x, [1, 0, 1]))


# --- the cache --------------------------------------------------------------------------------------


def test_the_cache_gives_back_what_it_was_given_and_notices_damage(tmp_path):
    cache = HeaderCache(tmp_path)
    cache.put(["a"], Piece(b"header", 12, '"t"'))
    assert cache.get(["none", "a"]) == Piece(b"header", 12, '"t"')
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:40] + b"!" + whole[41:], whole + b"x"):
        path.write_bytes(damaged)
        assert cache.get(["a"]) is None
    path.unlink()
    path.mkdir()  # cannot be read, and cannot be written
    assert cache.get(["a"]) is None
    cache.put(["a"], Piece(b"header", 12, '"t"'))


def test_the_cache_stays_within_its_limit_and_drops_the_oldest(tmp_path):
    cache = HeaderCache(tmp_path, limit=100_000)
    for number in range(60):
        cache.put([str(number)], Piece(bytes(4000), 1, ""))
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        assert sum(p.stat().st_size for p in files) <= 100_000
        for path in files:  # file systems count in ticks
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10_000_000))
        cache.get(["0"])
    assert cache.get(["0"]) is not None, "used every time"
    assert cache.get(["59"]) is not None
    assert cache.get(["1"]) is None


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("ACTLENS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    HeaderCache.of_environment().put(["a"], Piece(b"h", 1, ""))
    assert [p.name for p in (tmp_path / "xdg" / "actlens").iterdir()] == ["headers"]
    monkeypatch.setenv("ACTLENS_CACHE", str(tmp_path / "own"))
    HeaderCache.of_environment().put(["a"], Piece(b"h", 1, ""))
    assert (tmp_path / "own" / "headers").is_dir()
    monkeypatch.setenv("ACTLENS_CACHE", "")
    off = HeaderCache.of_environment()
    off.put(["a"], Piece(b"h", 1, ""))
    assert off.get(["a"]) is None


def test_a_damaged_header_is_not_kept(tmp_path, objects, monkeypatch):
    with actlens.Recorder("s3://b/run") as rec:
        rec.write({"a": np.eye(3)})
    path = next(p for p in objects.objects if p.endswith(".safetensors"))
    good = objects.objects[path]
    cache = HeaderCache(tmp_path / "cache")
    place = RemotePlace(Address.parse("s3://b/run"), objects, cache)
    objects.objects[path] = good[:50] + b"!" + good[51:]
    with pytest.raises(CorruptRecording, match="its header does not match its digest"):
        ShardSet.of(place, mmap=False, verify="stream").shard(0)
    assert not (tmp_path / "cache").exists()


# --- writing ----------------------------------------------------------------------------------------


def _lost(store, path):
    raise StoreError("the connection broke", again=True)


@pytest.mark.parametrize("keeps_marks", [True, False])
def test_an_answer_that_was_lost_is_no_conflict(objects, keeps_marks):
    objects.keeps_marks = keeps_marks
    objects.after_put = lambda path: _lost(objects, path)
    place = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    place.create("x", b"mine")
    assert objects.objects == {"x": b"mine"}


@pytest.mark.parametrize("keeps_marks", [True, False])
def test_the_object_of_another_is_a_conflict(objects, keeps_marks):
    objects.keeps_marks = keeps_marks
    place = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    objects.put("x", b"other", {"actlens-write-id": "1"}, create=True)
    with pytest.raises(FileExistsError, match="s3://b/run/x"):
        place.create("x", b"mine")
    assert objects.objects == {"x": b"other"}


def test_a_put_that_nobody_knows_of_is_not_acknowledged(objects, monkeypatch):
    def never(path):
        raise StoreError("no answer in time", again=True)

    objects.after_put = lambda path: _lost(objects, path)
    monkeypatch.setattr(objects, "marks", never)
    place = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    told = (
        "the connection broke; and whether it arrived cannot be told: no answer in time; it was tried 6 times"
    )
    with pytest.raises(StoreError, match=told):
        place.create("x", b"mine")


def test_a_put_that_fails_is_tried_a_few_times(objects):
    place = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    tries = []

    def busy(path):
        tries.append(path)
        raise StoreError("the server answered 503", again=len(path) == 1)

    objects.before_put = busy
    with pytest.raises(StoreError, match="the server answered 503; it was tried 6 times"):
        place.create("x", b"mine")
    assert len(tries) == 6
    with pytest.raises(StoreError, match="the server answered 503$"):
        place.create("xx", b"mine")
    assert len(tries) == 7


class Spoilt(Objects):
    """Fails at the k-th call, before or after it was done."""

    def __init__(self, k, when):
        super().__init__()
        self.left, self.when = k, when

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in {"whole", "part", "listing", "names", "put", "marks", "delete"}:
            return found

        def call(*args, **kwargs):
            self.left -= 1
            if self.left == -1 and self.when == "before":
                raise StoreError("the server answered 503", again=True)
            result = found(*args, **kwargs)
            if self.left == -1:
                raise StoreError("the connection broke", again=True)
            return result

        return call


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_call_may_fail_once(objects, monkeypatch, when):
    """Fail the k-th call, for every k until none fails: the recording is whole all the same."""
    for k in range(100):
        store = Spoilt(k, when)
        monkeypatch.setattr("actlens.remote.objects.ObjectStore", lambda at, store=store: store)
        for resume in (False, True):
            with actlens.Recorder("s3://b/run", resume=resume) as rec:
                for at in range(0, 6, 2):
                    rec.write({"a": np.full((2, 3), at)}, id=np.arange(at, at + 2) + 4 * resume)
                    rec.flush()
        run = actlens.open("s3://b/run", verify="all")
        assert run.ids.tolist() == list(range(10))
        assert run.info["duplicates"] == 0
        assert len([name for name in store.objects if name.endswith(".safetensors")]) == 3 + 1 + 2 + 1
        if store.left >= 0:
            return
    pytest.fail("100 calls and no end")


def test_azure_takes_no_hyphen_in_the_name_of_a_mark(objects):
    RemoteWritablePlace(Address.parse("az://b/run"), objects, HeaderCache(None)).create("x", b"mine")
    assert list(objects.noted["x"]) == ["actlens_write_id"]


def test_who_leaves_takes_the_manifest_only_where_nobody_else_is(objects):
    place = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    other = RemoteWritablePlace(Address.parse("s3://b/run"), objects, HeaderCache(None))
    place.join("00000-a")
    place.create("manifest.json", b"{}")
    other.join("00001-a")
    assert place.writers() == ["00000-a", "00001-a"]
    place.leave()
    assert sorted(objects.names("")) == ["manifest.json", "shards/"]
    other.create("x", b"")
    other.leave()
    assert sorted(objects.objects) == ["manifest.json"]


def test_foreign_objects_are_named(objects):
    objects.objects |= {"thesis.txt": b"", "pictures/1.png": b""}
    with pytest.raises(
        actlens.ActlensError, match=r"s3://b/run exists .*holds pictures/, thesis.txt.; nothing was"
    ):
        actlens.Recorder("s3://b/run")


# --- a forked process -------------------------------------------------------------------------------


def _open_in_child(queue):
    try:
        actlens.open("http://127.0.0.1:1/run")
    except ReadFailed as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of jax, about fork
def test_a_forked_process_is_refused_instead_of_waiting_for_ever(monkeypatch):
    pytest.importorskip("obstore")
    with pytest.raises(
        ReadFailed, match="cannot read http://127.0.0.1:1/run/manifest.json: connection refused"
    ):
        actlens.open("http://127.0.0.1:1/run")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_open_in_child, args=(queue,))
    child.start()
    assert "was forked from one that had used obstore" in queue.get(timeout=20)
    child.join()


def test_a_spawned_process_reads(tmp_path):
    code = (
        "import actlens\nfrom actlens.remote import retry\nretry.FIRST_PAUSE = 0\ntry: actlens.open('http://127.0.0.1:1/run')\n"
        "except actlens.ActlensError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "connection refused; it was tried 6 times" in done.stdout
