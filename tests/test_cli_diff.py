"""`actlens diff`: exit code 0, 1 or 2, the table, and what is refused (no framework needed)."""

from __future__ import annotations

import importlib
import shutil

import numpy as np
import pytest
from cli_run import CommandLine

from actlens.recorder import Recorder


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def runs(tmp_path, rng):
    """A recording; the same, shuffled; and one whose second layer is twice as large. Two steps each."""
    acts = {"conv": rng.normal(size=(60, 3, 4)).astype("f4"), "fc": rng.normal(size=(60, 5)).astype("f4")}
    orders = {"a": np.arange(60), "same": rng.permutation(60), "other": np.arange(60)}
    for name, order in orders.items():
        with Recorder(tmp_path / name, durability="rename") as rec:
            for step in (0, 1):
                written = {key: value[order] * (1 + step) for key, value in acts.items()}
                if name == "other" and step == 1:
                    written["fc"] = 2 * written["fc"]
                rec.write(written, id=order, step=step)
    return tmp_path


def test_they_agree(cli, runs):
    done = cli("diff", runs / "a", runs / "same", "--where", "step=1")
    assert done.code == 0
    assert done.err == ""
    header, conv, fc, empty, verdict, rows = done.out.splitlines()
    assert header.split()[:2] == ["layer", "values"]
    assert conv.split()[:5] == ["conv", "720", "0", "0", "1.000000"]
    assert fc.split()[:2] == ["fc", "300"]
    assert (empty, verdict, rows) == (
        "",
        "all 2 layers agree (rtol=1e-05, atol=1e-05)",
        "60 samples compared",
    )


def test_one_layer_differs(cli, runs):
    done = cli("diff", runs / "a", runs / "other", "--where", "step=1")
    assert done.code == 1
    assert done.err == ""
    assert "first layer that diverges: fc (relative 1 > 1e-05); 1 of 2 diverge" in done.out
    assert "diagnosis: scale: b is a × 2." in done.out
    assert cli("diff", runs / "a", runs / "other", "--where", "step=0").code == 0
    assert cli("diff", runs / "a", runs / "other", "--where", "step=1", "--layer", "c*").code == 0
    assert cli("diff", runs / "a", runs / "other", "--where", "step=1", "--rtol", "1.5").code == 0
    tight = cli("diff", runs / "a", runs / "other", "--where", "step=1", "--rtol", "0.999", "--atol", "9")
    assert tight.code == 1
    assert "(rtol=0.999, atol=9)" in tight.out


def test_layers_of_other_names(cli, runs, tmp_path):
    with Recorder(tmp_path / "renamed", durability="rename") as rec:
        import actlens

        run = actlens.open(runs / "a").sel(step=0)
        rec.write({"Conv_0": run["conv"][:], "Dense_0": run["fc"][:]}, id=run.ids)
    done = cli("diff", runs / "a", tmp_path / "renamed", "--where", "step=0")
    assert done.code == 2  # the second has no column step
    done = cli("diff", runs / "same", tmp_path / "renamed", "--layer", "conv=Conv_0", "--layer", "fc=Dense_0")
    assert "ids stand more than once" in done.err
    one = tmp_path / "one"
    with Recorder(one, durability="rename") as rec:
        rec.write({"conv": run["conv"][:], "fc": run["fc"][:]}, id=run.ids)
    done = cli("diff", one, tmp_path / "renamed", "--layer", "conv=Conv_0", "--layer", "fc=Dense_0")
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:3] == ["conv", "Conv_0", "mapping"]
    by_cka = cli("diff", one, tmp_path / "renamed")
    assert by_cka.code == 0
    assert by_cka.out.splitlines()[2].split()[:3] == ["fc", "Dense_0", "CKA"]


def test_what_is_no_verdict_has_exit_code_2(cli, runs, monkeypatch):
    a = runs / "a"
    assert "it does not exist" in cli.refused("diff", a, runs / "no")
    assert "ids stand more than once" in cli.refused("diff", a, a)
    assert "layers=['relu'] matches none of a's layers" in cli.refused("diff", a, a, "--layer", "relu")
    assert "b has no such layer. It has conv, fc" in cli.refused("diff", a, a, "--layer", "conv=x")
    assert "rtol=-1.0; it takes" in cli.refused("diff", a, a, "--rtol", "-1")
    assert "--where 'step' is not COLUMN=VALUE" in cli.refused("diff", a, a, "--where", "step")
    assert "Missing argument 'RUN_B'" in cli.refused("diff", a)
    damaged = runs / "damaged"
    shutil.copytree(runs / "other", damaged)
    (shard,) = damaged.glob("shards/*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-3000:-2000] = bytes(1000)
    shard.write_bytes(data)
    said = cli.refused("diff", runs / "a", damaged, "--where", "step=1")  # 1 would say that they differ
    assert said.startswith("no verdict: ")
    assert str(shard.name) in said
    room = importlib.import_module("actlens.compare.diff")  # compare.diff itself is the function

    def broken(*args, **options):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(room, "diff", broken)
    said = cli.refused("diff", a, a)
    assert said == (
        "no verdict: the comparison failed: ZeroDivisionError: a fault of ours (--debug shows the traceback)"
    )
    monkeypatch.setattr(room, "diff", _no_file)
    assert cli.refused("diff", a, a) == "no verdict: /nowhere: No such file or directory"


def _no_file(*args, **options):
    raise FileNotFoundError(2, "No such file or directory", "/nowhere")


def test_help(cli):
    done = cli("diff", "--help")
    assert done.code == 0
    assert "Exit code 0 if all agree, 1 if one differs, 2 if nothing" in " ".join(done.out.split())
