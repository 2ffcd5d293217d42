"""One shard: every dtype and layout comes back to the bit, also through the safetensors library."""

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

import actlens
from actlens.errors import CorruptRecording, RowsError, UnsupportedFormat
from actlens.format.digests import BLOCK
from actlens.format.dtypes import DTYPES
from actlens.format.reader import Shard

LAYOUTS = {
    "c": lambda a: a.copy(),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "negative": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": lambda a: _read_only(a.copy()),
    "unaligned": lambda a: _unaligned(a),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")) if a.dtype.kind in "iufc" else a,
    "no rows": lambda a: a[:0],
    "no features": lambda a: a[:, :0],
}


def _read_only(a):
    a.flags.writeable = False
    return a


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    raw[1:] = a.reshape(-1).view(np.uint8)
    return raw[1:].view(a.dtype).reshape(a.shape)


def _values(dtype, rng):
    """All kinds of bits: NaN payloads, infinities, -0.0, subnormals."""
    raw = rng.integers(0, 256, size=(6, 4 * dtype.itemsize), dtype=np.uint8)
    if dtype.kind == "b":
        raw &= 1
    return raw.view(dtype)


def _write(path, arrays, **kwargs):
    with actlens.Recorder(path, durability="rename", **kwargs) as rec:
        rec.write(arrays)
    (shard,) = (path / "shards").glob("*/*.safetensors")
    return shard


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in {"no rows"}])
@pytest.mark.parametrize("code", DTYPES)
def test_round_trip_to_the_bit(tmp_path, rng, code, layout):
    given_array = LAYOUTS[layout](_values(DTYPES[code], rng))
    expected = np.ascontiguousarray(given_array).astype(DTYPES[code])  # a native copy, by numpy
    path = tmp_path / "r"
    shard = _write(path, {"a": given_array})
    back = actlens.open(path)["a"][:]
    assert back.dtype == DTYPES[code]
    assert back.shape == given_array.shape
    if given_array.dtype.byteorder == ">":
        expected = given_array.astype(given_array.dtype.newbyteorder("="))
    assert back.tobytes() == expected.tobytes()
    with safe_open(shard, "numpy") as reader:
        if not code.startswith("F8"):  # safetensors 0.8.0 has no numpy names for the five F8 types
            assert reader.get_tensor("act:a").tobytes() == expected.tobytes()


@pytest.mark.parametrize("code", [code for code in DTYPES if code.startswith("F8")])
def test_float8_opens_in_the_safetensors_library_too(tmp_path, rng, code):
    torch_safetensors = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    values = _values(DTYPES[code], rng)
    shard = _write(tmp_path / "r", {"a": values})
    tensor = torch_safetensors.load_file(shard)["act:a"]
    assert tensor.view(torch.uint8).numpy().tobytes() == values.tobytes()


def test_dtypes_without_a_place_are_refused(tmp_path):
    with actlens.Recorder(tmp_path / "r") as rec:
        rec.write({"a": np.zeros((2, 3), np.float32)})
        for dtype in ("complex128", ml_dtypes.int4):
            with pytest.raises(
                RowsError, match=r"layer 'a' has dtype \w+, which cannot be stored. Stored are: bool"
            ):
                rec.write({"a": np.zeros((2, 3), dtype)})


