"""upkeep.repair: what is left is whole again, nothing is deleted, and what is lost is told exactly."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil

import numpy as np
import pytest
import upkeep_cases as cases
from safetensors.numpy import load_file
from upkeep_cases import contents, flip, layout, name, shards

import actlens
from actlens import upkeep
from actlens.errors import (
    CorruptRecording,
    ReadFailed,
    RecordingExists,
    RecordingNotFound,
    UnsupportedFormat,
    WriteFailed,
)
from actlens.format.blob import LocalBlob


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("once") / "run"
    cases.made(path)
    return path


@pytest.fixture
def run(tmp_path, made_once):
    shutil.copytree(made_once, tmp_path / "run")
    return tmp_path / "run"


def samples(shard):
    """(id, step) of every row, read by the safetensors library."""
    tensors = load_file(shard)
    raw, ends = tensors["col:id"].tobytes(), tensors["idx:col:id"].tolist()
    ids = [raw[a:b].decode() for a, b in itertools.pairwise(ends)]
    return list(zip(ids, tensors["col:step"].tolist(), strict=True))


def pairs(repaired):
    return list(zip(repaired.lost_ids, repaired.lost_steps or (), strict=True))


def settled(path):
    """Open what a repair left, and repair once more: no byte may change."""
    before = contents(path)
    again = upkeep.repair(path)
    assert (again.set_aside, again.manifest_rebuilt) == ((), False)
    assert contents(path) == before
    assert upkeep.verify(path).ok
    return again


def test_a_sound_recording_is_left_alone(run):
    before = contents(run)
    done = upkeep.repair(run)
    assert (done.set_aside, done.lost, done.lost_ids, done.lost_rows) == ((), (), (), 0)
    assert (done.manifest_rebuilt, done.sealed, done.rows) == (False, True, 80)
    assert str(done) == f"{run}: nothing to repair, 80 rows, sealed"
    assert contents(run) == before


@pytest.mark.parametrize("ranks", [1, 2])
def test_without_its_manifest_it_gets_the_same_bytes_as_by_sealing(tmp_path, ranks):
    path = tmp_path / "run"
    cases.made(path) if ranks == 1 else cases.two_ranks(path)
    before = contents(path)
    (path / "manifest.json").unlink()
    done = upkeep.repair(path)
    assert (done.manifest_rebuilt, done.sealed, done.set_aside) == (True, True, ())
    assert contents(path) == before


def test_an_unsealed_recording_gets_its_index(run):
    (run / "manifest.json").unlink()
    shards(run)[-1].unlink()  # the one that is marked as the last
    done = upkeep.repair(run)
    assert (done.manifest_rebuilt, done.sealed, done.lost) == (True, False, ())
    settled(run)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m, _: m.write_bytes(b"{"),
        lambda m, _: m.write_bytes(b""),
        lambda m, _: flip(m, 300),
        lambda m, _: m.unlink() or m.symlink_to("elsewhere"),
        lambda m, _: m.unlink() or m.mkdir(),
        lambda m, other: shutil.copy(other / "manifest.json", m),
    ],
    ids=["half", "empty", "flipped", "link", "folder", "foreign"],
)
def test_a_manifest_that_cannot_be_used_is_set_aside(run, tmp_path, damage):
    cases.made(tmp_path / "other", seed=5)
    sound = contents(run)
    damage(run / "manifest.json", tmp_path / "other")
    kept = (run / "manifest.json").read_bytes() if (run / "manifest.json").is_file() else None
    done = upkeep.repair(run)
    assert [(one.file, one.to) for one in done.set_aside] == [("manifest.json", "set-aside/manifest.json")]
    assert done.manifest_rebuilt
    now = contents(run)
    assert {file: raw for file, raw in now.items() if not file.startswith("set-aside")} == sound
    assert now.get("set-aside/manifest.json") == kept
    settled(run)
    (run / "manifest.json").write_bytes(b"again")
    assert upkeep.repair(run).set_aside[0].to == "set-aside/manifest.json.1"


def test_a_manifest_that_lists_too_little_is_made_anew(run):
    sound = contents(run)
    cases.edited(
        run, lambda m: m.update(shards=m["shards"][:2], rows=sum(s["rows"] for s in m["shards"][:2]))
    )
    done = upkeep.repair(run)
    assert (done.manifest_rebuilt, done.set_aside) == (True, ())  # it can be read: nothing is lost with it
    assert contents(run) == sound


READABLE = ["act:h", "act:fc", "col:label", "idx:col:label", "idx:act:h", "pos:act:h", "sum:blocks"]


@pytest.mark.parametrize("tensor", READABLE)
@pytest.mark.parametrize("number", [0, 2, -1])
def test_the_lost_samples_are_named_where_their_ids_can_be_read(run, number, tensor):
    shard = shards(run)[number]
    lost, rest = samples(shard), [pair for other in shards(run) if other != shard for pair in samples(other)]
    flip(shard, layout(shard)[0][tensor][0])
    damaged, where = shard.read_bytes(), name(run, shard)
    done = upkeep.repair(run)
    assert pairs(done) == lost
    assert (done.lost_rows, done.lost_rows_known, done.rows) == (len(lost), True, len(rest))
    (moved,) = done.set_aside
    assert (moved.file, moved.to) == (where, where.replace("shards/", "set-aside/"))
    assert (run / moved.to).read_bytes() == damaged
    assert not shard.exists()
    assert done.sealed == (number != -1)  # its last shard is the one that says that it ended
    again = settled(run)
    assert again.lost == done.lost
    opened = actlens.open(run)
    assert list(zip(opened.ids.tolist(), opened.columns["step"].tolist(), strict=True)) == rest
    assert opened.info["lost"] == [where]
    assert repr(lost[0][0]) in str(done)


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: flip(s, 100),
        lambda s: s.write_bytes(s.read_bytes()[:50]),
        lambda s: s.write_bytes(b""),
        lambda s: s.unlink(),
        lambda s: cases.zero(s, 0, s.stat().st_size),
        lambda s: flip(s, layout(s)[0]["col:id"][0]),
        lambda s: flip(s, layout(s)[0]["col:step"][0]),
    ],
    ids=["header", "short", "empty", "deleted", "zeroed", "ids", "steps"],
)
@pytest.mark.parametrize("number", [0, 2, -1])
def test_else_how_many_and_between_which(run, number, damage):
    files = shards(run)
    all_ids = [[ident for ident, _ in samples(shard)] for shard in files]
    shard = files[number]
    damage(shard)
    done = upkeep.repair(run)
    (lost,) = done.lost
    number %= len(files)
    assert (lost.ids, done.lost_ids, lost.rows) == (None, (), len(all_ids[number]))
    assert lost.after == (all_ids[number - 1][-1] if number else None)
    assert lost.before == (all_ids[number + 1][0] if number + 1 < len(files) else None)
    assert (done.lost_rows, done.lost_rows_known) == (len(all_ids[number]), True)
    assert f"{lost.rows} rows, between {'the beginning' if not number else ''}" in str(done)
    again = settled(run)
    assert again.lost == done.lost
    assert actlens.open(run).info["lost"] == [name(run, shard)]


def test_without_a_manifest_the_number_may_be_unknown(run):
    files = shards(run)
    (run / "manifest.json").unlink()
    flip(files[1], 100)
    files[3].unlink()
    done = upkeep.repair(run)
    assert [(one.path, one.rows, one.why) for one in done.lost] == [
        (name(run, files[1]), -1, "its header does not match its digest"),
        (name(run, files[3]), -1, "it is missing"),
    ]
    assert not done.lost_rows_known
    assert "at least 0 rows in 2 shards" in str(done)
    assert "an unknown number of rows" in str(done)
    settled(run)


def test_a_file_cut_short_behind_its_ids_still_names_them(run):
    shard = shards(run)[1]
    spans = layout(shard)[0]
    end = max(spans[key][1] for key in ("col:id", "idx:col:id", "col:step"))
    lost = samples(shard)
    shard.write_bytes(shard.read_bytes()[:end])
    assert pairs(upkeep.repair(run)) == lost


@pytest.mark.parametrize("count", [3, 30])
def test_without_steps_ids_alone_are_named(tmp_path, count):
    with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
        rec.write({"a": np.zeros((count, 2))}, id=np.arange(count) + 7)
        rec.flush()
        rec.write({"a": np.zeros((1, 2))}, id=[99])
    shard = shards(tmp_path / "run")[0]
    flip(shard, layout(shard)[0]["act:a"][0])
    done = upkeep.repair(tmp_path / "run")
    assert (done.lost_ids, done.lost_steps) == (tuple(range(7, 7 + count)), None)
    assert f"digest; ids 7, 8, 9{', 10' if count > 3 else ''}" in str(done)
    assert (", 18, … and 18 more\n" in str(done)) == (count == 30)
    settled(tmp_path / "run")


def test_nothing_that_is_set_aside_is_overwritten(run):
    shard = shards(run)[1]
    sound, where = shard.read_bytes(), name(run, shard)
    for number in range(3):
        shard.write_bytes(sound)
        flip(shard, layout(shard)[0]["act:h"][0] + number)
        (moved,) = upkeep.repair(run).set_aside
        assert moved.to == where.replace("shards/", "set-aside/") + (f".{number}" if number else "")
        settled(run)
    assert len([file for file in contents(run) if file.startswith("set-aside/")]) == 3


def test_a_restored_file_counts_again(run):
    shard, before = shards(run)[1], contents(run)
    sound = shard.read_bytes()
    flip(shard, layout(shard)[0]["act:h"][0])
    upkeep.repair(run)
    shard.write_bytes(sound)
    done = upkeep.repair(run)
    assert (done.lost, done.manifest_rebuilt, done.sealed) == ((), True, True)
    assert {k: v for k, v in contents(run).items() if not k.startswith("set-aside")} == before


def test_shards_that_have_changed_places_are_named(run):
    a, b = shards(run)[1:3]
    lost = [*samples(a), *samples(b)]
    a.rename(run / "aside")
    b.rename(a)
    (run / "aside").rename(b)
    done = upkeep.repair(run)
    assert sorted(pairs(done)) == sorted(lost)
    assert [one.path for one in done.lost] == [name(run, a), name(run, b)]
    assert "it was renamed: it says it is" in str(done)
    settled(run)
    # by hand: each to the name that the report says it has
    for one in done.set_aside:
        (run / one.to).rename(run / one.why.rpartition(" ")[2])
    assert upkeep.repair(run).lost == ()


def test_foreign_shards_are_not_counted_as_lost(run, tmp_path):
    cases.made(tmp_path / "other", seed=3)
    theirs = shards(tmp_path / "other")[0].parent
    shutil.copytree(theirs, run / "shards" / theirs.name)
    done = upkeep.repair(run)
    assert len(done.set_aside) == len(shards(tmp_path / "other"))
    assert (done.lost, done.sealed, done.rows) == ((), True, 80)
    settled(run)


def test_a_shard_that_was_lost_in_the_place_of_another_is_told(tmp_path):
    path = tmp_path / "run"
    cases.two_ranks(path)
    first, later = (sorted(one.glob("*.safetensors")) for one in sorted((path / "shards").iterdir()))
    content = first[0].read_bytes(), later[1].read_bytes()
    first[0].write_bytes(content[1])
    later[1].write_bytes(content[0])  # they changed places, and then:
    flip(later[1], 200)
    for shard in first[1:]:
        flip(shard, 200)
    (path / "manifest.json").unlink()
    done = upkeep.repair(path)
    assert [one.path for one in done.lost] == [name(path, one) for one in (*first, later[1])]
    settled(path)


def test_shards_under_wrong_names_alone_are_still_of_this_recording(run):
    kept, *others = shards(run)
    rows = samples(kept)
    for other in others:
        other.unlink()
    kept.rename(kept.with_name("00000007.safetensors"))
    (run / "manifest.json").unlink()
    done = upkeep.repair(run)
    assert "it was renamed: it says it is" in done.set_aside[0].why
    assert pairs(done) == rows
    again = settled(run)
    assert (again.lost, again.rows) == (done.lost, 0)


def test_a_last_shard_of_which_nothing_tells_is_not_passed_over(run):
    shards(run)[-1].unlink()
    (run / "manifest.json").unlink()
    done = upkeep.repair(run)
    assert (done.lost, done.sealed) == ((), False)
    assert "Not sealed: a writer was stopped, or its last shards are gone" in str(done)
    settled(run)


def test_a_foreign_shard_in_the_place_of_another(run, tmp_path):
    cases.made(tmp_path / "other", seed=3)
    shard, rows = shards(run)[1], len(samples(shards(run)[1]))
    shutil.copy(shards(tmp_path / "other")[1], shard)
    done = upkeep.repair(run)
    assert [(one.path, one.rows, one.ids) for one in done.lost] == [(name(run, shard), rows, None)]
    settled(run)


def test_a_sample_that_another_rank_has_is_not_lost(tmp_path):
    path = tmp_path / "run"
    cases.two_ranks(path)
    first = [shard for shard in shards(path) if "/00000-" in str(shard)][-1]
    lost = [pair for pair in samples(first) if not pair[0].startswith("both")]
    assert len(lost) < len(samples(first))
    flip(first, layout(first)[0]["act:fc"][0])
    done = upkeep.repair(path)
    assert pairs(done) == lost
    assert actlens.open(path).info["duplicates"] < 8
    assert actlens.open(path).rows == 88 - len(lost)
    settled(path)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_resume_records_the_lost_samples_again(run, number):
    shard = shards(run)[number]
    lost, where = samples(shard), name(run, shard)
    flip(shard, layout(shard)[0]["act:h"][0])
    upkeep.repair(run)
    rng, truth = np.random.default_rng(0), {k: [] for k in ("h", "fc", "id", "step", "label")}
    with actlens.Recorder(run, resume=True, durability="rename") as rec:
        for step in (0, 1):
            cases.write(rec, rng, [f"é{i}" for i in range(40)], step, truth)
        assert rec.rows == len(lost)
    opened = actlens.open(run)
    assert (opened.rows, opened.info["sealed"], opened.info["lost"]) == (80, True, [where])
    value = dict(zip(zip(truth["id"], truth["step"], strict=True), truth["fc"], strict=True))
    rows = zip(opened.ids.tolist(), opened.columns["step"].tolist(), opened["fc"][:], strict=True)
    assert all((value[ident, step] == row).all() for ident, step, row in rows)
    done = settled(run)
    assert (done.lost_ids, done.lost_rows) == ((), 0)
    assert "all of its samples are in other shards" in str(done)
    before = (run / "manifest.json").read_bytes()
    (run / "manifest.json").unlink()
    upkeep.repair(run)
    assert (run / "manifest.json").read_bytes() == before


class Killed(BaseException):
    """kill -9: nothing after it runs that could tidy up."""


def _dies(run, monkeypatch, stop):
    """Repair, and die before the change number `stop` of the disk; say whether it came to that."""
    count = [0]

    def dying(real):
        def call(*args, **more):
            if count[0] == stop:  # and from then on for ever: no temporary file is removed either
                raise Killed
            count[0] += 1
            return real(*args, **more)

        return call

    with monkeypatch.context() as patched:
        for function in ("rename", "mkdir", "fsync", "pwritev", "unlink"):
            patched.setattr(f"os.{function}", dying(getattr(os, function)))
        try:
            upkeep.repair(run)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("manifest", ["sound", "damaged", "deleted"])
def test_killed_at_any_point_the_next_repair_completes_it(tmp_path, monkeypatch, manifest):
    cases.made(tmp_path / "damaged", samples=12)
    files = shards(tmp_path / "damaged")
    flip(files[1], layout(files[1])[0]["act:h"][0])
    files[-1].write_bytes(files[-1].read_bytes()[:-20])
    if manifest == "damaged":
        flip(tmp_path / "damaged/manifest.json", 100)
    elif manifest == "deleted":
        (tmp_path / "damaged/manifest.json").unlink()
    shutil.copytree(tmp_path / "damaged", tmp_path / "whole")
    whole = upkeep.repair(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    stops = 0
    for stop in range(40):
        shutil.copytree(tmp_path / "damaged", tmp_path / f"run{stop}")
        died = _dies(tmp_path / f"run{stop}", monkeypatch, stop)
        done = upkeep.repair(tmp_path / f"run{stop}")
        now = {k: v for k, v in contents(tmp_path / f"run{stop}").items() if ".tmp-" not in k}
        assert now == expected
        assert [(one.path, one.rows, one.ids) for one in done.lost] == [
            (one.path, one.rows, one.ids) for one in whole.lost
        ]
        settled(tmp_path / f"run{stop}")
        if not died:
            break
        stops += 1
    assert stops > 5


def test_a_shard_moved_and_the_manifest_not_yet_written(run):
    """Somebody else's order of things: what lies in set-aside/ tells what the gap was."""
    shard = shards(run)[2]
    lost, where = samples(shard), name(run, shard)
    flip(shard, layout(shard)[0]["act:h"][0])
    aside = run / where.replace("shards/", "set-aside/")
    aside.parent.mkdir(parents=True)
    shard.rename(aside)
    for manifest in (True, False):
        if not manifest:
            (run / "manifest.json").unlink()
        done = upkeep.repair(run)
        assert pairs(done) == lost
        assert [(one.path, one.rows, one.why) for one in done.lost] == [
            (where, len(lost), "the data of 'act:h' does not match its digest")
        ]
        settled(run)


