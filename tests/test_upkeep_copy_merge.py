"""upkeep.copy and upkeep.merge: whole or not at all, and every number where it belongs."""

from __future__ import annotations

import os
import shutil

import ml_dtypes
import numpy as np
import pytest
import upkeep_cases as cases
from safetensors.numpy import load_file
from upkeep_cases import contents, flip, layout, name, shards

import actlens
from actlens import upkeep
from actlens.activations import Activations
from actlens.errors import (
    AddressError,
    ArgumentError,
    CorruptRecording,
    InputError,
    ReadFailed,
    RecordingExists,
    RecordingNotFound,
    UnsupportedFormat,
    UpkeepError,
    WriteFailed,
)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("once") / "run"
    cases.made(path)
    return path


@pytest.fixture
def run(tmp_path, made_once):
    shutil.copytree(made_once, tmp_path / "run")
    return tmp_path / "run"


def plain(path, ids, *, step=None, dtype="f4", **columns):
    """A small recording; give what was written."""
    rng = np.random.default_rng(abs(hash(str(path))) % 1000)
    values = rng.normal(size=(len(ids) if ids is not None else 6, 3)).astype(dtype)
    if step is not None:
        columns["step"] = step
    with actlens.Recorder(path, durability="rename") as rec:
        rec.write({"a": values}, id=ids, **columns)
    return values


def rest(tmp_path, *known):
    """Name what is in the folder besides."""
    return sorted(file.name for file in tmp_path.iterdir() if file.name not in known)


# copy


@pytest.mark.parametrize("target", ["copy", "a/b/copy", "empty"])
def test_a_copy_has_the_same_bytes(run, tmp_path, target):
    (tmp_path / "empty").mkdir()
    before = contents(run)
    copied = upkeep.copy(run, tmp_path / target)
    assert contents(tmp_path / target) == contents(run) == before
    assert copied.path == tmp_path / target
    assert (copied.rows, copied.info["sealed"]) == (80, True)
    assert rest((tmp_path / target).parent, "run", "empty", "copy") == []