@given(
    arrays=st.lists(
        st.tuples(
            st.sampled_from(sorted(DTYPES)),
            hnp.array_shapes(min_dims=0, max_dims=3, max_side=5),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=4,
    ),
    shard_bytes=st.integers(1, 3000),
    batch=st.integers(1, 17),
)
def test_any_layers_any_batches_any_shards(tmp_path_factory, arrays, shard_bytes, batch):
    path = tmp_path_factory.mktemp("run") / "r"
    truth = {}
    for i, (code, shape, seed) in enumerate(arrays):
        raw = np.random.default_rng(seed).integers(0, 2, (17, *shape, DTYPES[code].itemsize), np.uint8)
        truth[f"layer/{i}"] = raw.view(DTYPES[code]).reshape(17, *shape)
    with actlens.Recorder(path, shard_bytes=shard_bytes, durability="rename") as rec:
        for at in range(0, 17, batch):
            rec.write({key: value[at : at + batch] for key, value in truth.items()})
    run = actlens.open(path, verify="all")
    assert list(run) == list(truth)
    for key, value in truth.items():
        assert run[key][:].tobytes() == value.tobytes()
        assert b"".join(c.tobytes() for c in run[key].chunks(5)) == value.tobytes()
        assert run[key][[3, 3, 0, 16]].tobytes() == value[[3, 3, 0, 16]].tobytes()
    for shard in (path / "shards").glob("*/*"):
        with safe_open(shard, "numpy") as reader:
            assert set(reader.keys()) == {*(f"act:{key}" for key in truth), "col:id", "sum:blocks"}


def test_layout_is_as_the_format_says(tmp_path, rng):
    shard = _write(
        tmp_path / "r", {"wide": rng.normal(size=(3, 2)), "narrow": rng.integers(0, 9, (3, 5)).astype("i1")}
    )
    raw = shard.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert (8 + length) % 4096 == 0
    assert raw[8:].startswith(b'{"__metadata__":{"digest":"')
    entries = json.loads(raw[8 : 8 + length])
    metadata = entries.pop("__metadata__")
    assert list(entries)[-1] == "sum:blocks"
    itemsizes = [DTYPES[entry["dtype"]].itemsize for name, entry in entries.items() if name != "sum:blocks"]
    assert itemsizes == sorted(itemsizes, reverse=True)
    meta = json.loads(metadata["actlens"])
    assert meta["version"] == [1, 1]
    data = raw[8 + length :]
    for name, entry in entries.items():  # every digest, recomputed
        begin, end = entry["data_offsets"]
        assert xxhash.xxh3_128(data[begin:end]).hexdigest() == meta["digests"][name]
    zeroed = raw[:35] + b"0" * 32 + raw[67 : 8 + length]
    assert xxhash.xxh3_128(zeroed).hexdigest() == metadata["digest"]
    payload = entries["sum:blocks"]["data_offsets"][0]
    sums = np.frombuffer(data[payload:], "<u8")
    assert sums.tolist() == [xxhash.xxh3_64_intdigest(data[:payload])]


def test_blocks_span_tensors_and_shards_are_readable_in_parts(tmp_path, rng):
    big = rng.normal(size=(3000, 130)).astype("f4")  # 1.5 MB: blocks end inside tensors
    shard = _write(tmp_path / "r", {"a": big, "b": big[:, ::-1]})
    reader = Shard(shard, verify="all")
    payload = reader.tensors["sum:blocks"].begin
    assert len(reader.read("sum:blocks")) == -(-payload // BLOCK) == 3
    for first, last in [(0, 3000), (0, 1), (2999, 3000), (1000, 2900), (5, 5)]:
        out = np.empty((last - first, 130), "f4")
        reader.read_into("act:a", first, out)
        assert (out == big[first:last]).all()
        reader.read_into("act:b", first, out, scan=True)
        assert (out == big[first:last, ::-1]).all()


def _flip(path, offset, bit=0):
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1 << bit
    path.write_bytes(raw)


def test_every_flipped_bit_is_found_when_read_whole(tmp_path, rng):
    path = tmp_path / "r"
    shard = _write(path, {"a": rng.normal(size=(40, 9)).astype("f4")}, shard_bytes=1 << 20)
    clean = shard.read_bytes()
    # past the last header byte that holds JSON, padding is covered as well
    for offset in rng.integers(0, len(clean), 300).tolist():
        _flip(shard, offset, int(rng.integers(8)))
        with pytest.raises(CorruptRecording, match="is damaged"):
            _read_all(actlens.open(path, verify="all"), shard)
        shard.write_bytes(clean)
    assert actlens.open(path)["a"][:].shape == (40, 9)


def _read_all(run, shard):
    return run["a"][:], run.columns["id"], Shard(shard)._sums


@pytest.mark.parametrize("mmap", [False, True])
def test_a_pass_over_neighbouring_rows_checks_the_blocks_at_its_edges(tmp_path, rng, mmap):
    path = tmp_path / "r"
    shard = _write(path, {"a": rng.normal(size=(300, 1800)).astype("f4")})
    start = Shard(shard).header_bytes
    rows = slice(20, 260)
    at = (
        start + Shard(shard).tensors["act:a"].begin + 100 * 7200
    )  # in the first block, which is not read whole
    clean = shard.read_bytes()
    _flip(shard, at)
    part = actlens.open(path, mmap=mmap).take(rows)["a"]
    with pytest.raises(CorruptRecording, match="block 0 of 1 MiB"):
        list(part.chunks())
    assert part[:].shape == actlens.open(path, mmap=mmap, verify="none")["a"][rows].shape  # some rows: unread
    shard.write_bytes(clean)
    assert sum(map(len, part.chunks())) == 240


def test_a_small_read_checks_no_more_than_it_reads_unless_asked(tmp_path, rng):
    path = tmp_path / "r"
    truth = rng.normal(size=(3000, 130)).astype("f4")
    shard = _write(path, {"a": truth})
    _flip(shard, 4096 + 2000 * 520)
    assert (actlens.open(path)["a"][10:12] == truth[10:12]).all()
    with pytest.raises(CorruptRecording, match="the data of .act:a. does not match its digest"):
        actlens.open(path)["a"][:]
    with pytest.raises(CorruptRecording, match="block 0 of 1 MiB"):
        actlens.open(path, verify="all")["a"][1940:1942]
    with pytest.raises(CorruptRecording, match="block 0 of 1 MiB"):
        list(actlens.open(path)["a"].chunks(100))
    assert actlens.open(path, verify="none")["a"][:].shape == truth.shape


@pytest.mark.parametrize("keep", [0, 5, 100, 4096, 4097, -1])
def test_a_shard_cut_short_is_an_error(tmp_path, keep):
    path = tmp_path / "r"
    shard = _write(path, {"a": np.ones((40, 9), "f4")})
    raw = shard.read_bytes()
    shard.write_bytes(raw[:keep])
    with pytest.raises(CorruptRecording, match=r"is damaged: (it is|its header|its tensors)"):
        actlens.open(path)["a"][:]


def test_a_file_cut_short_under_an_open_reader_is_an_error(tmp_path):
    path = tmp_path / "r"
    shard = _write(path, {"a": np.ones((40, 9), "f4")})
    run = actlens.open(path)
    assert run["a"][0].sum() == 9
    shard.write_bytes(shard.read_bytes()[:4100])
    with pytest.raises(CorruptRecording, match="it ends before its data; it was cut short"):
        run["a"][:]


def _with_header(shard, change):
    """Change the header, and give it a right digest again: what a hostile file would do."""
    raw = shard.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    text = raw[8 : 8 + length].rstrip(b" ")
    text = change(text).ljust(length)
    head = bytearray(struct.pack("<Q", len(text)) + text)
    head[35:67] = b"0" * 32
    head[35:67] = xxhash.xxh3_128(bytes(head)).hexdigest().encode()
    shard.write_bytes(bytes(head) + raw[8 + length :])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t: t[:-1] + b',"act:a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
            "a key stands twice",
        ),
        (lambda t: t.replace(b'"shape":[40,9]', b'"shape":[40,NaN]'), "NaN is not JSON"),
        (lambda t: t.replace(b'"shape":[40,9]', b'"shape":[-40,9]'), "out of range"),
        (lambda t: t.replace(b'"shape":[40,9]', b'"shape":[40,true]'), "out of range"),
        (lambda t: t.replace(b'"shape":[40,9]', b'"shape":[41,9]'), "do not fit its shape"),
        (
            lambda t: t.replace(b'"shape":[40,9]', b'"shape":[0,281474976710656,281474976710656]'),
            "impossible",
        ),
        (lambda t: t.replace(b'"dtype":"F32"', b'"dtype":"F4"'), "unknown dtype 'F4'"),
        (lambda t: t.replace(b'"act:a":{', b'"act:\\u0000":{'), "holds NUL"),
        (lambda t: t.replace(b'{"dtype":"F32"', b"[" * 3000 + b'{"dtype":"F32"'), "breaks the format|claims"),
        (lambda t: t.replace(b'\\"rows\\":40', b'\\"rows\\":4.5'), "metadata breaks the format"),
        (lambda t: t.replace(b'\\"rows\\":40', b'\\"rows\\":41'), "is not as its schema says"),
        (lambda t: t.replace(b'"act:a"', b'"act:b"'), "digests do not name its tensors"),
    ],
)
def test_a_header_that_breaks_the_format(tmp_path, change, text):
    path = tmp_path / "r"
    shard = _write(path, {"a": np.ones((40, 9), "f4")})
    _with_header(shard, change)
    with pytest.raises(CorruptRecording, match=text):
        Shard(shard)


