"""Bundles: what goes in comes out, any damage is seen, and nothing hostile is believed."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from actlens.errors import BundleError, CorruptBundle, ReadFailed, UnsupportedFormat
from actlens.format.bundle import check_bundle, read_bundle, read_head, write_bundle
from actlens.format.dtypes import DTYPES

TEXTS = np.array(["", "ä", "猫\nx"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "z.safetensors"


def written(path, *, kind="stats", about=None, **arrays):
    write_bundle(path, kind, about or {}, arrays)
    return path


def edited(path, change, *, data=None):
    """Change the header and the JSON beside the arrays, as dicts; the digest of the header is right."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    meta = json.loads(entries["__metadata__"]["actlens"])
    change(entries, meta)
    entries["__metadata__"]["actlens"] = json.dumps(meta)
    put(path, entries, raw[8 + length :] if data is None else data)


def put(path, entries, data):
    header = json.dumps(entries, separators=(",", ":")).encode()
    head = bytearray(struct.pack("<Q", len(header)) + header)
    head[35:67] = b"0" * 32
    head[35:67] = xxhash.xxh3_128(bytes(head)).hexdigest().encode()
    path.write_bytes(bytes(head) + data)


class TestRoundTrip:
    @given(
        arrays=st.dictionaries(
            st.text(min_size=1, max_size=8).filter(lambda name: "\0" not in name),
            hnp.arrays(
                hnp.boolean_dtypes()
                | hnp.integer_dtypes(endianness="?")
                | hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?")
                | hnp.complex_number_dtypes(sizes=(64,)),
                hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
            ),
            max_size=4,
        ),
        about=st.dictionaries(
            st.text(max_size=4),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4)
                | st.floats(allow_nan=False, allow_infinity=False),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
                max_leaves=6,
            ),
            max_size=4,
        ),
    )  # fmt: skip
    def test_numbers(self, tmp_path_factory, arrays, about):
        path = tmp_path_factory.mktemp("b") / "b"
        write_bundle(path, "stats", about, arrays)
        found = read_bundle(path, "stats")
        assert found.about == about
        assert found.arrays.keys() == arrays.keys()
        for name, array in arrays.items():
            native = array.astype(array.dtype.newbyteorder("="))
            assert found.arrays[name].dtype == native.dtype
            assert found.arrays[name].shape == array.shape
            assert found.arrays[name].tobytes() == native.tobytes()
        theirs = load_file(path)
        for name in arrays:
            assert theirs["arr:" + name].tobytes() == found.arrays[name].tobytes()

    @given(data=st.data(), shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    def test_text(self, tmp_path_factory, data, shape):
        count = int(np.prod(shape))
        texts = data.draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))
        given = np.array(texts, dtype=np.dtypes.StringDType()).reshape(shape)
        path = written(tmp_path_factory.mktemp("b") / "b", t=given, o=given.astype(object))
        found = read_bundle(path, "stats").arrays
        for name in "to":
            assert found[name].shape == shape
            assert found[name].reshape(-1).tolist() == texts

    @pytest.mark.parametrize("code", DTYPES)
    def test_every_dtype_bit_for_bit(self, path, code):
        raw = np.arange(256, dtype=np.uint8)
        array = (raw % 2 == 0) if code == "BOOL" else raw.view(DTYPES[code])
        found = read_bundle(written(path, x=array), "stats").arrays["x"]
        assert found.dtype == array.dtype
        assert found.tobytes() == array.tobytes()

    def test_strided_and_foreign_byte_order(self, path):
        array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::2]
        written(path, x=array)
        np.testing.assert_array_equal(read_bundle(path, "stats").arrays["x"], array)
        np.testing.assert_array_equal(load_file(path)["arr:x"], array)

    def test_one_long_text_among_many(self, path):
        array = np.array(["x" * 100_000] + ["a"] * 3000, dtype=object)
        found = read_bundle(written(path, t=array), "stats").arrays["t"]
        assert found.dtype.kind == "T"  # padded to the longest, it would take 1.2 GB
        assert found.tolist() == array.tolist()

    def test_nothing_in_it(self, path):
        found = read_bundle(written(path), "stats")
        assert (found.about, found.arrays) == ({}, {})

    def test_the_head_alone(self, path):
        written(path, about={"a": [1, "ü"]}, x=np.zeros(10_000))
        head = read_head(path)
        assert (head.kind, head.about, head.bytes) == ("stats", {"a": [1, "ü"]}, path.stat().st_size)
        assert check_bundle(path) == head

    def test_other_readers_see_what_it_is(self, path):
        written(path, t=TEXTS, x=np.ones(3, ml_dtypes.bfloat16))
        with safe_open(path, framework="numpy") as file:
            assert json.loads(file.metadata()["actlens"])["bundle"] == "stats"
            assert sorted(file.keys()) == ["arr:t", "arr:x", "idx:arr:t"]
            assert file.get_tensor("idx:arr:t").tolist() == [0, 0, 2, 7]