def test_only_what_is_of_the_recording_is_copied(run, tmp_path):
    before = contents(run)
    writer = shards(run)[0].parent
    (run / "notes.txt").touch()
    (run / ".tmp-a").touch()
    (writer / ".tmp-b").touch()
    (run / "set-aside/w").mkdir(parents=True)
    (run / "set-aside/w/00000000.safetensors").touch()
    (run / "shards/00001-dead").mkdir()
    upkeep.copy(run, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before
    assert not (tmp_path / "copy/shards/00001-dead").exists()


def test_without_a_manifest_and_of_several_writers(tmp_path):
    cases.two_ranks(tmp_path / "run")
    (tmp_path / "run/manifest.json").unlink()
    copied = upkeep.copy(tmp_path / "run", tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(tmp_path / "run")
    assert (copied.rows, copied.info["sealed"]) == (88, False)


def test_of_a_recording_that_is_being_written(tmp_path):
    truth = {k: [] for k in ("h", "fc", "id", "step", "label")}
    with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
        with pytest.raises(RecordingNotFound, match="has no committed rows yet"):
            upkeep.copy(tmp_path / "run", tmp_path / "copy")
        cases.write(rec, np.random.default_rng(0), ["a", "b"], 0, truth)
        rec.flush()
        assert upkeep.copy(tmp_path / "run", tmp_path / "copy").ids.tolist() == ["a", "b"]
    assert rest(tmp_path) == ["copy", "run"]


DAMAGE = {
    "header": lambda s: flip(s, 100),
    "layer": lambda s: flip(s, layout(s)[0]["act:h"][0]),
    "ids": lambda s: flip(s, layout(s)[0]["col:id"][0]),
    "sums": lambda s: flip(s, layout(s)[0]["sum:blocks"][0]),
    "short": lambda s: s.write_bytes(s.read_bytes()[:-1]),
    "long": lambda s: s.write_bytes(s.read_bytes() + b"1"),
    "deleted": lambda s: s.unlink(),
    "zeroed": lambda s: cases.zero(s, 0, s.stat().st_size),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_damaged_recording_is_neither_copied_nor_merged(run, tmp_path, number, damage):
    shard = shards(run)[number]
    DAMAGE[damage](shard)
    before = contents(run)
    for verb, act in (
        ("copied", lambda: upkeep.copy(run, tmp_path / "new/target")),
        ("merged", lambda: upkeep.merge([run], tmp_path / "new/target")),
    ):
        with pytest.raises(
            CorruptRecording, match=f"{run} was not {verb}, it is damaged: .*Nothing was left"
        ) as e:
            act()
        assert name(run, shard) in str(e.value)
    assert rest(tmp_path) == ["run"]
    assert contents(run) == before


def test_a_damaged_manifest_is_not_copied(run, tmp_path):
    flip(run / "manifest.json", 100)
    with pytest.raises(CorruptRecording, match="it is damaged: manifest.json: it does not match its digest"):
        upkeep.copy(run, tmp_path / "target")
    assert rest(tmp_path) == ["run"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "itself", "inside"])
def test_a_target_that_is_taken(run, tmp_path, kind):
    target = tmp_path / "target"
    error, text = RecordingExists, "is there already .a folder that is not empty.; nothing was touched"
    if kind == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    elif kind == "file":
        target.write_text("mine")
        text = "is there already .a file."
    elif kind == "link":
        target.symlink_to(tmp_path / "nowhere")
        text = "is there already .a symbolic link."
    elif kind == "itself":
        target = run
    else:
        target, error, text = run / "copy", InputError, "lies in the recording .*: choose a path outside"
    before = contents(tmp_path)
    for act in (lambda: upkeep.copy(run, target), lambda: upkeep.merge([run], target)):
        with pytest.raises(error, match=text):
            act()
    assert contents(tmp_path) == before


def test_a_target_that_comes_meanwhile(run, tmp_path, monkeypatch):
    from actlens.upkeep import target as room

    def slow(aside, target, verified=room._verified):
        verified(aside, target)
        target.mkdir()
        (target / "mine").touch()

    monkeypatch.setattr(room, "_verified", slow)
    with pytest.raises(RecordingExists, match="it came while this was at work"):
        upkeep.copy(run, tmp_path / "target")
    assert contents(tmp_path / "target") == {"mine": b""}
    assert rest(tmp_path) == ["run", "target"]


@pytest.mark.parametrize("act", ["copy", "merge"])
@pytest.mark.parametrize("call", ["pwritev", "fsync", "rename", "mkdir"])
def test_a_disk_that_refuses(run, tmp_path, monkeypatch, act, call):
    before = contents(tmp_path)

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"os.{call}", full)
        with pytest.raises(
            WriteFailed, match="new/target could not be written: No space left.*Nothing was left"
        ):
            if act == "copy":
                upkeep.copy(run, tmp_path / "new/target")
            else:
                upkeep.merge([run], tmp_path / "new/target")
    assert rest(tmp_path) == ["run"]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("act", ["copy", "merge"])
def test_what_was_written_is_read_back(run, tmp_path, monkeypatch, act):
    from actlens.upkeep import target as room

    def damaging(place, **more):
        flip(shards(place.folder)[0], 5000)
        return examine(place, **more)

    examine = room.examine
    monkeypatch.setattr(room, "examine", damaging)
    with pytest.raises(
        CorruptRecording, match="target does not read back as it was: shards/.*the source is whole"
    ):
        upkeep.copy(run, tmp_path / "target") if act == "copy" else upkeep.merge([run], tmp_path / "target")
    assert rest(tmp_path) == ["run"]


def test_what_cannot_be_copied(tmp_path):
    with pytest.raises(RecordingNotFound, match="no: it does not exist"):
        upkeep.copy(tmp_path / "no", tmp_path / "target")
    with pytest.raises(ArgumentError, match="path is 3; it takes"):
        upkeep.copy(tmp_path, 3)
    assert rest(tmp_path) == []


@pytest.mark.parametrize("act", [upkeep.copy, lambda a, b: upkeep.merge([a], b)])
def test_a_target_at_an_address_is_no_folder_here(run, tmp_path, monkeypatch, act):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AddressError, match="s3://b/x is an address, and the target of a "):
        act(run, "s3://b/x")
    assert rest(tmp_path) == ["run"]


