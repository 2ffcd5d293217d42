"""`actlens info` and `actlens reduce` on a recording of two steps (no framework needed)."""

from __future__ import annotations

import numpy as np
import pytest
from cli_run import CommandLine

import actlens
from actlens.recorder import Recorder
from actlens.reduce import Embedding


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def run(two_steps):
    return two_steps[0]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "z.safetensors"


def test_info(cli, run):
    said = cli("info", run).out
    assert f"{run}: 200 rows × 2 layers" in said
    assert "sealed" in said
    rows = [line.split(maxsplit=3) for line in said.splitlines()]
    assert ["conv", "200×3×4×2", "float32", "sample axis1 axis2 axis3  96 B"] in rows
    assert ["id", "int64", "100", "0 … 99"] in rows
    assert ["label", "text", "7", "class 0, class 1, class 2, class 3, class 4, class 5, class 6"] in rows


def test_info_of_results(cli, run, out):
    assert "derived" not in cli("info", run).out
    cli("reduce", run, "fc", "--method", "pca", "--out", out, "--n-components", 3)
    (file,) = (run / "derived").iterdir()
    (line,) = [line for line in cli("info", run).out.splitlines() if line.startswith("embedding")]
    assert "fc     method=pca, n_components=3, random_state=0, whiten=False" in line
    assert line.endswith("current")
    file.write_bytes(file.read_bytes()[:-1])
    (line,) = [line for line in cli("info", run).out.splitlines() if line.startswith("embedding")]
    assert "damaged: " in line
    said = cli("verify", run).out
    assert ": ok (" in said
    assert f"derived  derived/{file.name}: damaged" in said
    assert f"derived/{file.name}" in cli("gc", run, "--older-than", 0).out
    assert not file.exists()


def test_info_of_what_is_no_recording(cli, tmp_path):
    assert "it does not exist" in cli.refused("info", tmp_path / "no")
    (tmp_path / "file").write_text("")
    assert "it is a file" in cli.refused("info", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "neither manifest.json nor shards" in cli.refused("info", tmp_path / "empty")


def test_info_of_a_damaged_recording(cli, run):
    (run / "manifest.json").write_text("{")
    assert "manifest.json" in cli.refused("info", run, code=1)


def test_reduce_writes_an_embedding_and_says_so(cli, run, out, two_steps):
    done = cli("reduce", run, "fc", "--method", "pca", "--out", out, "--where", "step=1", "--n-components", 3)
    z = Embedding.load(out)
    assert (z.points.shape, z.method, z.step) == ((100, 3), "pca", 1)
    assert f"wrote {out}" in done.out
    assert "fc · pca · 100 samples × 3" in done.out
    truth = two_steps[1]["fc"][100:]
    centred = truth - truth.mean(axis=0)
    expected = np.linalg.svd(centred, compute_uv=False)[:3] ** 2 / 99
    np.testing.assert_allclose(z.explained_variance, expected, rtol=1e-6)


def test_rows_of_several_steps_are_pointed_out(cli, run, out):
    done = cli("reduce", run, "fc", "--method", "pca", "--out", out)
    assert done.err == "note: rows of 2 steps together; --where step=… takes one, --by step all\n"


def test_where_joins_columns_and_collects_values(cli, run, out):
    where = ["--where", "step=0", "--where", "label=class 3", "--where", "label=class 5"]
    cli("reduce", run, "fc", "--method", "pca", "--out", out, *where)
    z = Embedding.load(out)
    assert set(z.columns["label"]) == {"class 3", "class 5"}
    assert set(z.columns["step"]) == {0}


def test_many_axes_need_a_choice(cli, run, out):
    command = ["reduce", run, "conv", "--method", "pca", "--out", out, "--where", "step=0"]
    said = cli.refused(*command)
    assert "(sample, axis1, axis2, axis3)" in said
    assert "--flatten makes every value a feature" in said
    assert not out.exists()
    cli(*command, "--flatten")
    assert Embedding.load(out).components.shape == (2, 24)
    cli(*command, "--mean", "--force")
    # Axes of numpy arrays have no names that tell positions: all but the last are averaged.
    assert Embedding.load(out).components.shape == (2, 2)
    assert "exclude each other" in cli.refused(*command, "--mean", "--flatten", "--force")


def test_flatten_and_mean_change_nothing_where_no_choice_is_needed(cli, run, out):
    command = ["reduce", run, "fc", "--method", "pca", "--out", out, "--where", "step=0", "--force"]
    points = []
    for flag in ([], ["--flatten"], ["--mean"]):
        cli(*command, *flag)
        points.append(Embedding.load(out).points)
    assert np.array_equal(points[0], points[1])
    assert np.array_equal(points[0], points[2])


def test_tsne_twice_is_the_same(cli, run, out):
    pytest.importorskip("sklearn")
    command = ["reduce", run, "fc", "--method", "tsne", "--out", out, "--where", "step=0", "--force"]
    cli(*command)
    first = Embedding.load(out)
    cli(*command)
    assert np.array_equal(first.points, Embedding.load(out).points)
    assert first.parameters["random_state"] == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--where", "step=99"], "no row has step=99"),
        (["--where", "step=x"], "--where step=x: column 'step' holds whole numbers."),
        (["--where", "score=x"], "column 'score' holds numbers."),
        (["--where", "nope=1"], "no column 'nope'"),
        (["--where", "step"], "--where 'step' is not COLUMN=VALUE"),
        (["--where", "=1"], "--where '=1' is not COLUMN=VALUE"),
        (["--n-components", "9"], "n_components=9"),
        (["--where", "step=0", "--where", "label=nope"], "no row has label='nope'"),
    ],
)
def test_what_cannot_be_reduced(cli, run, out, words, text):
    assert text in cli.refused("reduce", run, "fc", "--method", "pca", "--out", out, *words)
    assert not out.exists()


