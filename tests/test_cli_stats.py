"""`actlens stats` on a recording of two steps (no framework needed)."""

from __future__ import annotations

import numpy as np
import pytest
from cli_run import CommandLine

from actlens.errors import DerivedWarning
from actlens.recorder import Recorder


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


def _lines(done):
    return [line.split() for line in done.out.splitlines()]


def test_a_line_for_each_layer(cli, two_steps):
    path, truth, _ = two_steps
    done = cli("stats", path)
    assert done.code == 0
    assert "note: rows of 2 steps together; --by step takes them apart" in done.err
    header, conv, fc, *rest = _lines(done)
    assert header[:2] == ["layer", "rows"]
    assert fc[:4] == ["fc", "200", "samples", "5"]
    assert f"{truth['fc'].mean(dtype='f8'):.4g}" in fc
    assert f"{truth['conv'].std(dtype='f8', ddof=1):.4g}" in conv
    assert rest[-1] == ["nothing", "looks", "broken"]


def test_by_step_and_where_and_labels(cli, two_steps):
    path, truth, _ = two_steps
    done = cli("stats", path, "f*", "--by", "step", "--labels", "label")
    header, first, second, *_ = _lines(done)
    assert "η²" in header
    assert (first[:4], second[:4]) == (["fc", "0", "100", "samples"], ["fc", "1", "100", "samples"])
    assert f"{truth['fc'][100:].mean(dtype='f8'):.4g}" in second
    assert "note" not in done.err
    alone = cli("stats", path, "fc", "--where", "step=1")
    assert f"{truth['fc'][100:].mean(dtype='f8'):.4g}" in _lines(alone)[1]


def test_problems_are_said(cli, tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 20)).astype("f4")
    values[:, 3:9] = 0
    values[4, 12] = np.nan
    with Recorder(tmp_path / "run") as rec:
        rec.write({"fc": values}, id=np.arange(50) + 100)
    said = cli("stats", tmp_path / "run").out
    assert "fc: 1 value is NaN, in 1 sample, first in ids 104" in said
    assert "fc: 6 of 20 units are dead (0 for every sample)" in said


def test_what_is_refused(cli, two_steps):
    path = two_steps[0]
    assert "layers=nothing matches no layer. The layers: conv, fc." in cli.refused("stats", path, "nothing")
    assert "by='epoch': there is no such column" in cli.refused("stats", path, "--by", "epoch")
    assert "labels='klass': there is no such column" in cli.refused("stats", path, "--labels", "klass")
    assert "unit='channel': layer 'conv' has no such axis" in cli.refused("stats", path, "--unit", "channel")
    assert "it does not exist" in cli.refused("stats", path / "no")


def test_a_second_time_it_is_read(cli, two_steps):
    path = two_steps[0]
    plain = cli("stats", path, "--by", "step", "--no-cache").out
    assert not (path / "derived").exists()
    assert cli("stats", path, "--by", "step").out == plain
    (file,) = (path / "derived").iterdir()
    before = file.stat().st_mtime_ns
    assert cli("stats", path, "--by", "step").out == plain
    assert [each.stat().st_mtime_ns for each in (path / "derived").iterdir()] == [before]
    listed = cli("info", path).out
    assert "stats" in listed
    assert "by=step" in listed
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(DerivedWarning, match="cannot be used: "):
        assert cli("stats", path, "--by", "step").out == plain
