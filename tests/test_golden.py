"""A recording of every released version of the format opens for ever: tests/golden/, never written anew."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import actlens

GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*"))


def contents():
    """What each of them holds, by formula."""
    rows = np.arange(12)
    return {
        "conv": (rows[:, None, None, None] + np.linspace(-1, 1, 8).reshape(1, 2, 2, 2)).astype("f4"),
        "fc[0]": (rows[:, None] / np.array([1, 2, 4])).astype(ml_dtypes.bfloat16),
        "fc:2": rows[:, None] % 5 == np.arange(5),
    }


def write(path):
    """How the first one was made; two writers, three shards."""
    from actlens.activations import Activations

    acts = contents()
    for until in (7, 12):
        with actlens.Recorder(path, resume=True) as rec:
            for at in range(0, until, 4):
                rows = slice(at, min(at + 4, until))
                batch = Activations(
                    {key: value[rows] for key, value in acts.items()},
                    {"conv": ("sample", "channel", "height", "width")},
                )
                ids = [f"ä{i}" for i in range(12)][rows]
                rec.write(batch, id=ids, label=np.arange(12)[rows] % 3, step=0)
                if at == 0:
                    rec.flush()


def test_there_is_one_for_this_version():
    from actlens.format.schema import VERSION

    assert f"format-{VERSION[0]}.{VERSION[1]}" in [path.name for path in GOLDEN]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
@pytest.mark.parametrize("verify", ["stream", "all"])
def test_it_opens(path, verify):
    run = actlens.open(path, verify=verify)
    assert run.info["sealed"]
    assert run.info["shards"] == 3
    for key, value in contents().items():
        assert run[key][:].tobytes() == value.tobytes()
    assert run.ids.tolist() == [f"ä{i}" for i in range(12)]
    assert run.columns["label"].tolist() == [i % 3 for i in range(12)]
    assert run["conv"].axes == ("sample", "channel", "height", "width")


def test_it_is_what_this_version_writes(tmp_path):
    write(tmp_path / "now")
    now, golden = actlens.open(tmp_path / "now"), actlens.open(GOLDEN[-1])
    assert now.layers == golden.layers
    assert {key: now[key][:].tobytes() for key in now} == {key: golden[key][:].tobytes() for key in golden}
    assert {**now.columns}.keys() == {**golden.columns}.keys()