def test_an_unknown_layer(cli, run, out):
    assert "no layer 'fc9'" in cli.refused("reduce", run, "fc9", "--method", "pca", "--out", out)


def test_the_output_is_looked_at_first(cli, run, tmp_path):
    command = ["reduce", run, "fc", "--method", "pca", "--where", "step=0", "--out"]
    assert "must end in .safetensors" in cli.refused(*command, tmp_path / "z.txt")
    assert "there is no folder" in cli.refused(*command, tmp_path / "no" / "z.safetensors")
    assert "is a folder" in cli.refused(*command, tmp_path)


def test_an_existing_file_is_replaced_only_by_force(cli, run, out):
    out.write_text("mine")
    command = ["reduce", run, "fc", "--method", "pca", "--where", "step=0", "--out", out]
    assert cli.refused(*command) == f"{out} exists; nothing was touched. --force replaces it."
    assert out.read_text() == "mine"
    assert cli(*command, "--force").code == 0
    assert len(Embedding.load(out)) == 100


def test_a_disk_that_refuses(cli, run, out, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device", "/somewhere/.aside.part")

    monkeypatch.setattr(Embedding, "save", full)
    command = ["reduce", run, "fc", "--method", "pca", "--where", "step=0", "--out", out]
    assert cli.refused(*command, code=1) == f"{out} could not be written: No space left on device."


def test_a_missing_package_names_the_extra(cli, run, out, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    done = cli("reduce", run, "fc", "--method", "umap", "--where", "step=0", "--out", out)
    assert done.code == 1
    assert "umap-learn" in done.err


@pytest.fixture
def ragged(tmp_path):
    with Recorder(tmp_path / "ragged") as rec:
        values = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")
        rec.write({"h": values}, lengths=[5, 1, 3, 2, 4, 5], label=list("aabbcc"))
    return tmp_path / "ragged"


def test_ragged_rows(cli, ragged, out, tmp_path):
    done = cli("reduce", ragged, "h", "--method", "pca", "--tokens", "--out", out)
    assert "20 samples × 2 · columns: sample, position, label" in done.out
    done = cli("reduce", ragged, "h", "--method", "pca", "--mean", "--force", "--out", out)
    assert "6 samples × 2" in done.out
    text = cli.refused("reduce", ragged, "h", "--method", "pca", "--out", tmp_path / "y.safetensors")
    assert "has a different number of positions (axis 'token') in each sample: --tokens" in text
    picture = tmp_path / "h.png"
    text = cli.refused("plot", "heatmap", ragged, "h", "--tokens", "--mean", "--out", picture)
    assert "--mean and --tokens exclude each other" in text
    done = cli("plot", "heatmap", ragged, "h", "--tokens", "--color", "label", "--out", picture)
    assert (done.code, picture.exists()) == (0, True)
    text = cli.refused("plot", "feature-maps", ragged, "h", "--out", tmp_path / "f.png")
    assert "--tokens takes every position as a row" in text
    assert "6×(1 to 5)×4" in cli("info", ragged).out


def test_reduce_leaves_out_what_is_not_finite(cli, out, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 5)).astype("f4")
    x[[3, 7]] = np.nan
    with actlens.Recorder(tmp_path / "nan") as rec:
        rec.write({"fc": x})
    command = ["reduce", tmp_path / "nan", "fc", "--method", "pca", "--out", out]
    assert "NaN or inf in 2 rows (ids: 3, 7)" in cli.refused(*command)
    done = cli(*command, "--nan", "drop")
    assert "28 samples" in done.out
    assert "note: 2 rows with NaN or inf left out" in done.err


def test_reduce_to_a_share_of_the_variance_and_its_quality(cli, run, out):
    command = ["reduce", run, "fc", "--method", "pca", "--out", out, "--where", "step=0"]
    done = cli(*command, "--n-components", "0.9", "--quality")
    kept = Embedding.load(out).explained_variance_ratio.sum()
    assert kept >= 0.9
    assert "10-NN recall" in done.out
    assert "--n-components 'two' is no number" in cli.refused(*command, "--force", "--n-components", "two")


def test_reduce_many_steps_and_draw_them(cli, run, out, tmp_path):
    pytest.importorskip("matplotlib")
    done = cli("reduce", run, "fc", "--method", "pca", "--out", out, "--by", "step")
    assert "Alignment(step 0 … 1 · 2 frames · joint" in done.out
    assert "note" not in done.err
    assert cli("plot", "trajectory", out, "--color", "label", "--out", tmp_path / "t.png").code == 0
    command = ["reduce", run, "fc", "--method", "pca", "--out", out, "--force", "--by", "step"]
    assert "· none ·" in cli(*command, "--align", "false").out
    assert "align='sideways'" in cli.refused(*command, "--align", "sideways")
    assert "--method pacmap takes no --by" in cli.refused(
        "reduce", run, "fc", "--method", "pacmap", "--out", tmp_path / "p.safetensors", "--by", "step"
    )


def test_a_second_time_it_is_read(cli, run, out):
    command = ["reduce", run, "fc", "--method", "pca", "--out", out, "--where", "step=1", "--force"]
    cli(*command, "--no-cache")
    assert not (run / "derived").exists()
    cli(*command)
    assert len(list((run / "derived").iterdir())) == 1
    cli(*command)
    assert len(list((run / "derived").iterdir())) == 1