def test_when_no_shard_is_left(run):
    for shard in shards(run):
        flip(shard, 200)
    done = upkeep.repair(run)
    assert (done.rows, done.sealed, len(done.lost)) == (0, False, len(done.set_aside))
    assert done.lost_rows == 80
    settled(run)
    with pytest.raises(RecordingNotFound, match="has no committed rows"):
        actlens.open(run)
    with actlens.Recorder(run, resume=True, durability="rename") as rec:
        truth = {k: [] for k in ("h", "fc", "id", "step", "label")}
        cases.write(rec, np.random.default_rng(0), ["a"], 0, truth)
    assert actlens.open(run).ids.tolist() == ["a"]


def test_when_nothing_can_be_read(run):
    for shard in shards(run):
        flip(shard, 200)
    (run / "manifest.json").write_bytes(b"?")
    before = contents(run)
    with pytest.raises(
        CorruptRecording, match="nothing of the recording .* can be read, neither its manifest"
    ):
        upkeep.repair(run)
    assert contents(run) == before


def test_a_recording_that_is_being_written(tmp_path):
    path, truth = tmp_path / "run", {k: [] for k in ("h", "fc", "id", "step", "label")}
    with actlens.Recorder(path, durability="rename") as rec:
        cases.write(rec, np.random.default_rng(0), ["a", "b"], 0, truth)
        rec.flush()
        before = contents(path)
        done = upkeep.repair(path)
        assert (done.set_aside, done.manifest_rebuilt, done.sealed) == ((), False, False)
        (shard,) = shards(path)
        flip(shard, layout(shard)[0]["act:h"][0])
        with pytest.raises(
            RecordingExists, match="is being written at this moment .by 00000-.* is not whole"
        ):
            upkeep.repair(path)
        flip(shard, layout(shard)[0]["act:h"][0])
        assert contents(path) == before
    assert upkeep.verify(path).sealed


