"""`actlens plot …`: each picture into a file, and each refusal."""

from __future__ import annotations

import numpy as np
import pytest
from cli_run import CommandLine

import actlens
from actlens import reduce

pytest.importorskip("matplotlib")


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def run(two_steps):
    return two_steps[0]


@pytest.fixture
def maps(tmp_path, rng):
    """A recording whose layer has named axes, as an adapter gives them."""
    from actlens.activations import Activations

    arrays = {"conv": rng.normal(size=(4, 5, 6, 7)).astype("f4")}
    with actlens.Recorder(tmp_path / "maps") as rec:
        rec.write(Activations(arrays, {"conv": ("sample", "channel", "height", "width")}), id=list("abcd"))
    return tmp_path / "maps"


@pytest.fixture
def pca(run, tmp_path):
    path = tmp_path / "pca.safetensors"
    reduce.pca(actlens.open(run).sel(step=1)["fc"], n_components=4).save(path)
    return path


def pixels(path):
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_scatter(cli, pca, tmp_path):
    out = tmp_path / "s.png"
    done = cli("plot", "scatter", pca, "--components", "0,1", "--color", "label", "--out", out)
    assert done.out == f"wrote {out}\n"
    assert len(np.unique(pixels(out).reshape(-1, 3), axis=0)) > 50


def test_scatter_in_three_dimensions(cli, pca, tmp_path):
    assert cli("plot", "scatter", pca, "--components", "0,1,2", "--out", tmp_path / "s.png").code == 0


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_the_suffix_is_the_format(cli, pca, tmp_path, suffix, start):
    out = tmp_path / f"scree.{suffix}"
    assert cli("plot", "scree", pca, "--out", out).code == 0
    assert out.read_bytes().startswith(start)


def test_heatmap_of_samples_and_of_one(cli, run, tmp_path):
    out = tmp_path / "h.png"
    many = ["plot", "heatmap", run, "fc", "--where", "step=0", "--out", out]
    assert cli(*many, "--color", "label", "--sort").code == 0
    first = pixels(out)
    assert cli(*many, "--rows", "0:10", "--force").code == 0
    assert first.shape != pixels(out).shape or not np.array_equal(first, pixels(out))
    one = ["plot", "heatmap", run, "conv", "--where", "step=0", "--force", "--out", out]
    assert cli(*one, "--id", "42").code == 0
    by_id = pixels(out)
    assert cli(*one, "--rows", "42").code == 0
    assert np.array_equal(by_id, pixels(out))
    assert cli(*one, "--mean").code == 0


def test_feature_maps(cli, maps, tmp_path):
    out = tmp_path / "f.png"
    assert cli("plot", "feature-maps", maps, "conv", "--id", "c", "--channels", 3, "--out", out).code == 0
    by_id = pixels(out)
    command = ["plot", "feature-maps", maps, "conv", "--channels", 3, "--out", out, "--force"]
    assert cli(*command, "--row", 2).code == 0
    assert np.array_equal(by_id, pixels(out))
    assert cli(*command).code == 0
    assert not np.array_equal(by_id, pixels(out))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["scatter", "PCA"], "draws 2 or 3 components; this embedding has 4"),
        (["scatter", "PCA", "--components", "0,x"], "--components '0,x' is not a list of whole numbers"),
        (["scatter", "PCA", "--components", "0,9"], "component 9 is out of range"),
        (["scatter", "PCA", "--components", "0,1", "--color", "nope"], "no column 'nope' to colour by"),
        (["scatter", "RUN"], "is not a saved Embedding"),
        (["scatter", "no.safetensors"], "there is no such file"),
        (["heatmap", "RUN", "conv"], "plot.heatmap draws many samples of (samples, units)"),
        (["heatmap", "RUN", "fc", "--rows", "first"], "--rows 'first' is neither a number"),
        (["heatmap", "RUN", "fc", "--rows", "0:9:0"], "--rows '0:9:0' is neither"),
        (["heatmap", "RUN", "fc", "--rows", ""], "--rows '' is neither"),
        (["heatmap", "RUN", "fc", "--rows", "9999"], "out of range"),
        (["heatmap", "RUN", "fc", "--rows", "1", "--id", "1"], "--rows and --id exclude each other"),
        (["heatmap", "RUN", "fc", "--id", "1"], "--id 1: 2 rows have this id"),
        (["heatmap", "RUN", "fc", "--id", "x"], "--id x: no row has this id"),
        (["heatmap", "RUN", "fc", "--sort"], "sort=True sorts by color="),
        (["feature-maps", "RUN", "fc"], "plot.feature_maps needs axes named channel, height and width"),
        (["feature-maps", "MAPS", "conv", "--row", "9"], "out of range"),
        (["feature-maps", "MAPS", "conv", "--row", "1", "--id", "a"], "--row and --id exclude each other"),
        (["feature-maps", "MAPS", "conv", "--channels", "0"], "channels=0"),
    ],
)
def test_what_cannot_be_drawn(cli, run, maps, pca, tmp_path, words, text):
    known = {"RUN": run, "PCA": pca, "MAPS": maps}
    out = tmp_path / "x.png"
    assert text in cli.refused("plot", *(known.get(word, word) for word in words), "--out", out)
    assert not out.exists()


def test_a_scree_needs_a_pca(cli, run, tmp_path):
    pytest.importorskip("sklearn")
    path = tmp_path / "t.safetensors"
    reduce.tsne(actlens.open(run).sel(step=1)["fc"], random_state=0).save(path)
    assert "explained variance" in cli.refused("plot", "scree", path, "--out", tmp_path / "x.png")


def test_outputs(cli, pca, tmp_path):
    command = ["plot", "scree", pca, "--out"]
    assert "must end in .png or .pdf or .svg" in cli.refused(*command, tmp_path / "x.gif")
    (tmp_path / "x.png").write_text("mine")
    assert "--force replaces it" in cli.refused(*command, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_text() == "mine"


def test_a_disk_that_refuses_leaves_nothing_behind(cli, pca, tmp_path, monkeypatch):
    def full(self, path, **options):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    out = tmp_path / "x.png"
    assert cli.refused("plot", "scree", pca, "--out", out, code=1) == (
        f"{out} could not be written: No space left on device."
    )
    assert not list(tmp_path.glob(".x*"))