class TestTheFile:
    @pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
    def test_any_flipped_bit_is_seen(self, path, step):
        written(path, about={"a": 1}, x=np.arange(5), t=TEXTS)
        whole = path.read_bytes()
        assert len(whole) < 5000
        for at in range(len(whole) - 1, -1, -step):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
            with pytest.raises(CorruptBundle, match="z.safetensors is damaged: "):
                read_bundle(path, "stats")
            if at % 9 == 0 or at > 4000:
                with pytest.raises(CorruptBundle, match="z.safetensors is damaged: "):
                    check_bundle(path)

    @pytest.mark.parametrize("size", [0, 1, 7, 8, 34, 35, 66, 67, 500, 4095, 4096, 4100, -1])
    def test_any_truncation_is_seen(self, path, size):
        written(path, x=np.arange(5), t=TEXTS)
        whole = path.read_bytes()
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptBundle, match="is damaged"):
            read_bundle(path, "stats")
        path.write_bytes(whole + b"x")
        with pytest.raises(CorruptBundle, match=r"its tensors end at \d+, the file has"):
            read_bundle(path, "stats")

    def test_mode_by_umask(self, path):
        before = os.umask(0o027)
        try:
            written(path, x=np.zeros(2))
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_synced_before_and_after_its_name(self, path, monkeypatch):
        seen, fsync, rename = [], os.fsync, os.rename
        monkeypatch.setattr(
            os, "fsync", lambda fd: (seen.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
        )
        monkeypatch.setattr(os, "rename", lambda a, b: (seen.append("rename"), rename(a, b)))
        written(path, x=np.zeros(2))
        assert ".tmp-" in seen[0]
        assert seen[1:] == ["rename", str(path.parent)]

    @pytest.mark.parametrize("step", ["fsync", "rename", "pwritev"])
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, path, monkeypatch, step):
        written(path, x=np.arange(3))

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space"):
            written(path, x=np.arange(9))
        monkeypatch.undo()
        assert read_bundle(path, "stats").arrays["x"].tolist() == [0, 1, 2]
        assert os.listdir(path.parent) == [path.name]

    def test_a_link_is_replaced_and_its_target_is_not(self, path, tmp_path):
        (tmp_path / "mine").write_bytes(b"mine")
        path.symlink_to(tmp_path / "mine")
        with pytest.raises(CorruptBundle, match="it is a symbolic link, not a file"):
            read_bundle(path, "stats")
        written(path, x=np.zeros(1))
        assert (tmp_path / "mine").read_bytes() == b"mine"
        assert not path.is_symlink()

    def test_what_is_no_file(self, path):
        with pytest.raises(ReadFailed, match="No such file"):
            read_bundle(path, "stats")
        os.mkfifo(path)
        with pytest.raises(CorruptBundle, match="a FIFO or a device"):
            read_bundle(path, "stats")

    def test_another_kind_and_other_files(self, path, two_steps):
        written(path, kind="moments", x=np.zeros(1))
        with pytest.raises(CorruptBundle, match="holds 'moments', not 'stats': give the file that was meant"):
            read_bundle(path, "stats")
        save_file({"x": np.zeros(2)}, path)
        with pytest.raises(CorruptBundle, match="it is no file of results of actlens"):
            read_bundle(path, "stats")
        shard = next(two_steps[0].glob("shards/*/*"))
        with pytest.raises(CorruptBundle, match="it is no bundle: Expected"):
            read_bundle(shard, "stats")


