"""A recording of every released version of the format opens for ever: tests/golden/, never written anew."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import actlens

GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*"))


LENGTHS = np.arange(12) % 4
MASK = np.arange(3) < LENGTHS[:, None]
MASK[5] = [True, False, True]  # a hole


def contents(version="1.0"):
    """What each of them holds, by formula; since 1.1 also tokens (12, 3, 2), of which those in MASK count."""
    rows = np.arange(12)
    return {
        "conv": (rows[:, None, None, None] + np.linspace(-1, 1, 8).reshape(1, 2, 2, 2)).astype("f4"),
        "fc[0]": (rows[:, None] / np.array([1, 2, 4])).astype(ml_dtypes.bfloat16),
        "fc:2": rows[:, None] % 5 == np.arange(5),
    } | ({} if version == "1.0" else {"tokens": np.arange(72, dtype="f2").reshape(12, 3, 2)})


def write(path):
    """How the newest was made: two ranks that share a sample, the first in two attempts; four shards."""
    for rank, until in [(0, 5), (0, 7), (1, 12)]:
        with actlens.Recorder(path, resume=rank == 0, rank=rank, ranks=2) as rec:
            for at in range(6 * rank, until, 4):
                write_rows(rec, slice(at, min(at + 4, until)))
                if at == 0:
                    rec.flush()


def write_rows(rec, rows):
    from actlens.activations import Activations

    batch = Activations(
        {key: value[rows] for key, value in contents("1.1").items()},
        {"conv": ("sample", "channel", "height", "width"), "tokens": ("sample", "token", "unit")},
    )
    ids = [f"ä{i}" for i in range(12)][rows]
    rec.write(batch, id=ids, label=np.arange(12)[rows] % 3, step=0, mask={"tokens": MASK[rows]})


def test_there_is_one_for_this_version():
    from actlens.format.schema import VERSION

    assert f"format-{VERSION[0]}.{VERSION[1]}" in [path.name for path in GOLDEN]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
@pytest.mark.parametrize("verify", ["stream", "all"])
def test_it_opens(path, verify):
    run = actlens.open(path, verify=verify)
    assert run.info["sealed"]
    assert run.info["shards"] == (3 if path.name == "format-1.0" else 4)
    for key, value in contents().items():
        assert run[key][:].tobytes() == value.tobytes()
    if path.name != "format-1.0":
        assert run.info["duplicates"] == 1
        assert run["tokens"].tokens[:].tobytes() == contents("1.1")["tokens"][MASK].tobytes()
        assert run["tokens"].tokens.columns["position"].tolist() == np.nonzero(MASK)[1].tolist()
        assert run["tokens"].axes == ("sample", "token", "unit")
    assert run.ids.tolist() == [f"ä{i}" for i in range(12)]
    assert run.columns["label"].tolist() == [i % 3 for i in range(12)]
    assert run["conv"].axes == ("sample", "channel", "height", "width")


def test_it_is_what_this_version_writes(tmp_path):
    write(tmp_path / "now")
    now, golden = actlens.open(tmp_path / "now"), actlens.open(GOLDEN[-1])
    assert now.layers == golden.layers
    flat = [{key: _flat(run[key]).tobytes() for key in run} for run in (now, golden)]
    assert flat[0] == flat[1]
    assert {**now.columns}.keys() == {**golden.columns}.keys()


def _flat(layer):
    return layer.tokens[:] if hasattr(layer, "tokens") else layer[:]