def test_from_an_address(run, tmp_path):
    pytest.importorskip("fsspec")
    upkeep.copy(f"local://{run}", tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(run)


def test_names_that_the_system_does_not_take(run, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for act in (upkeep.copy, lambda a, b: upkeep.merge([a], b)):
        with pytest.raises(WriteFailed, match=r"could not be written: File name too long"):
            act(run, tmp_path / ("x" * 300))
        with pytest.raises(WriteFailed, match="could not be written"):
            act(run, tmp_path / "loop" / "x")
        with pytest.raises(ArgumentError, match="it takes the name of a folder"):
            act(run, f"{tmp_path}/\ud800")
    assert rest(tmp_path) == ["loop", "run"]


@pytest.mark.parametrize("act", [upkeep.copy, lambda a, b: upkeep.merge([a], b)])
def test_what_cannot_be_read_is_not_called_damaged(run, tmp_path, monkeypatch, act):
    shard, opened = shards(run)[1], os.open

    def refusing(path, *args, **more):
        if str(path) == str(shard):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *args, **more)

    monkeypatch.setattr("actlens.format.blob.os.open", refusing)
    with pytest.raises(ReadFailed, match=r"was not (copied|merged): .*Permission denied.* may well be whole"):
        act(run, tmp_path / "target")
    monkeypatch.undo()
    cases.reheadered(shard, lambda e, m: m.update(version=[9, 0]))
    with pytest.raises(UnsupportedFormat, match="has format version 9.0"):
        act(run, tmp_path / "target")
    assert rest(tmp_path) == ["run"]


# merge


@pytest.mark.parametrize("shard_bytes", [3000, 64 << 20])
def test_rows_of_all_sources_in_their_order(tmp_path, shard_bytes):
    """Ranks with duplicates, several attempts, ragged rows with holes, text ids, steps: against numpy."""
    parts = [tmp_path / "one", tmp_path / "ranks", tmp_path / "resumed"]
    truths = [cases.made(parts[0], first=1000), cases.two_ranks(parts[1])]
    truths.append(cases.made(parts[2], first=2000, samples=10))
    with actlens.Recorder(parts[2], resume=True, durability="rename") as rec:
        cases.write(rec, np.random.default_rng(4), ["x", "y"], 7, truths[2])
    before = contents(tmp_path)
    run = upkeep.merge(parts, tmp_path / "all", shard_bytes=shard_bytes)
    assert {k: v for k, v in contents(tmp_path).items() if not k.startswith("all/")} == before
    rows, seen = [], set()
    for truth in truths:
        for number, key in enumerate(zip(truth["id"], truth["step"], strict=True)):
            if key not in seen:
                seen.add(key)
                rows.append((truth, number))
    assert run.rows == len(rows) == 80 + 88 + 22
    assert run.ids.tolist() == [truth["id"][n] for truth, n in rows]
    assert run.columns["step"].tolist() == [truth["step"][n] for truth, n in rows]
    assert run.columns["label"].tolist() == [truth["label"][n] for truth, n in rows]
    assert (run["fc"][:] == np.array([truth["fc"][n] for truth, n in rows])).all()
    assert all((got == truth["h"][n]).all() for got, (truth, n) in zip(run["h"], rows, strict=True))
    positions = np.concatenate([actlens.open(part)["h"].tokens.columns["position"] for part in parts])
    assert (run["h"].tokens.columns["position"] == positions).all()
    found = run.verify()
    assert (found.ok, found.sealed, found.duplicates) == (True, True, 0)
    assert (run.info["shards"] > 5) == (shard_bytes == 3000)
    assert run.info["writers"] == 1
    stacked = [load_file(shard)["act:fc"] for shard in shards(tmp_path / "all")]  # any reader opens it
    assert (np.concatenate(stacked) == run["fc"][:]).all()
    assert len({actlens.open(path)._shards._manifest.recording for path in [*parts, tmp_path / "all"]}) == 4


def test_every_dtype_keeps_its_bits(tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 255, (8, 64), dtype=np.uint8)
    layers = {
        kind.__name__: raw.view(kind)
        for kind in (
            np.float16,
            np.float32,
            np.int16,
            np.complex64,
            ml_dtypes.bfloat16,
            ml_dtypes.float8_e4m3fn,
        )
    }
    for part in range(2):
        with actlens.Recorder(tmp_path / f"p{part}", durability="rename") as rec:
            rec.write(
                {key: value[4 * part : 4 * part + 4] for key, value in layers.items()},
                id=np.arange(4) + 4 * part,
                yes=np.arange(4) % 2 == 0,
                half=np.arange(4, dtype="f2"),
            )
    run = upkeep.merge([tmp_path / "p0", tmp_path / "p1"], tmp_path / "all")
    for key, value in layers.items():
        assert run[key][:].tobytes() == value.tobytes()
    assert run.columns["yes"].tolist() == [True, False] * 4
    assert run.columns["half"].dtype == np.float16


def test_masks_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    h, g = rng.normal(size=(6, 5, 2)), rng.normal(size=(6, 3))
    masks = {"h": rng.random((6, 5)) < 0.5, "g": np.arange(3) < np.array([0, 3, 1, 2, 0, 0])[:, None]}
    for part in range(2):
        rows = slice(3 * part, 3 * part + 3)
        with actlens.Recorder(tmp_path / f"p{part}", durability="rename") as rec:
            rec.write(
                {"h": h[rows], "g": g[rows]},
                id=np.arange(6)[rows],
                mask={key: mask[rows] for key, mask in masks.items()},
            )
    run = upkeep.merge([tmp_path / "p0", tmp_path / "p1"], tmp_path / "all", shard_bytes=60)
    assert all((run["h"].row(i) == h[i][masks["h"][i]]).all() for i in range(6))
    assert all((run["g"].row(i) == g[i][masks["g"][i]]).all() for i in range(6))


def test_masks_are_made_a_piece_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("actlens.upkeep.merging._MASK_BYTES", 30)
    truth = cases.made(tmp_path / "run")
    run = upkeep.merge([tmp_path / "run"], tmp_path / "all")
    assert all((got == row).all() for got, row in zip(run["h"], truth["h"], strict=True))
    assert run.ids.tolist() == truth["id"]


@pytest.mark.parametrize("steps", [(None, None), (0, 0), (0.5, 0.5)])
def test_the_same_sample_twice_is_refused(tmp_path, steps):
    plain(tmp_path / "a", [1, 2, 3], step=steps[0])
    plain(tmp_path / "b", [7, 8], step=steps[0])
    plain(tmp_path / "c", [3, 2, 9], step=steps[1])
    with pytest.raises(
        UpkeepError, match=r"2 samples stand in two of the sources \(.*/a and .*/c\): 2, 3\. A"
    ):
        upkeep.merge([tmp_path / "a", tmp_path / "b", tmp_path / "c"], tmp_path / "all")
    assert rest(tmp_path) == ["a", "b", "c"]


def test_the_same_id_in_another_step_is_another_row(tmp_path):
    a, b = plain(tmp_path / "a", [1, 2], step=0), plain(tmp_path / "b", [2, 1], step=1)
    run = upkeep.merge([tmp_path / "b", tmp_path / "a"], tmp_path / "all")
    assert run.ids.tolist() == [2, 1, 1, 2]
    assert (run["a"][:] == np.concatenate([b, a])).all()


@pytest.mark.parametrize("both", [True, False])
def test_ids_that_were_counted_are_refused_where_they_overlap(tmp_path, both):
    plain(tmp_path / "a", None, step=0)
    plain(tmp_path / "b", None if both else [5, 10], step=1)
    text = f"overlap in {6 if both else 1} numbers .*were counted from 0.*Record again with ids: write"
    with pytest.raises(UpkeepError, match=text):
        upkeep.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    plain(tmp_path / "c", [100, 101], step=0)
    merged = upkeep.merge([tmp_path / "a", tmp_path / "c"], tmp_path / "all")
    assert merged.info["ids"] == "numbered"  # some of them are


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (lambda r: r.write({"a": np.zeros((1, 4), "f4")}, id=["z"]), ["shape of layer 'a': (3,) and (4,)"]),
        (lambda r: r.write({"a": np.zeros((1, 3), "f8")}, id=["z"]), ["dtype of layer 'a': F32 and F64"]),
        (
            lambda r: r.write({"b": np.zeros((1, 3), "f4")}, id=["z"]),
            ["layer 'a' is in the first only", "layer 'b' is in the second only"],
        ),
        (lambda r: r.write({"a": np.zeros((1, 3), "f4")}, id=[1]), ["dtype of column 'id': STRING and I64"]),
        (
            lambda r: r.write({"a": np.zeros((1, 3), "f4")}, id=["z"], lable=1),
            ["column 'lable' is in the second only"],
        ),
        (
            lambda r: r.write(
                Activations({"a": np.zeros((1, 3), "f4")}, {"a": ("sample", "unit")}), id=["z"]
            ),
            ["axes of layer 'a': (sample, axis1) and (sample, unit)"],
        ),
        (
            lambda r: r.write({"a": np.zeros((1, 2, 3), "f4")}, id=["z"], lengths=[2]),
            ["axes of layer 'a'", "mask of layer 'a': none and shared"],
        ),
    ],
)  # fmt: skip
def test_recordings_that_are_not_alike(tmp_path, write, texts):
    plain(tmp_path / "a", ["x", "y"])
    with actlens.Recorder(tmp_path / "b", durability="rename") as rec:
        write(rec)
    with pytest.raises(UpkeepError, match="cannot be merged, their rows are not alike") as error:
        upkeep.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert all(text in str(error.value) for text in texts)
    with pytest.raises(UpkeepError, match="is in the first only|are not alike"):
        upkeep.merge([tmp_path / "b", tmp_path / "a"], tmp_path / "all")
    assert rest(tmp_path) == ["a", "b"]


