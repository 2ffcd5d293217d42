"""open(), Recording, LayerArray: against numpy."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.errors import (
    ArgumentError,
    CorruptRecording,
    NotFound,
    ReadFailed,
    RecordingNotFound,
    UnsupportedFormat,
)
from actlens.format.reader import Shard
from actlens.recording import align


def test_a_recording_is_a_mapping_of_lazy_arrays(two_steps):
    path, truth, labels = two_steps
    run = actlens.open(path)
    assert list(run) == ["conv", "fc"]
    assert len(run) == 2
    assert "fc" in run
    assert "fd" not in run
    layer = run["conv"]
    assert (layer.shape, layer.dtype, layer.ndim, len(layer)) == ((200, 3, 4, 2), np.float32, 4, 200)
    assert layer.nbytes == truth["conv"].nbytes
    assert layer.axes == ("sample", "axis1", "axis2", "axis3")
    assert repr(layer) == "<LayerArray conv: 200×3×4×2 float32 (sample, axis1, axis2, axis3)>"
    assert (np.asarray(layer) == truth["conv"]).all()
    assert np.asarray(layer, dtype="f8").dtype == np.float64
    assert run.layers["fc"].dtype == "F64"
    assert run.columns["label"].tolist() == labels.tolist()
    assert run.columns["score"].dtype == np.float32
    assert run.info["shards"] > 3
    assert run.info["sealed"]
    assert repr(run) == f"<Recording {path}: 200 rows × 2 layers (conv, fc)>"
    assert repr(run.columns) == "<columns id, label, score, step>"
    with pytest.raises(ValueError, match="makes a copy"):
        np.asarray(layer, copy=False)


INDEX = st.one_of(
    st.integers(-200, 199),
    st.slices(200),
    st.lists(st.integers(-200, 199), max_size=30).map(lambda rows: np.array(rows, np.int64)),
    st.lists(st.booleans(), min_size=200, max_size=200).map(np.array),
    st.just(Ellipsis),
    st.just(()),
    st.just(None),
    st.just(np.array([[1, 2], [3, 0]])),
)


@given(
    first=INDEX,
    rest=st.sampled_from([(), (0,), (slice(None), 1), (slice(1, None), slice(None), 0), (..., 1)]),
)
@pytest.mark.parametrize("mmap", [False, True])
def test_indexing_is_numpys(two_steps_once, mmap, first, rest):
    path, truth = two_steps_once
    run = actlens.open(path, mmap=mmap)
    index = (first, *rest) if not isinstance(first, tuple) else first
    if any(part is Ellipsis for part in index[1:]) and index[0] is Ellipsis:
        index = index[1:]
    expected = truth["conv"][index]
    got = run["conv"][index]
    assert got.shape == expected.shape
    assert (got == expected).all()


@pytest.fixture(scope="module")
def two_steps_once(tmp_path_factory):
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("once") / "run"
    truth = {"conv": rng.normal(size=(200, 3, 4, 2)).astype("f4")}
    with actlens.Recorder(path, shard_bytes=3000, durability="rename") as rec:
        rec.write(truth)
    return path, truth


@pytest.mark.parametrize(
    "index",
    [
        ([0, 1], [0, 1]),
        (0, slice(None), [0, 1]),
        (np.arange(200) < 2, [0, 1]),
        (np.array([5, 5, 199]), slice(None), np.array([3, 0, 1]), 0),
        (np.array([[1, 2], [3, 0]]), [[0, 1], [2, 0]]),
        ([3, 0], None, 1),
        (np.int64(7), ..., 1),
    ],
)
def test_arrays_beside_arrays_are_joined_as_numpy_joins_them(two_steps_once, index):
    path, truth = two_steps_once
    got, expected = actlens.open(path)["conv"][index], truth["conv"][index]
    assert got.shape == expected.shape
    assert (got == expected).all()


def test_a_mask_of_the_whole(two_steps_once):
    path, truth = two_steps_once
    mask = truth["conv"] > 1
    assert (actlens.open(path)["conv"][mask] == truth["conv"][mask]).all()


def test_averages_keep_what_float32_cannot(tmp_path):
    whole = np.full((2, 2), 2**24 + 1)
    with actlens.Recorder(tmp_path / "r") as rec:
        rec.write({"whole": whole, "complex": np.ones((2, 2), "c8") * 1j})
    run = actlens.open(tmp_path / "r")
    assert run["whole"].mean("axis1")[:].tolist() == [2**24 + 1] * 2
    for key in run:
        assert run[key].mean("axis1").dtype == run[key].mean("axis1")[:].dtype
    with pytest.raises(ArgumentError, match="rows= is -1; it takes a whole number of at least 1"):
        next(run["whole"].chunks(-1))


def test_out_of_range_is_an_index_error_as_in_numpy(two_steps):
    path, _, _ = two_steps
    with pytest.raises(IndexError, match="index 200 is out of bounds"):
        actlens.open(path)["fc"][200]


def test_sel_and_take(two_steps):
    path, truth, labels = two_steps
    run = actlens.open(path)
    late = run.sel(step=1)
    assert late.rows == 100
    assert (late["fc"][:] == truth["fc"][100:]).all()
    assert late["fc"].ids.tolist() == list(range(100))
    some = late.sel(label=["class 2", "class 5"])
    rows = 100 + np.flatnonzero(np.isin(labels[100:], ["class 2", "class 5"]))
    assert (some["conv"][:] == truth["conv"][rows]).all()
    assert some.columns["label"].tolist() == labels[rows].tolist()
    assert (some.take([3, 0])["fc"][:] == truth["fc"][rows[[3, 0]]]).all()
    assert (run.take(slice(5, 9))["fc"][1:3] == truth["fc"][6:8]).all()
    assert (np.concatenate(list(some["conv"].chunks(7))) == truth["conv"][rows]).all()
    with pytest.raises(NotFound, match="no row has step=3. Values of 'step': 0, 1"):
        run.sel(step=3)
    with pytest.raises(NotFound, match="no row has step=9"):
        run.sel(step=[0, 9])
    with pytest.raises(
        NotFound, match="no column 'stepp' in this recording. Its columns: id, label, score, step"
    ):
        run.sel(stepp=0)
    with pytest.raises(NotFound, match="no row has id=0, label=.class 5. together: sel.. would be empty"):
        run.sel(id=0, label="class 5")
    with pytest.raises(NotFound, match="no layer 'fx' in this recording. Its layers: conv, fc"):
        run["fx"]
    with pytest.raises(KeyError):
        run.columns["nope"]
    for rows in (0, None, [[0, 1]]):
        with pytest.raises(
            ArgumentError, match="take.. got .*; it takes a slice, or one list of row numbers"
        ):
            run.take(rows)
    for path in (None, 3, b"run", "nul\0"):
        with pytest.raises(ArgumentError, match="path is .*; it takes the name of a folder"):
            actlens.open(path)


def test_sel_compares_exactly(tmp_path):
    with actlens.Recorder(tmp_path / "r") as rec:
        rec.write(
            {"a": np.zeros((3, 1))},
            big=[2**53, 2**53 + 1, 5],
            half=np.array([0.1, 0.2, 0.1], "f4"),
            yes=[True, False, True],
            self=["a", "b", "5"],
        )
    run = actlens.open(tmp_path / "r")
    assert run.sel(big=float(2**53)).ids.tolist() == [0]
    assert run.sel(half=0.1).ids.tolist() == [0, 2]  # what 0.1 was stored as
    assert run.sel(yes=True).ids.tolist() == [0, 2]
    assert run.sel(big=np.array(5)).ids.tolist() == [2]
    assert run.sel(self="5").ids.tolist() == [2]
    for wanted in (None, slice(3, 4), 10**30, 2.5, "5", [3, [4]]):
        with pytest.raises(NotFound, match="no row has big="):
            run.sel(big=wanted)
    with pytest.raises(NotFound, match=r"no row has big=\[\] together"):
        run.sel(big=[])


def test_flatten_and_mean_are_lazy_and_numpys(two_steps):
    path, truth, _ = two_steps
    layer = actlens.open(path)["conv"]
    flat = layer.flatten()
    assert (flat.shape, flat.axes) == ((200, 24), ("sample", "axis1*axis2*axis3"))
    assert (flat[5:9] == truth["conv"][5:9].reshape(4, 24)).all()
    pooled = layer.mean("axis2", "axis3")
    assert (pooled.shape, pooled.axes, pooled.dtype) == ((200, 3), ("sample", "axis1"), np.float32)
    np.testing.assert_allclose(pooled[:], truth["conv"].mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(pooled.chunks(33))), pooled[:])
    assert layer.mean("axis1").flatten().shape == (200, 8)
    with pytest.raises(
        NotFound, match="layer 'conv' has no axis 'height' to average over. Its axes: axis1, axis2"
    ):
        layer.mean("height")


def test_halves_are_averaged_in_float32(tmp_path):
    values = np.full((2, 3000), 100, np.float16)  # a float16 sum would overflow
    with actlens.Recorder(tmp_path / "r") as rec:
        rec.write({"a": values})
    mean = actlens.open(tmp_path / "r")["a"].mean("axis1")
    assert mean[:].tolist() == [100, 100]
    assert (mean.dtype, mean[:].dtype) == (np.float32, np.float32)


def test_align_joins_by_id(tmp_path, two_steps):
    path, truth, _ = two_steps
    order = np.random.default_rng(5).permutation(np.arange(50, 150))
    with actlens.Recorder(tmp_path / "other") as rec:
        rec.write({"fc": order[:, None].astype("f8")}, id=order)
    a, b = align(actlens.open(path).sel(step=1), actlens.open(tmp_path / "other"))
    assert a.ids.tolist() == b.ids.tolist() == list(range(50, 100))
    assert (a["fc"][:] == truth["fc"][150:200]).all()
    assert b["fc"][:, 0].tolist() == list(range(50, 100))
    with pytest.raises(NotFound, match="stands more than once in .* Select one step first"):
        align(actlens.open(path), b)
    with pytest.raises(NotFound, match="have no id in common"):
        align(a.take(slice(0, 5)), b.take(slice(10, 20)))


def test_without_its_manifest_a_recording_opens_all_the_same(two_steps):
    path, truth, _ = two_steps
    (path / "manifest.json").unlink()
    run = actlens.open(path)
    assert (run["fc"][:] == truth["fc"]).all()
    assert not run.info["sealed"]


def test_shards_that_came_after_the_manifest_are_read(two_steps):
    path, truth, _ = two_steps
    with pytest.raises(KeyboardInterrupt):
        with actlens.Recorder(path, resume=True, durability="rename") as rec:
            rec.write(
                {key: value[:4] for key, value in truth.items()},
                id=[0, 1, 2, 3],
                label="new",
                score=np.float32(0),
                step=2,
            )
            rec.flush()
            raise KeyboardInterrupt
    run = actlens.open(path)
    assert run.rows == 204
    assert not run.info["sealed"]
    assert (run.sel(step=2)["fc"][:] == truth["fc"][:4]).all()


def _edit(path, change, *, digest=True):
    """Change the manifest, and give it a right digest again: what a hostile hand would do."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    text = json.dumps(manifest | {"digest": "0" * 32}).replace('{"digest"', '{\n "digest"')
    if digest:
        text = text.replace("0" * 32, xxhash.xxh3_128(text.encode()).hexdigest(), 1)
    (path / "manifest.json").write_text(text)