@pytest.mark.parametrize("length", [0, 16, (16 << 20) + 1, 1 << 62])
def test_a_header_length_that_cannot_be(tmp_path, length):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" * 500)
    with pytest.raises(CorruptRecording, match=r"its header claims|no actlens header|too short|is damaged"):
        Shard(path)


def test_a_safetensors_file_of_another_program_is_not_a_shard(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CorruptRecording, match="it is not a shard of a recording"):
        Shard(tmp_path / "model.safetensors")


def test_a_later_format_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "r"
    shard = _write(path, {"a": np.ones((4, 9), "f4")})
    clean = shard.read_bytes()
    _with_header(shard, lambda t: t.replace(b'\\"version\\":[1,1]', b'\\"version\\":[2,0]'))
    with pytest.raises(UnsupportedFormat, match=r"has format version 2.0; this actlens reads 1.x. Upgrade"):
        Shard(shard)
    shard.write_bytes(clean)
    _with_header(shard, lambda t: t.replace(b'\\"requires\\":[]', b'\\"requires\\":[\\"zstd\\"]'))
    with pytest.raises(UnsupportedFormat, match="requires zstd, which this actlens does not know"):
        Shard(shard)
    shard.write_bytes(clean)
    _with_header(shard, lambda t: t.replace(b'\\"version\\":[1,1]', b'\\"version\\":[1,7],\\"new\\":1'))
    assert Shard(shard).meta.version == (1, 7)  # a later minor version, with a key we do not know


def test_a_shard_behind_a_link_is_not_followed(tmp_path):
    shard = _write(tmp_path / "r", {"a": np.ones((4, 9), "f4")})
    moved = tmp_path / "elsewhere"
    shard.rename(moved)
    shard.symlink_to(moved)
    with pytest.raises(CorruptRecording, match="it is a symbolic link, not a file"):
        Shard(shard)