def test_what_is_the_same_is_kept_of_the_origin(tmp_path):
    for part, seed in enumerate((1, 1, 2)):
        with actlens.Recorder(tmp_path / f"p{part}", sample=0.9, seed=seed, durability="rename") as rec:
            rec.describe(model="Net", weights="abc" if part else "def", layers={"*": None})
            rec.write({"a": np.zeros((50, 1), "f4")}, id=np.arange(50) + 50 * part)
    alike = upkeep.merge([tmp_path / "p0", tmp_path / "p1"], tmp_path / "alike").info
    assert (alike["model"], alike["sample"], alike["seed"], alike["layers"]) == ("Net", "0.9", 1, {"*": None})
    assert "weights" not in alike
    mixed = upkeep.merge([tmp_path / "p1", tmp_path / "p2"], tmp_path / "mixed").info
    assert (mixed["weights"], mixed["sample"], mixed["seed"]) == ("abc", "mixed", 0)


def test_a_merged_recording_can_be_gone_on_with(tmp_path):
    plain(tmp_path / "a", [1, 2])
    upkeep.merge([tmp_path / "a"], tmp_path / "all")
    with actlens.Recorder(tmp_path / "all", resume=True, durability="rename") as rec:
        assert rec.write({"a": np.ones((2, 3), "f4")}, id=[2, 3]) == 1
    assert actlens.open(tmp_path / "all").ids.tolist() == [1, 2, 3]