def _move_rows(manifest):
    first, second, *_ = manifest["shards"]
    first["rows"] += second["rows"]
    second["rows"] = 0


def _shards(path):
    return sorted((path / "shards").glob("*/*"))


DAMAGE = [
    (
        lambda p: _shards(p)[1].unlink(),
        CorruptRecording,
        "lacks shards that were committed: shards/.*00000001",
    ),
    (lambda p: (p / "manifest.json").write_text("{"), CorruptRecording, "manifest.json cannot be read"),
    (lambda p: (p / "manifest.json").write_text("[]"), CorruptRecording, "manifest.json cannot be read"),
    (
        lambda p: (p / "manifest.json").write_bytes(b"\xff\xfe"),
        CorruptRecording,
        "manifest.json cannot be read",
    ),
    (
        lambda p: _edit(p, lambda m: m.update(rows="many")),
        CorruptRecording,
        "cannot be read: .*Expected `int`",
    ),
    (
        lambda p: _edit(p, lambda m: m.update(version=[2, 0])),
        UnsupportedFormat,
        "has format version 2.0; this",
    ),
    (
        lambda p: _edit(p, lambda m: m.update(requires=["x"])),
        UnsupportedFormat,
        "requires x, which this actlens",
    ),
    (lambda p: _edit(p, lambda m: m.update(format="pytest")), RecordingNotFound, "of the format 'pytest'"),
    (
        lambda p: _edit(p, lambda m: m["shards"][0].update(digest="0" * 32)),
        CorruptRecording,
        "not the shard that",
    ),
    (lambda p: _edit(p, _move_rows), CorruptRecording, "not the shard that"),
    (
        lambda p: _edit(p, lambda m: m["shards"][0].update(path="../../etc/passwd")),
        CorruptRecording,
        "lacks shards that were committed: ../../etc/passwd",
    ),
    (lambda p: shutil.copy(_shards(p)[0], _shards(p)[2]), CorruptRecording, "not the shard that|was renamed"),
    (
        lambda p: (p / "manifest.json").unlink() or shutil.copy(_shards(p)[0], _shards(p)[2]),
        CorruptRecording,
        "it was renamed: it says it is .*00000000.safetensors",
    ),
    (
        lambda p: (p / "manifest.json").unlink() or _shards(p)[1].unlink(),
        CorruptRecording,
        "lacks shards that were committed: .*00000001",
    ),
]