class TestRefused:
    @pytest.mark.parametrize("kind", ["", "A", "a/b", "../x", "1a", "a" * 33, None, "ä"])
    def test_kinds(self, path, kind):
        with pytest.raises(BundleError, match="the kind of a bundle is .*; it takes 1 to 32 of a-z, 0-9"):
            write_bundle(path, kind, {}, {})

    @pytest.mark.parametrize("name", ["", "a\0b", "x" * 901, 3, "\ud800"])
    def test_names(self, path, name):
        with pytest.raises(BundleError, match="an array of a bundle is named .*; it takes a text of 1"):
            write_bundle(path, "stats", {}, {name: np.zeros(1)})

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros(1, np.complex128),
            np.zeros(1, np.longdouble),
            np.zeros(1, "M8[s]"),
            np.array([b"x"]),
            np.array([1, "a", None], dtype=object),
            np.zeros(1, [("a", "f4")]),
            np.zeros(1, ml_dtypes.int4),
        ],
    )
    def test_dtypes(self, path, array):
        with pytest.raises(BundleError, match="array 'x' has dtype .*, which cannot be stored: integers"):
            written(path, x=array)
        assert not path.exists()

    def test_half_a_character(self, path):
        with pytest.raises(BundleError, match="array 'x' has a text that is no valid Unicode: 'utf-8' codec"):
            written(path, x=np.array(["\ud800"]))

    @pytest.mark.parametrize(
        "about",
        [
            {"a": float("nan")},
            {"a": float("inf")},
            {1: 2},
            {"a": [{None: 1}]},
            {"a": object()},
            {"a": "\ud800"},
            {"a": 10**5000},
            [],
            None,
        ],
    )
    def test_metadata(self, path, about):
        with pytest.raises(BundleError, match="the metadata of a bundle must be what JSON can hold"):
            write_bundle(path, "stats", about, {})
        assert not path.exists()

    def test_more_than_a_reader_takes(self, path):
        with pytest.raises(BundleError, match="too large to be read again: it has far more entries"):
            write_bundle(path, "stats", {"a": [[]] * 100_000}, {})
        with pytest.raises(BundleError, match="too large to be read again: its header has 17,"):
            write_bundle(path, "stats", {"a": "x" * (17 << 20)}, {})
        assert not path.exists()


def later(entries, meta):
    meta["version"] = 2


def test_a_later_version(path):
    edited(written(path, x=np.zeros(1)), later)
    with pytest.raises(UnsupportedFormat, match="has format version 2; this actlens reads 1. Upgrade"):
        read_bundle(path, "stats")


def entry(name, **change):
    return lambda entries, meta: entries[name].update(change)


def meta(**change):
    return lambda entries, meta: meta.update(change)


def renamed(entries, meta):
    entries["../../etc/passwd"] = entries.pop("arr:x")
    meta["digests"]["../../etc/passwd"] = meta["digests"].pop("arr:x")


