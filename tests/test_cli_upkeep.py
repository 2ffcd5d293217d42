"""`actlens verify, repair, copy, merge, gc`, and what `actlens info` says of the state of a recording."""

from __future__ import annotations

import os
import time

import pytest
import upkeep_cases as cases
from cli_run import CommandLine
from upkeep_cases import contents, flip, layout, name, shards

import actlens
from actlens import upkeep


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def run(tmp_path):
    cases.made(tmp_path / "run", samples=20)
    return tmp_path / "run"


def test_verify_says_what_the_function_says(cli, run):
    done = cli("verify", run)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{upkeep.verify(run)}\n"
    assert f"{run}: ok" in done.out
    shard = shards(run)[1]
    flip(shard, layout(shard)[0]["act:h"][0])
    done = cli("verify", run)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{run}: 1 problem (")
    assert lines[2].split() == ["file", "tensor", "block", "bytes", "what", "is", "wrong"]
    assert lines[3].split()[:3] == [name(run, shard), "act:h", "0"]
    assert "note  sealed" in lines


def test_repair_says_what_was_done_and_what_is_lost(cli, run):
    shard = shards(run)[0]
    flip(shard, layout(shard)[0]["act:h"][0])
    done = cli("repair", run)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{run}: repaired, ")
    assert f"set aside: {name(run, shard)} → {name(run, shard).replace('shards/', 'set-aside/')}" in done.out
    assert "ids 'é0' (step 0), 'é1' (step 0)" in done.out
    assert "with resume=True" in done.out
    assert cli("verify", run).code == 0
    assert cli("repair", run).out.startswith(f"{run}: nothing to repair, ")
    rows = [line.split(maxsplit=1) for line in cli("info", run).out.splitlines()]
    assert ["lost", f"1 shard given up by a repair: {name(run, shard)}"] in rows


def test_copy(cli, run, tmp_path):
    done = cli("copy", run, tmp_path / "copy")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"<Recording {tmp_path / 'copy'}: 40 rows × 2 layers (h, fc)>\n"
    assert contents(tmp_path / "copy") == contents(run)
    assert "is there already (a folder that is not empty)" in cli.refused("copy", run, tmp_path / "copy")
    flip(shards(run)[0], 100)
    said = cli.refused("copy", run, tmp_path / "other", code=1)
    assert f"{run} was not copied, it is damaged: {name(run, shards(run)[0])}: its header" in said
    assert not (tmp_path / "other").exists()


def test_merge_takes_the_target_last(cli, run, tmp_path):
    cases.made(tmp_path / "more", first=100, samples=3)
    done = cli("merge", run, tmp_path / "more", tmp_path / "all")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"<Recording {tmp_path / 'all'}: 46 rows × 2 layers (h, fc)>\n"
    assert actlens.open(tmp_path / "all").ids.tolist()[-1] == "é102"
    before = contents(tmp_path)
    assert "is there already" in cli.refused("merge", tmp_path / "new", run, tmp_path / "more")
    assert "is there already" in cli.refused("merge", run, tmp_path / "more")
    assert "Missing argument 'SOURCE'" in cli.refused("merge", run)
    assert "stand in two of the sources" in cli.refused(
        "merge", run, tmp_path / "all", tmp_path / "x", code=1
    )
    assert contents(tmp_path) == before
    assert "Sources first, the target last" in " ".join(cli("merge", "--help").out.split())


def test_gc(cli, run):
    orphan = run / ".tmp-1"
    orphan.write_bytes(b"123")
    then = time.time() - 5 * 3600
    os.utime(orphan, (then, then))
    assert cli("gc", run).out == f"{run}: nothing removed (0 B)\n"
    words = ["gc", run, "--older-than", "4"]
    assert cli(*words, "--dry-run").out == f"{run}: 1 would be removed (3 B)\n  .tmp-1 (3 B)\n"
    assert orphan.exists()
    assert cli(*words).out == f"{run}: 1 removed (3 B)\n  .tmp-1 (3 B)\n"
    assert not orphan.exists()
    for hours in ("-1", "nan", "inf"):
        said = cli.refused("gc", run, "--older-than", hours)
        assert said == f"--older-than {hours} is not a number of hours of at least 0."


@pytest.mark.parametrize("words", [["verify"], ["repair"], ["gc"], ["copy", "to"], ["merge", "to"]])
def test_what_is_no_recording(cli, tmp_path, words):
    command, *target = words
    said = cli.refused(command, tmp_path / "no", *(tmp_path / one for one in target))
    assert said == (
        f"no recording at {tmp_path / 'no'}: it does not exist. "
        "A recording is a folder with manifest.json and shards/."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [("repair", "@"), ("gc", "@"), ("copy", "run", "@"), ("merge", "run", "@"), ("merge", "@", "run", "to")],
)
def test_where_no_address_does(cli, run, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for at in ("s3://me:secret@bucket/x", "https://me:secret@bucket/x?token=secret"):
        said = cli.refused(*(at if word == "@" else word for word in words))
        assert f"{at[: at.index('me')]}bucket/x is an address, and " in said
        assert "copy as what is copied" in said
        assert "secret" not in said
        assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_info_shows_the_state(cli, tmp_path):
    path = tmp_path / "run"
    cases.two_ranks(path)
    writer = shards(path)[0].parent
    (writer / ".tmp-1").write_bytes(b"123")
    (path / ".tmp-2").write_bytes(b"1")
    rows = [line.split(maxsplit=1) for line in cli("info", path).out.splitlines()]
    assert ["writers", "2"] in rows
    assert ["duplicates", "8 rows that an earlier writer has, left out"] in rows
    assert ["orphans", "2 temporary files of dead writers, 4 B (see: actlens gc)"] in rows
    lengths = actlens.open(path)["h"].lengths
    (layer,) = [line.split() for line in cli("info", path).out.splitlines() if line.startswith("h ")]
    size = f"({lengths.min()} to {lengths.max()})"
    assert " ".join(layer).startswith(f"h 88×{size}×8 float32 sample token axis2")
    assert "lost" not in {row[0] for row in rows if row}