@pytest.mark.parametrize(("damage", "error", "text"), DAMAGE)
def test_damage_is_an_error_that_says_what(two_steps, damage, error, text):
    path, _, _ = two_steps
    damage(path)
    with pytest.raises(error, match=text):
        run = actlens.open(path)
        run["fc"][:]


def test_shards_of_two_recordings_do_not_mix(tmp_path, two_steps):
    path, _, _ = two_steps
    with actlens.Recorder(tmp_path / "other") as rec:
        rec.write({"fc": np.zeros((2, 5))})
    (writer,) = (tmp_path / "other/shards").iterdir()
    shutil.copytree(writer, path / "shards" / writer.name)
    with pytest.raises(CorruptRecording, match="it belongs to another recording"):
        actlens.open(path)


def test_what_is_not_a_recording(tmp_path):
    with pytest.raises(RecordingNotFound, match="no recording at .*/nothing: it does not exist"):
        actlens.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingNotFound, match="it is a file. A recording is a folder with manifest.json"):
        actlens.open(tmp_path / "file")
    with pytest.raises(RecordingNotFound, match="holds neither manifest.json nor shards"):
        actlens.open(tmp_path)
    with actlens.Recorder(tmp_path / "r") as rec:
        with pytest.raises(RecordingNotFound, match="has no committed rows yet. Its writer is still filling"):
            actlens.open(tmp_path / "r")
        rec.write({"a": np.zeros((1, 1))})
    with pytest.raises(ArgumentError, match="verify= is 'yes'; it takes one of: 'stream', 'all', 'none'"):
        actlens.open(tmp_path / "r", verify="yes")


