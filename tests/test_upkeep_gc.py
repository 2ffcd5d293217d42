"""upkeep.gc: what dead writers left goes; nothing else ever does."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import upkeep_cases as cases
from upkeep_cases import contents, shards

import actlens
from actlens import upkeep
from actlens.errors import InputError, RecordingNotFound, WriteFailed

DAY = 86400
DEAD = "shards/00001-0123-dead"


def aged(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def run(tmp_path):
    """A recording with old orphans at every place, young ones, and much else that must stay."""
    path = tmp_path / "run"
    cases.made(path, samples=4)
    writer = shards(path)[0].parent
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/.tmp-theirs").write_bytes(b"theirs")
    for folder in (path, writer):
        (folder / ".tmp-old").write_bytes(b"12345")
        (folder / ".tmp-young").write_bytes(b"1")
        (folder / ".tmp-link").symlink_to(tmp_path / "outside/.tmp-theirs")
        (folder / ".tmp-folder").mkdir()
        (folder / "tmp-not").write_bytes(b"")
    (path / "set-aside/w").mkdir(parents=True)
    (path / "set-aside/w/.tmp-kept").write_bytes(b"")
    (path / DEAD).mkdir()
    (path / f"{DEAD}/.tmp-old").write_bytes(b"123")
    (path / "shards/00002-0123-empty").mkdir()
    (path / "shards/00003-0123-young").mkdir()
    (path / "shards/00004-0123-link").symlink_to(tmp_path / "outside")
    (path / "shards/no-writer").mkdir()
    (path / "shards/no-writer/.tmp-kept").write_bytes(b"")
    for file in sorted(path.rglob("*"), reverse=True):
        if "young" not in file.name:
            aged(file, 2)
    return path


def everything(path):
    return {file.relative_to(path).as_posix() for file in path.rglob("*")}


def expected(path):
    writer = shards(path)[0].parent.name
    return {".tmp-old": 5, f"shards/{writer}/.tmp-old": 5, f"{DEAD}/.tmp-old": 3, f"{DEAD}/": 0,
            "shards/00002-0123-empty/": 0}  # fmt: skip


def test_only_what_dead_writers_left_a_day_ago(run, tmp_path):
    before, wanted, sealed = everything(run), expected(run), actlens.open(run).ids.tolist()
    done = upkeep.gc(run)
    assert {one.file: one.bytes for one in done.removed} == wanted
    assert (done.bytes, done.dry_run) == (13, False)
    assert before - everything(run) == {file.rstrip("/") for file in wanted}
    assert contents(tmp_path / "outside") == {".tmp-theirs": b"theirs"}
    assert actlens.open(run).ids.tolist() == sealed
    assert upkeep.verify(run).ok
    assert str(done).splitlines()[0] == f"{run}: 5 removed (13 B)"
    assert f"  {DEAD}/.tmp-old (3 B)" in str(done)
    assert str(upkeep.gc(run)) == f"{run}: nothing removed (0 B)"


def test_a_dry_run_lists_the_same_and_removes_nothing(run):
    before = everything(run)
    done = upkeep.gc(run, dry_run=True)
    assert {one.file: one.bytes for one in done.removed} == expected(run)
    assert str(done).startswith(f"{run}: 5 would be removed (13 B)")
    assert everything(run) == before
    assert upkeep.gc(run).removed == done.removed


@pytest.mark.parametrize(("older_than", "count"), [(3 * DAY, 0), (DAY, 5), (0, 8)])
def test_the_age_is_kept(run, older_than, count):
    assert len(upkeep.gc(run, older_than=older_than).removed) == count  # 3 are young


def test_what_comes_from_the_future_stays(run):
    aged(run / ".tmp-old", -2)
    assert ".tmp-old" not in {one.file for one in upkeep.gc(run, older_than=0).removed}


def test_what_a_living_writer_holds_stays(tmp_path):
    path = tmp_path / "run"
    with actlens.Recorder(path, durability="rename") as rec:
        (writer,) = (path / "shards").iterdir()
        aged(writer, 9)
        assert upkeep.gc(path, older_than=0).removed == ()  # its folder is empty still
        (writer / ".tmp-1").write_bytes(b"")
        aged(writer / ".tmp-1", 9)
        assert upkeep.gc(path).removed == ()
        rec.write({"a": np.zeros((1, 1))})
    assert [one.file for one in upkeep.gc(path).removed] == [f"shards/{writer.name}/.tmp-1"]
    assert upkeep.verify(path).sealed


def test_a_linked_folder_of_shards_is_not_entered(run, tmp_path):
    (run / "shards").rename(tmp_path / "elsewhere")
    (run / "shards").symlink_to(tmp_path / "elsewhere")
    before = everything(tmp_path / "elsewhere")
    assert [one.file for one in upkeep.gc(run).removed] == [".tmp-old"]
    assert everything(tmp_path / "elsewhere") == before


def test_what_goes_meanwhile_is_not_counted(run, monkeypatch):
    def gone(self):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pathlib.Path.unlink", gone)
    assert {one.file for one in upkeep.gc(run).removed} == {"shards/00002-0123-empty/"}


def test_a_folder_that_fills_meanwhile_stays(run, monkeypatch):
    def filled(self):
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr("pathlib.Path.rmdir", filled)
    assert {one.file for one in upkeep.gc(run).removed} == {f for f in expected(run) if not f.endswith("/")}


def test_a_disk_that_refuses(run, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", refused)
    with pytest.raises(WriteFailed, match=r"run/\.tmp-old could not be removed: Permission denied"):
        upkeep.gc(run)


def test_a_folder_that_is_no_recording_is_left_alone(tmp_path):
    (tmp_path / ".tmp-mine").write_bytes(b"")
    aged(tmp_path / ".tmp-mine", 9)
    with pytest.raises(RecordingNotFound, match="neither manifest.json nor shards"):
        upkeep.gc(tmp_path)
    assert (tmp_path / ".tmp-mine").exists()
    with pytest.raises(RecordingNotFound, match="no: it does not exist"):
        upkeep.gc(tmp_path / "no")
    with pytest.raises(RecordingNotFound, match="it is a file"):
        upkeep.gc(tmp_path / ".tmp-mine")


def test_a_damaged_recording_is_cleared_too(run):
    (run / "manifest.json").write_text("{")
    assert len(upkeep.gc(run).removed) == 5


@pytest.mark.parametrize("age", [-1, "day", None, float("nan"), float("inf"), True])
def test_an_age_that_is_none(run, age):
    with pytest.raises(InputError, match="older_than= is .*; it takes a number of seconds of at least 0"):
        upkeep.gc(run, older_than=age)


class TestResults:
    """What lies in derived/: stale and damaged results go, when they are old."""

    @pytest.fixture
    def grown(self, tmp_path):
        """A result of the recording as it was, one as it is, one damaged; and much that is none."""
        path = tmp_path / "run"
        cases.made(path, samples=4)
        actlens.reduce.pca(actlens.open(path)["fc"])
        (stale,) = (path / "derived").iterdir()
        with actlens.Recorder(path, resume=True, durability="rename") as rec:
            cases.write(
                rec, np.random.default_rng(1), ["new"], 0, {k: [] for k in ("h", "fc", "id", "step", "label")}
            )
        actlens.reduce.pca(actlens.open(path)["fc"])
        (current,) = {*(path / "derived").iterdir()} - {stale}
        damaged = path / f"derived/stats-{'0' * 32}.safetensors"
        damaged.write_bytes(current.read_bytes()[:-1])
        (path / f"derived/stats-{'1' * 32}.safetensors").symlink_to(current)
        (path / f"derived/stats-{'2' * 32}.safetensors").mkdir()
        (path / "derived/mine.txt").write_text("mine")
        (path / "derived/.tmp-old").write_bytes(b"12345")
        (path / "derived/.tmp-young").write_bytes(b"")
        for file in (path / "derived").iterdir():
            if "young" not in file.name:
                aged(file, 2)
        return path, stale, current, damaged

    def test_stale_and_damaged_ones_go(self, grown):
        path, stale, current, damaged = grown
        before, sizes = everything(path), {stale.stat().st_size, damaged.stat().st_size, 5}
        wanted = {"derived/.tmp-old", f"derived/{stale.name}", f"derived/{damaged.name}"}
        assert {one.file for one in upkeep.gc(path, dry_run=True).removed} == wanted
        assert everything(path) == before
        done = upkeep.gc(path)
        assert {one.bytes for one in done.removed} == sizes
        assert before - everything(path) == wanted
        assert [one.file for one in actlens.open(path).derived() if one.current] == [
            f"derived/{current.name}"
        ]
        assert upkeep.gc(path).removed == ()

    def test_young_ones_stay(self, grown):
        path, *_ = grown
        assert upkeep.gc(path, older_than=3 * DAY).removed == ()

    def test_of_a_damaged_recording_only_what_is_damaged_goes(self, grown):
        path, _, _, damaged = grown
        (path / "manifest.json").write_text("{")
        wanted = {"derived/.tmp-old", f"derived/{damaged.name}"}
        assert {one.file for one in upkeep.gc(path).removed} == wanted

    def test_a_linked_folder_is_not_entered(self, grown, tmp_path):
        path, *_ = grown
        (path / "derived").rename(tmp_path / "elsewhere")
        (path / "derived").symlink_to(tmp_path / "elsewhere")
        before = everything(tmp_path / "elsewhere")
        assert upkeep.gc(path, older_than=0).removed == ()
        assert everything(tmp_path / "elsewhere") == before
        assert "no part of the recording: derived" in upkeep.verify(path).notes

    def test_what_the_system_does_not_give_stays(self, grown, monkeypatch):
        path, stale, _, damaged = grown
        opened = os.open

        def refused(name, *args, **kwargs):
            if str(name).endswith((stale.name, damaged.name)):
                raise PermissionError(13, "Permission denied")
            return opened(name, *args, **kwargs)

        monkeypatch.setattr(os, "open", refused)
        assert [one.file for one in upkeep.gc(path).removed] == ["derived/.tmp-old"]