def test_two_repairs_at_once(run):
    fd = os.open(run, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with pytest.raises(RecordingExists, match="is being repaired by another program"):
            upkeep.repair(run)
    finally:
        os.close(fd)
    upkeep.repair(run)


def test_what_may_be_whole_is_not_given_up(run, monkeypatch):
    shard, opened, before = shards(run)[1], os.open, contents(run)

    def refusing(path, *args, **more):
        if str(path) == str(shard):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr("actlens.format.blob.os.open", refusing)
        with pytest.raises(
            ReadFailed, match="was not repaired: it cannot be read: Permission denied .* mend"
        ):
            upkeep.repair(run)
    cases.reheadered(shard, lambda e, m: m.update(version=[9, 0]))
    with pytest.raises(UnsupportedFormat, match="has format version 9.0; .* Nothing was touched"):
        upkeep.repair(run)
    shard.write_bytes(before[name(run, shard)])
    assert contents(run) == before


def test_a_foreign_shard_in_the_place_of_the_last_is_a_loss(run, tmp_path):
    cases.made(tmp_path / "other", seed=3)
    shard = shards(run)[-1]
    shutil.copy(shards(tmp_path / "other")[1], shard)
    (run / "manifest.json").unlink()
    done = upkeep.repair(run)
    assert [(one.path, one.rows, one.ids) for one in done.lost] == [(name(run, shard), -1, None)]
    assert settled(run).lost == done.lost


def test_a_read_that_fails_half_way_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "run"
    cases.wide(path)
    (shard,) = shards(path)
    start, fill, before = layout(shard)[1], LocalBlob.fill, contents(path)

    def failing(self, spans):
        for at, view in fill(self, spans):
            if at <= start + cases.MIB + 5 < at + len(view):
                cause = OSError(116, "Stale file handle")
                raise ReadFailed.of(shard, cause) from cause
            yield at, view

    monkeypatch.setattr(LocalBlob, "fill", failing)
    with pytest.raises(ReadFailed, match="was not repaired: it cannot be read: Stale file handle"):
        upkeep.repair(path)
    assert contents(path) == before


def test_ranks_that_counted_their_ids_cannot_be_repaired(tmp_path):
    path = tmp_path / "run"
    cases.two_ranks(path)
    (path / "manifest.json").unlink()
    for shard in shards(path):
        if "/00001-" in str(shard):
            origin = cases.Shard(shard).meta.origin
            cases.rewritten(
                shard, {"origin": cases.msgspec.structs.replace(origin, ids="numbered"), "prev": ""}
            )
    for shard in shards(path)[::-1]:
        if "/00001-" in str(shard) and not shard.name.startswith("00000000"):
            shard.unlink()
    before = contents(path)
    with pytest.raises(CorruptRecording, match="were counted from 0, and ranks 0, 1 wrote this recording"):
        upkeep.repair(path)
    assert contents(path) == before


def test_a_disk_that_refuses(run, monkeypatch):
    shard = shards(run)[1]
    flip(shard, layout(shard)[0]["act:h"][0])
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", _full)
        with pytest.raises(WriteFailed, match="repairing .* failed: No space left.* No shard was lost by it"):
            upkeep.repair(run)
    assert len(upkeep.repair(run).set_aside) == 1
    settled(run)


def _full(*_args, **_more):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_set_aside_must_be_a_folder_of_its_own(run, tmp_path, kind):
    shard = shards(run)[1]
    flip(shard, layout(shard)[0]["act:h"][0])
    (tmp_path / "elsewhere").mkdir()
    (run / "set-aside").symlink_to(tmp_path / "elsewhere") if kind == "link" else (run / "set-aside").touch()
    before = contents(run)
    with pytest.raises(WriteFailed, match="set-aside is not a folder of its own .a file or a link."):
        upkeep.repair(run)
    assert contents(run) == before
    assert not list((tmp_path / "elsewhere").iterdir())
    (run / "set-aside").unlink()
    upkeep.repair(run)
    settled(run)


def test_what_is_not_there(tmp_path):
    with pytest.raises(RecordingNotFound, match="no: it does not exist"):
        upkeep.repair(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(RecordingNotFound, match="it is a file"):
        upkeep.repair(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingNotFound, match="neither manifest.json nor shards"):
        upkeep.repair(tmp_path / "empty")