def test_foreign_files_in_the_folder_are_ignored(two_steps):
    path, truth, _ = two_steps
    (path / "notes.txt").write_text("mine")
    (path / "shards" / "notes").mkdir()
    (_shards(path)[0].parent / ".tmp-123").write_bytes(b"half a shard")
    (_shards(path)[0].parent / "copy of 00000000.safetensors").write_bytes(b"x")
    assert (actlens.open(path)["fc"][:] == truth["fc"]).all()


def test_a_read_that_the_system_refuses_is_not_called_damage(two_steps, monkeypatch):
    path, _, _ = two_steps
    run = actlens.open(path)

    def failing(*_args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.preadv", failing)
    with pytest.raises(
        ReadFailed, match="cannot read .*safetensors: Input/output error .OSError.. Mend the cause"
    ):
        run["fc"][:]


def test_every_flipped_bit_of_the_manifest_is_found(two_steps, rng):
    path, _, _ = two_steps
    manifest = path / "manifest.json"
    clean = manifest.read_bytes()
    for offset in rng.integers(0, len(clean), 300).tolist():
        raw = bytearray(clean)
        raw[offset] ^= 1 << int(rng.integers(8))
        manifest.write_bytes(raw)
        with pytest.raises(CorruptRecording, match="manifest.json cannot be read"):
            actlens.open(path)


def test_a_manifest_that_lists_shards_twice_or_in_another_order_decides_nothing(two_steps):
    path, truth, _ = two_steps
    _edit(path, lambda m: m["shards"].reverse())
    assert (actlens.open(path)["fc"][:] == truth["fc"]).all()
    _edit(
        path,
        lambda m: m.update(shards=m["shards"] + m["shards"][:1], rows=m["rows"] + m["shards"][0]["rows"]),
    )
    run = actlens.open(path)
    assert (run["fc"][:] == truth["fc"]).all()
    assert not run.info["sealed"]


def test_a_file_named_like_a_writer_is_no_writer(two_steps):
    path, truth, _ = two_steps
    (path / "shards" / "00001-x").write_text("")
    assert (actlens.open(path)["fc"][:] == truth["fc"]).all()
    (path / "manifest.json").unlink()
    assert (actlens.open(path)["fc"][:] == truth["fc"]).all()


@pytest.mark.parametrize("verify", ["stream", "all"])
def test_a_pass_over_scattered_rows_reads_each_block_once(tmp_path, monkeypatch, verify):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6000, 256)).astype("f4")  # 6 blocks
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write({"l": x}, label=np.arange(6000) % 10)
    checked = []
    check = Shard._check_block
    monkeypatch.setattr(
        Shard,
        "_check_block",
        lambda self, block, *rest: (checked.append(block), check(self, block, *rest))[1],
    )
    layer = actlens.open(tmp_path / "run", verify=verify).sel(label=3)["l"]
    assert np.array_equal(np.concatenate(list(layer.chunks())), x[3::10])
    assert sorted(checked) == sorted(set(checked))
    order = rng.permutation(600)
    assert np.array_equal(np.concatenate(list(layer.take(order).chunks())), x[3::10][order])
