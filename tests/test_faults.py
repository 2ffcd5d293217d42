"""The promises under faults, in short; `python benchmarks/faults.py` is the long form of the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import actlens
from actlens.format.local import LocalPlace

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from faults import app, calls, disk, flips, kills, order, pieces, traced
from faults.nursery import Nursery
from faults.strace import parse
from faults.tally import GOOD

SHORT = app.SHORT


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as server:
        yield server


def _kept(*tallies, some=GOOD):
    """Every promise was kept, and there was something to keep."""
    for tally in tallies:
        if tally.not_run:
            pytest.skip(tally.not_run)
        assert not tally.bad, (tally.fault, tally.counts, tally.notes)
    assert sum(tally.counts[kind] for tally in tallies for kind in some)


@pytest.mark.slow
@pytest.mark.parametrize(("writers", "shared"), [(1, False), (4, False), (4, True)])
def test_kill_9_at_random_instants(nursery, writers, shared):
    tally = kills.random_instants(nursery, SHORT.rounds // writers, writers=writers, shared=shared)
    _kept(tally, some=("harmless",))
    assert tally.tried == SHORT.rounds


@pytest.mark.slow
def test_kill_9_at_every_call(nursery):
    tally = kills.every_call(nursery, after=False)
    _kept(tally)
    assert tally.tried > 90


def test_a_call_that_fails_at_every_turn(nursery):
    tallies = calls.every_turn(nursery, all_codes=False)
    _kept(*tallies)
    assert len(tallies) == len(calls.CALLS) + 1


@pytest.mark.slow
def test_a_call_that_fails_at_the_border_of_the_process(nursery):
    _kept(*traced.every_turn(nursery, all_turns=False), some=("detected",))


@pytest.mark.slow
def test_a_disk_that_is_full(nursery):
    tally = disk.sizes(nursery, SHORT.sizes)
    _kept(tally)
    assert tally.counts["detected"]
    assert tally.counts["harmless"]  # the largest disks have room for all


@pytest.mark.slow
def test_bits_that_are_flipped(nursery):
    tallies = flips.single_bits(nursery, SHORT.flips)
    _kept(*tallies)
    assert sum(tally.tried for tally in tallies) >= SHORT.flips
    assert all(tally.counts["detected"] == tally.tried for tally in tallies if "sums" not in tally.fault)


@pytest.mark.slow
def test_pieces_that_are_damaged(nursery):
    tallies = pieces.every_kind(nursery, SHORT.pieces)
    _kept(*tallies, some=("detected",))
    assert {tally.tried for tally in tallies} == {SHORT.pieces}


@pytest.mark.slow
def test_the_order_of_every_commit(nursery):
    _kept(*order.commits(nursery, SHORT.orders))


NOTICED = {
    "early-acknowledgement": [
        ("other", lambda nursery, weak: order.commits(nursery, 1, weak=weak)),
        ("lost", lambda nursery, weak: [kills.every_call(nursery, after=False, weak=weak)]),
    ],
    "no-fsync": [("other", lambda nursery, weak: order.commits(nursery, 1, weak=weak))],
    "no-folder-fsync": [("other", lambda nursery, weak: order.commits(nursery, 1, weak=weak))],
    "no-rename": [("torn", lambda nursery, weak: [kills.every_call(nursery, after=True, weak=weak)])],
    "short-writes": [
        ("torn", lambda nursery, weak: calls.every_turn(nursery, all_codes=False, weak=weak, only="pwritev"))
    ],
    "no-clearing-up": [
        ("other", lambda nursery, weak: calls.every_turn(nursery, all_codes=False, weak=weak, only="fsync"))
    ],
    "no-digests": [("silent", lambda nursery, weak: flips.single_bits(nursery, 64, weak=weak))],
    "no-header-digests": [("silent", lambda nursery, weak: flips.single_bits(nursery, 64, weak=weak))],
    "no-chain": [("silent", lambda nursery, weak: pieces.every_kind(nursery, 9, weak=weak))],
}


@pytest.mark.parametrize(
    "weakness",
    [name if name == "no-digests" else pytest.param(name, marks=pytest.mark.slow) for name in NOTICED],
)
def test_the_tool_notices(nursery, weakness):
    """Of a test that cannot fail nothing is learnt: each weakness of actlens is found, and as what it is."""
    for kind, look in NOTICED[weakness]:
        tallies = look(nursery, (weakness,))
        if any(tally.not_run for tally in tallies):
            pytest.skip("this machine does not let processes be traced")
        assert sum(tally.counts[kind] for tally in tallies), [tally.counts for tally in tallies]


def test_what_the_writer_before_commits_at_the_last_moment_is_not_written_twice(tmp_path, monkeypatch):
    """Between the first look of one that goes on and its last, the writer before it ends."""
    first = actlens.Recorder(tmp_path / "r", durability="rename")
    first.write({"a": np.arange(10.0)})
    first.flush()
    alive = LocalPlace.alive

    def a_moment_later(self, writer):
        if first.rows == 10:
            first.write({"a": np.arange(10.0, 20.0)})
            first.close()
        return alive(self, writer)

    monkeypatch.setattr(LocalPlace, "alive", a_moment_later)
    with actlens.Recorder(tmp_path / "r", durability="rename", resume=True) as second:
        second.write({"a": np.arange(20.0)})
    assert actlens.open(tmp_path / "r").ids.tolist() == list(range(20))


def test_calls_that_another_thread_interrupts_are_put_together(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        '7 fsync(5</d/.tmp-1> <unfinished ...>\n8 write(3<pipe:[1]>, "ack 30\\n", 7) = 7\n'
        '7 <... fsync resumed>) = 0\n7 rename("/d/.tmp-1", "/d/a") = -1 EIO (Input/output error) (INJECTED)\n'
        "7 --- SIGCHLD {si_signo=SIGCHLD} ---\n8 +++ exited with 0 +++\n"
    )
    ack, sync, rename = parse(log)
    assert (sync.path, sync.result, sync.start, sync.end) == ("/d/.tmp-1", 0, 0, 2)
    assert (ack.texts, ack.is_before(rename), sync.is_before(ack)) == (["ack 30\\n"], True, False)
    assert (rename.texts, rename.result, rename.injected) == (["/d/.tmp-1", "/d/a"], -1, True)


@pytest.mark.slow
def test_the_table_and_the_exit_status(capsys):
    assert app.main(["disk", "flips", "--sizes", "2", "--flips", "8"]) == 0
    assert "| fault | tried | detected | harmless | lost | silent | torn | other |" in capsys.readouterr().out
    assert app.main(["flips", "--flips", "16", "--weak", "no-digests"]) == 1
    assert "silent: 0000000" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        app.main(["fire"])