HOSTILE = {
    "huge shape": (entry("arr:x", shape=[1 << 47]), "bytes, which do not fit its shape"),
    "negative": (entry("arr:x", shape=[-5]), "a size or offset out of range"),
    "beyond the end": (entry("arr:x", shape=[1 << 40], data_offsets=[0, 8 << 40]), "starts at|end at"),
    "hole": (entry("arr:t", data_offsets=[81, 88]), "starts at 81, not at"),
    "overlap": (entry("idx:arr:t", data_offsets=[8, 40]), "starts at"),
    "dtype": (entry("arr:x", dtype="F4"), "unknown dtype"),
    "path for a name": (renamed, "it has a tensor '../../etc/passwd', which is no array of a bundle"),
    "no digests": (meta(digests={}), "its metadata does not name its tensors"),
    "text of nothing": (meta(texts={"y": [1]}), "its metadata does not name its tensors"),
    "text of numbers": (meta(texts={"t": [3], "x": [5]}), "the text 'x' is not bytes with offsets"),
    "text of another shape": (meta(texts={"t": [1 << 60]}), "offsets, which do not fit its shape"),
    "negative shape": (meta(texts={"t": [-1, -3]}), "its metadata does not name its tensors"),
    "text left out": (meta(texts={}), "it has a tensor 'idx:arr:t', which is no array"),
    "about": (meta(about=[1]), "it is no bundle: "),
    "kind": (meta(bundle=3), "it is no bundle: "),
    "version": (meta(version=0), "it is no bundle: its version is 0"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers(path, change, message):
    edited(written(path, x=np.arange(5), t=TEXTS), change)
    with pytest.raises(CorruptBundle, match=message):
        read_bundle(path, "stats")


@pytest.mark.parametrize(
    ("offsets", "data", "message"),
    [
        ([0, 3, 2, 7], b"", "do not rise from 0 to its 7 bytes"),
        ([1, 1, 2, 7], b"", "do not rise"),
        ([0, 0, 2, 6], b"", "do not rise"),
        ([0, -(2**62), 2**62, 7], b"", "do not rise"),
        ([0, 1, 2, 7], b"", "is not UTF-8: unexpected end"),
        ([0, 0, 2, 7], b"\xff" * 7, "not UTF-8: invalid start"),
    ],
)
def test_hostile_texts(path, offsets, data, message):
    written(path, t=TEXTS)
    raw = np.array(offsets, "<i8").tobytes() + (data or path.read_bytes()[-7:])

    def digests(entries, meta):
        for name, span in {"idx:arr:t": slice(0, 32), "arr:t": slice(32, 39)}.items():
            meta["digests"][name] = xxhash.xxh3_128(raw[span]).hexdigest()

    edited(path, digests, data=raw)
    with pytest.raises(CorruptBundle, match=f"the text 't' .*{message}"):
        read_bundle(path, "stats")


BOMBS = {
    "nested": b'"a":' + b"[" * 300_000 + b"]" * 300_000,
    "lists": b'"a":[' + b"[]," * 500_000 + b"[]]",
    "twice": b'"a":1,"a":2',
    "nan": b'"a":NaN',
    "digits": b'"a":' + b"9" * 100_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_hostile_metadata(path, bomb):
    text = b'{"bundle":"stats","version":1,"digests":{},"texts":{},"about":{' + bomb + b"}}"
    entries = {"__metadata__": {"digest": "0" * 32, "actlens": text.decode()}}
    put(path, entries, b"")
    with pytest.raises(CorruptBundle, match="it is no bundle: "):
        read_bundle(path, "stats")


def test_a_huge_header_takes_no_memory(path):
    """14 MB of brackets, and a file of a TiB that holds nothing: refused within 200 MiB."""
    brackets = "[" * 7_000_000 + "]" * 7_000_000
    text = '{"bundle":"stats","version":1,"digests":{},"about":{"a":' + brackets + "}}"
    put(path, {"__metadata__": {"digest": "0" * 32, "actlens": text}}, b"")
    hole = path.with_name("hole")
    with hole.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 39) + b'{"__metadata__":{"digest":"')
        file.truncate(1 << 40)
    code = (
        "import sys, resource\n"
        "from actlens.format.bundle import read_bundle\n"
        "from actlens.errors import CorruptBundle\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        read_bundle(path, 'stats')\n"
        "        raise SystemExit('believed')\n"
        "    except CorruptBundle as error:\n"
        "        print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, hole], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "far more entries" in done[0]
    assert "its header claims 549755813888 bytes, and 16777216 are possible" in done[1]
    assert int(done[2]) < 200 << 10


def test_a_file_larger_than_memory(path):
    """A hole of 8 TiB costs nothing to make."""
    written(path, x=np.arange(1))
    edited(path, entry("arr:x", shape=[1 << 40], data_offsets=[0, 1 << 43]), data=b"")
    os.truncate(path, path.stat().st_size + (1 << 43))
    for read in (lambda: read_bundle(path, "stats"), lambda: check_bundle(path)):
        with pytest.raises(
            ReadFailed, match=r"it has 8,796,\d{3},\d{3},\d{3} bytes, more than the memory of"
        ):
            read()


def test_a_check_takes_little_memory(path):
    written(path, x=np.arange(1 << 24))  # 128 MiB
    code = (
        "import sys, resource\n"
        "from actlens.format.bundle import check_bundle\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "check_bundle(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 << 10
