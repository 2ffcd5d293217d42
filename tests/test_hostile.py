"""Every bad file and folder gives an error of ours, quickly and in little memory; and what opens is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_run import CommandLine
from hostile import forge
from hostile.cases import all_cases
from hostile.worker import make

import actlens
from actlens.errors import CorruptRecording, ReadFailed

CASES = all_cases()
SECONDS = 1.0
KIB = 64 << 10


def names(*, slow):
    return [name for name, case in CASES.items() if case.slow is slow]


def tried(folder, wanted):
    """Try cases in a process of their own; give what came of each."""
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    done = subprocess.run(
        [sys.executable, "-m", "hostile.worker", folder, *wanted],
        env=env | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {result["name"]: result for result in map(json.loads, done.stdout.splitlines())}


SOME = names(slow=False)[::8]  # of every room of the corpus; the others take a minute together
OTHERS = [name for name in names(slow=False) if name not in SOME]


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    return tried(tmp_path_factory.mktemp("hostile"), SOME)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return tried(tmp_path_factory.mktemp("hostile"), OTHERS)


@pytest.mark.parametrize("name", SOME)
def test_a_bad_recording(some, name):
    judge(some[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_another_bad_recording(others, name):
    judge(others[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", names(slow=True))
def test_a_bad_recording_that_takes_long_to_make(tmp_path, name):
    judge(tried(tmp_path, [name])[name])


def judge(result):
    for one in result["tries"]:
        told = json.dumps(one, indent=1, ensure_ascii=False)
        assert one["made"] == 0, f"the forger failed: {told}"
        assert one["status"] == 0, f"the child ended by itself: {told}"
        for done in one["passes"]:
            assert not done["bare"], told
            assert done["slowest"] < SECONDS, told
            assert done["kib"] < KIB, told
            if done["verify"] != "none":  # which asks for no more than headers
                assert not done["wrong"] or result["other"], told
                judge_errors(done["errors"], result["refused"], told)


def judge_errors(errors, refused, told):
    """`refused` is what an error says; "" where there is none, and "|…" where there may be one."""
    if not refused:
        assert not errors, told
    elif errors or not refused.startswith("|"):
        assert any(re.search(refused.removeprefix("|"), text) for text in errors), told
    for text in errors:
        assert len(text) < 2000, told
        if not text.startswith("NotFound"):
            assert re.search(r"/(run|again)\b", text), f"the file is not named: {told}"


def test_there_are_many():
    assert len(CASES) >= 80


FEW = [
    "a file of 3 bytes",
    "header length 2^63",
    "16 MiB of brackets",
    "a field nested 100,000 deep",
    "rows = 2^48",
    "offsets that wrap around",
    "no block sums",
    "path: NUL",
    "manifest: a FIFO",
    "shard: a link to /dev/zero",
    "the hundred-millionth shard",
]


@pytest.mark.parametrize("name", FEW)
def test_the_command_line_says_it_in_one_line(tmp_path, capsys, name):
    case = CASES[name]
    folder = forge.good(tmp_path / "run", shard_bytes=2000 if case.several else 1 << 20)
    make(case, "alone" if case.relisted else "", folder)
    said = CommandLine(capsys).refused("info", folder, code=1)
    assert re.search(case.refused, said)
    assert str(folder) in said
    assert said.isprintable()


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(ReadFailed, match="cannot read .*File name too long"):
        actlens.open(tmp_path / ("a" * 5000))


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    folder = forge.good(tmp_path / "run")

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(ReadFailed, match=r"cannot read .*/shards: Permission denied"):
        actlens.open(folder)


def test_a_file_cut_short_before_it_is_mapped(tmp_path):
    folder = forge.good(tmp_path / "run")
    run = actlens.open(folder, mmap=True)
    assert run["fc"][0].shape == (40,)
    os.truncate(forge.shard(folder), 4200)
    with pytest.raises(CorruptRecording, match="it ends before its data; it was cut short"):
        run["fc"][:]


def test_one_long_text_does_not_make_all_of_them_long(tmp_path):
    rows = 3000
    texts = np.array(["ä", "b"] * (rows // 2))
    with actlens.Recorder(tmp_path / "run", durability="rename", shard_bytes=1) as rec:
        rec.write({"a": np.zeros((rows, 1), "f4")}, label=texts)
        rec.write({"a": np.zeros((1, 1), "f4")}, label=["z" * 100_000])
        rec.write({"a": np.zeros((1, 1), "f4")}, label=[""])
    run = actlens.open(tmp_path / "run")
    label = run.columns["label"]
    assert label.dtype == np.dtypes.StringDType()
    assert label.tolist() == [*texts.tolist(), "z" * 100_000, ""]
    assert run.sel(label="b").rows == rows // 2
    assert run.sel(label="").ids.tolist() == [rows + 1]


def test_one_value_of_a_layer_of_single_numbers(tmp_path):
    with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
        rec.write({"loss": np.arange(5.0)})
    assert actlens.open(tmp_path / "run")["loss"][3] == 3
