"""Several processes write one recording, without locks or messages; a sample of two of them counts once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from many_writers import row_of, write

import actlens
from actlens.errors import CorruptRecording, IdError, RecordingError, RecordingExists
from actlens.format.local import LocalPlace
from actlens.recorder import Recorder

PROGRAMS = Path(__file__).parent / "many_writers.py"


def _program(*args):
    result = subprocess.run(
        [sys.executable, str(PROGRAMS), *map(str, args)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def _is_whole(path, ids, *, duplicates=0):
    """Every sample once, with its numbers; checked also without the manifest."""
    for verify in ("stream", "all"):
        run = actlens.open(path, verify=verify)
        assert sorted(run.ids.tolist()) == sorted(ids)
        assert (run["a"][:] == row_of(run.ids)).all()
        assert (np.concatenate([*run["a"].chunks(3)]) == row_of(run.ids)).all()
        assert (run.columns["label"] == run.ids % 7).all()
        assert run.info["duplicates"] == duplicates
    return run


def _batch(ids):
    return {"a": row_of(ids)}, {"id": ids, "label": np.asarray(ids) % 7}


@pytest.mark.parametrize(
    ("ranks", "shards"), [(4, 10), pytest.param(16, 200, marks=pytest.mark.slow, id="16x200")]
)
def test_a_crowd_that_begins_at_once(tmp_path, ranks, shards):
    _program("crowd", tmp_path / "r", ranks, shards)
    run = _is_whole(tmp_path / "r", range(ranks * shards), duplicates=ranks - 1)
    assert run.info["sealed"]
    assert run.info["writers"] == ranks
    assert run.info["shards"] >= ranks * shards
    sealed = (tmp_path / "r/manifest.json").read_bytes()
    (tmp_path / "r/manifest.json").unlink()
    _is_whole(tmp_path / "r", range(ranks * shards), duplicates=ranks - 1)
    with Recorder(tmp_path / "r", rank=3, ranks=ranks, resume=True):  # one that finds nothing left to do
        pass
    assert (tmp_path / "r/manifest.json").read_bytes() == sealed


def test_sealers_at_once_write_the_same_bytes(tmp_path):
    for rank in range(3):
        write(tmp_path / "r", rank, range(rank, 30, 3), ranks=3, batch=2)
    _program("sealers", tmp_path / "r", 2, 100)
    _is_whole(tmp_path / "r", range(30))


def test_a_sealer_that_was_overtaken_seals_again(tmp_path, monkeypatch):
    """Rank 1 commits and seals after rank 0 has listed the shards, and before it writes the manifest."""
    from actlens.format import manifest

    replace, once = manifest.replace, []

    def slow(place, content):
        if not once:
            once.append(content)
            with Recorder(tmp_path / "r", rank=1, ranks=2, resume=True) as late:
                acts, given = _batch([5, 6])
                late.write(acts, **given)
        replace(place, content)

    write(tmp_path / "r", 1, [9], ranks=2, batch=2)
    monkeypatch.setattr(manifest, "replace", slow)
    write(tmp_path / "r", 0, [1, 2], ranks=2, batch=2)
    assert len(once[0].shards) == 4
    listed = json.loads((tmp_path / "r/manifest.json").read_text())
    assert len(listed["shards"]) == 5
    assert _is_whole(tmp_path / "r", [1, 2, 5, 6, 9]).info["sealed"]


def test_a_zombie_beside_its_successor(tmp_path):
    """The first attempt of rank 0 lives on while the second does the work again: each sample counts once."""
    zombie = Recorder(tmp_path / "r", rank=0)
    acts, given = _batch([0, 1, 2])
    zombie.write(acts, **given)
    zombie.flush()
    with Recorder(tmp_path / "r", rank=0, resume=True) as successor:
        for ids in ([0, 1, 2], [3, 4, 5], [6, 7]):
            acts, given = _batch(ids)
            assert successor.write(acts, **given) == (0 if ids[0] == 0 else len(ids))
    assert actlens.open(tmp_path / "r").info["sealed"]
    for ids in ([3, 4, 5], [6, 7, 8]):
        acts, given = _batch(ids)
        zombie.write(acts, **given)
    zombie.flush()
    run = _is_whole(tmp_path / "r", range(9), duplicates=5)
    assert not run.info["sealed"]  # the manifest knows nothing of what came after it
    zombie.close()
    run = _is_whole(tmp_path / "r", range(9), duplicates=5)
    assert run.ids.tolist() == [*range(9)]  # the earlier attempt's rows count, in its order
    assert run.sel(label=[3, 4]).ids.tolist() == [3, 4]
    assert run.take([8, 0]).ids.tolist() == [8, 0]


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of jax, about fork
def test_a_rank_that_died_is_gone_on_with(tmp_path):
    ids = [[*range(rank, 40, 4)] for rank in range(4)]
    for rank in range(4):
        child = os.fork()
        if child == 0:
            write(tmp_path / "r", rank, ids[rank], ranks=4, batch=2, abandon_after=3 if rank == 2 else None)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (7 if rank == 2 else 0)
    run = actlens.open(tmp_path / "r")
    assert run.rows == 36
    assert not run.info["sealed"]
    write(tmp_path / "r", 2, ids[2], ranks=4, batch=2, resume=True)
    assert _is_whole(tmp_path / "r", range(40)).info["sealed"]


def test_more_or_fewer_ranks_may_go_on(tmp_path):
    for rank in range(4):
        write(tmp_path / "r", rank, range(rank, 20, 4), ranks=4, batch=2)
    for rank in range(2):
        write(tmp_path / "r", rank, range(rank, 40, 2), ranks=2, batch=2, resume=True)
    run = _is_whole(tmp_path / "r", range(40))
    assert run.info["sealed"]
    assert run.rows == 40


BEGINNING = ("does not exist", "neither manifest.json nor shards", "no committed rows yet")


def test_a_reader_sees_whole_shards_while_others_write(tmp_path):
    ranks, stop, seen = 3, threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                run = actlens.open(tmp_path / "r", verify="all")
            except RecordingError as error:
                if not any(text in str(error) for text in BEGINNING):
                    raise
                continue
            assert (run["a"][:] == row_of(run.ids)).all()
            seen.append(run.rows)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        _program("crowd", tmp_path / "r", ranks, 60)
    finally:
        stop.set()
        reader.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_the_same_rank_twice_is_refused(tmp_path):
    with Recorder(tmp_path / "r", rank=1, ranks=3) as rec:
        rec.write({"a": np.ones((1, 1))}, id=[1])
        for rank, ranks in [(1, 3), (2, 4), (0, 1)]:
            with pytest.raises(RecordingExists, match="holds a recording already.*its own rank="):
                Recorder(tmp_path / "r", rank=rank, ranks=ranks)
        for rank in (0, 2):
            with Recorder(tmp_path / "r", rank=rank, ranks=3) as other:
                if rank:
                    other.write({"a": np.ones((1, 1))}, id=[2])
            assert not actlens.open(tmp_path / "r").info["sealed"] if rank else True
    assert actlens.open(tmp_path / "r").info["sealed"]
    for rank in range(3):
        with pytest.raises(RecordingExists, match="holds a recording already"):
            Recorder(tmp_path / "r", rank=rank, ranks=3)  # a new run, not a peer
    assert actlens.open(tmp_path / "r").ids.tolist() == [1, 2]


def test_ranks_must_name_their_samples(tmp_path):
    with Recorder(tmp_path / "r", ranks=2) as rec:
        with pytest.raises(RecordingError, match="rank 0 wrote rows without ids.*id=…"):
            rec.write({"a": np.ones((1, 1))})
        with Recorder(tmp_path / "r", rank=1, ranks=2) as other:
            with pytest.raises(RecordingError, match="rank 1 wrote rows without ids.*id=…"):
                other.write({"a": np.ones((1, 1))})
        rec.write({"a": np.ones((1, 1))}, id=[2])
    assert actlens.open(tmp_path / "r").ids.tolist() == [2]
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_counted_ids_that_several_ranks_go_on_with_are_an_error(tmp_path):
    """Rank 0 had counted from 0: the same number would be two samples."""
    with Recorder(tmp_path / "r") as rec:
        rec.write({"a": np.ones((2, 1))})
    with pytest.raises(IdError, match="ids were given for some batches and not for others"):
        with Recorder(tmp_path / "r", rank=1, ranks=2, resume=True) as other:
            other.write({"a": np.ones((1, 1))}, id=[0])
    assert actlens.open(tmp_path / "r").rows == 2


def test_ranks_with_other_choices_or_layers_are_refused(tmp_path):
    with Recorder(tmp_path / "r", sample=0.9, ranks=2) as rec:
        with pytest.raises(RecordingError, match="sample= was '0.9' .* is '1.0' now"):
            Recorder(tmp_path / "r", rank=1, ranks=2)
        rec.write({"a": np.ones((50, 1))}, id=range(50))
        rec.flush()
        with Recorder(tmp_path / "r", rank=1, ranks=2, sample=0.9) as other:
            with pytest.raises(RecordingError, match="the set of layers was .a. .* is .b. now"):
                other.write({"b": np.ones((50, 1))}, id=range(50, 100))
            other.write({"a": np.ones((50, 1))}, id=range(50, 100))
    run = actlens.open(tmp_path / "r")
    assert 80 < run.rows < 100


def test_a_rank_with_nothing_to_do(tmp_path):
    with Recorder(tmp_path / "r", ranks=2) as rec, Recorder(tmp_path / "r", rank=1, ranks=2):
        rec.write({"a": np.ones((1, 1))}, id=[1])
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_steps_tell_the_same_sample_apart(tmp_path):
    for rank in range(2):
        with Recorder(tmp_path / "r", rank=rank, ranks=2, resume=True) as rec:
            for step in range(2):
                rec.write({"a": row_of([7, 8 + rank])}, id=[7, 8 + rank], step=step)
    run = actlens.open(tmp_path / "r")
    assert [*zip(run.columns["step"].tolist(), run.ids.tolist(), strict=True)] == [
        (0, 7),
        (0, 8),
        (1, 7),
        (1, 8),
        (0, 9),
        (1, 9),
    ]


def test_drops_that_the_manifest_invents_are_noticed(tmp_path):
    from actlens.format import manifest
    from actlens.format.local import LocalPlace

    write(tmp_path / "r", 0, range(4), ranks=1, batch=4)
    place = LocalPlace(tmp_path / "r")
    known = manifest.load(place)
    entry = msgspec.structs.replace(known.shards[0], dropped=((2, 9),))
    manifest.replace(place, msgspec.structs.replace(known, shards=(entry, *known.shards[1:])))
    with pytest.raises(CorruptRecording, match="it drops rows that are not there"):
        actlens.open(tmp_path / "r")


def test_ranks_of_another_number_have_not_ended_yet(tmp_path):
    first = [Recorder(tmp_path / "r", rank=rank, ranks=3) for rank in range(3)]
    for rank, rec in enumerate(first):
        rec.write({"a": np.ones((2, 1))}, id=[rank * 2, rank * 2 + 1])
    first[0].close()
    first[1].close()
    first[2].abandon()
    again = [Recorder(tmp_path / "r", rank=rank, ranks=2, resume=True) for rank in range(2)]
    again[0].write({"a": np.ones((3, 1))}, id=[0, 2, 4])
    again[0].close()
    assert not actlens.open(tmp_path / "r").info["sealed"]  # rank 1 of 3 had ended, rank 1 of 2 has not
    again[1].close()
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_ranks_with_nothing_left_seal_what_was_of_more(tmp_path):
    first = [Recorder(tmp_path / "r", rank=rank, ranks=3) for rank in range(3)]
    first[0].write({"a": np.ones((2, 1))}, id=[0, 1])
    first[0].close()
    first[1].close()
    first[2].abandon()
    for rank in range(2):
        with Recorder(tmp_path / "r", rank=rank, ranks=2, resume=True) as rec:
            rec.write({"a": np.ones((1, 1))}, id=[rank])
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_two_programs_that_begin_at_once_do_not_seal_a_mixture(tmp_path):
    recs = [Recorder(tmp_path / "r", rank=rank, ranks=2) for rank in range(2)]
    for rank, rec in enumerate(recs):
        rec.describe(model="Net", layers={"a": f"function f ({rank})"})
        rec.write({"a": np.ones((1, 1))}, id=[rank])
    recs[0].close()
    with pytest.raises(RecordingError, match=r"layers\['a'\]= was 'function f \(0\)'"):
        recs[1].close()
    assert not actlens.open(tmp_path / "r").info["sealed"]


def test_a_manifest_that_a_peer_makes_meanwhile_is_no_foreign_file(tmp_path, monkeypatch):
    peers = []
    look = LocalPlace.foreign

    def late(place):
        if not peers:
            peers.append(None)  # it looks as well
            peers.append(Recorder(tmp_path / "r", rank=1, ranks=2))
        return look(place)

    monkeypatch.setattr(LocalPlace, "foreign", late)
    with Recorder(tmp_path / "r", rank=0, ranks=2) as rec:
        rec.write({"a": np.ones((1, 1))}, id=[0])
    peers[1].close()
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_a_folder_that_comes_and_goes_is_never_called_a_file(tmp_path):
    folder, done = tmp_path / "r", threading.Event()

    def come_and_go():
        while not done.is_set():
            folder.mkdir()
            folder.rmdir()

    peer = threading.Thread(target=come_and_go)
    peer.start()
    try:
        seen = [LocalPlace(folder).foreign() for _ in range(3000)]
    finally:
        done.set()
        peer.join()
    assert not any(seen)