def test_sources_that_are_none(tmp_path):
    plain(tmp_path / "a", [1, 2])
    target = tmp_path / "all"
    for sources in (str(tmp_path / "a"), tmp_path / "a", [], None, 3):
        with pytest.raises(InputError, match="as sources; it takes a list of paths"):
            upkeep.merge(sources, target)
    with pytest.raises(InputError, match="merge.. got .*/b/../a twice; every source is named once"):
        upkeep.merge([tmp_path / "a", tmp_path / "b" / ".." / "a"], target)
    with pytest.raises(RecordingNotFound, match="b: it does not exist"):
        upkeep.merge([tmp_path / "a", tmp_path / "b"], target)
    with pytest.raises(ArgumentError, match="shard_bytes= is 0"):
        upkeep.merge([tmp_path / "a"], target, shard_bytes=0)
    with actlens.Recorder(tmp_path / "c", durability="rename") as rec:
        with pytest.raises(RecordingNotFound, match="c has no committed rows yet"):
            upkeep.merge([tmp_path / "a", tmp_path / "c"], target)
        rec.write({"a": np.zeros((1, 1))})
    assert rest(tmp_path) == ["a", "c"]


@pytest.mark.slow
def test_memory_is_bounded_by_the_shard(tmp_path):
    import tracemalloc

    for part in range(2):
        with actlens.Recorder(tmp_path / f"p{part}", shard_bytes=2 << 20, durability="rename") as rec:
            for at in range(0, 64, 4):
                rec.write({"a": np.zeros((4, 1 << 17), "f4")}, id=np.arange(4) + at + 64 * part)
    tracemalloc.start()
    try:
        upkeep.merge([tmp_path / "p0", tmp_path / "p1"], tmp_path / "all", shard_bytes=2 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20  # of 64 MiB
