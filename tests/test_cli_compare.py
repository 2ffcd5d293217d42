"""`actlens compare` and `actlens plot matrix`, on recordings (no framework needed)."""

from __future__ import annotations

import numpy as np
import pytest
from cli_run import CommandLine

import actlens
from actlens import compare
from actlens.cli.compare import Measure
from actlens.compare import measures
from actlens.recorder import Recorder

ROWS = 60


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


def layers_of(seed):
    """Three layers (60, …) of the same inputs and of other weights, one of them with positions."""
    x = np.random.default_rng(0).standard_normal((ROWS, 6))
    rng = np.random.default_rng(seed)
    fc1 = x @ rng.standard_normal((6, 8))
    return {
        "conv": rng.standard_normal((ROWS, 4, 3)).astype("f4") + x[:, :4, None].astype("f4"),
        "fc1": fc1,
        "fc2": np.maximum(fc1, 0) @ rng.standard_normal((8, 5)),
    }


@pytest.fixture
def runs(tmp_path):
    """Two recordings of 60 samples each, 50 of them in both, in other orders; and what they hold, by id."""
    paths, truth = [], []
    for number, ids in enumerate((np.arange(50), np.arange(59, -1, -1))):
        layers = layers_of(number + 1)
        with Recorder(tmp_path / f"run{number}") as rec:
            rec.write({name: values[ids] for name, values in layers.items()}, id=ids, label=ids % 3)
        paths.append(rec.path)
        truth.append(layers)
    return (*paths, *truth)


def lines(done):
    return [line.split() for line in done.out.splitlines()]


def debiased_cka(x, y):
    """Song et al. 2012, by Gram matrices: not how the program does it."""
    grams = []
    for each in (x, y):
        gram = each @ each.T
        np.fill_diagonal(gram, 0)
        n = len(gram)
        sums = gram.sum(axis=0)
        gram = gram - sums[:, None] / (n - 2) - sums / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    k, m = grams
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def test_a_table_and_the_best_matches(cli, runs):
    a, b, in_a, in_b = runs
    done = cli("compare", a, b, "--layers", "fc*")
    assert done.code == 0
    header, fc1, fc2, *notes, empty, best, first, second = lines(done)
    assert header == ["CKA", "fc1", "fc2"]
    expected = [[debiased_cka(in_a[x][:50], in_b[y][:50]) for y in ("fc1", "fc2")] for x in ("fc1", "fc2")]
    np.testing.assert_allclose([list(map(float, row[1:])) for row in (fc1, fc2)], expected, atol=6e-5)
    assert "50 rows, joined by id" in done.out
    assert "left out: 0 ids only in a, 10 only in b" in done.out
    assert (empty, best) == ([], ["layer", "best", "match", "CKA"])
    names = ("fc1", "fc2")
    for row, name, values in zip((first, second), names, expected, strict=True):
        assert row == [name, names[int(np.argmax(values))], f"{max(values):.4f}"]
    assert notes


def test_one_with_itself(cli, runs):
    done = cli("compare", runs[0], "--layers", "fc1", "--layers", "fc2")
    assert [row[0] for row in lines(done)[1:3]] == ["fc1", "fc2"]
    assert lines(done)[1][1] == "1.0000"
    assert [row[:2] for row in lines(done)[-2:]] == [["fc1", "fc2"], ["fc2", "fc1"]]


@pytest.mark.parametrize("name", [each.value for each in Measure])
def test_every_measure(cli, runs, name):
    a, b, _, _ = runs
    done = cli("compare", a, b, "--layers", "fc*", "--measure", name, "--no-cache")
    expected = compare.matrix(
        actlens.open(a), actlens.open(b), layers="fc*", measure=getattr(compare, name), cache=False
    )
    assert done.code == 0
    assert done.out.startswith(f"{expected}\n")


def test_the_measures_are_those_of_the_package():
    assert [each.value for each in Measure] == list(measures.MEASURES)


def test_the_biased_estimate(cli, runs):
    a, b, in_a, in_b = runs
    x, y = (side["fc1"][:50] - side["fc1"][:50].mean(axis=0) for side in (in_a, in_b))
    expected = np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    done = cli("compare", a, b, "--layers", "fc1", "--biased")
    assert lines(done)[:2] == [["biased", "CKA", "fc1"], ["fc1", f"{expected:.4f}"]]


def test_positions_and_rows(cli, runs):
    a, b, in_a, in_b = runs
    done = cli(
        "compare", a, b, "--layers", "conv", "--positions", "mean", "--where", "label=0", "--where", "label=2"
    )
    ids = np.flatnonzero(np.arange(50) % 3 != 1)
    # (sample, axis1, axis2): the last axis is the features
    expected = debiased_cka(*(side["conv"][ids].mean(axis=1, dtype="f8") for side in (in_a, in_b)))
    assert float(lines(done)[1][1]) == pytest.approx(expected, abs=6e-5)
    assert f"{len(ids)} rows" in done.out
    assert "positions: mean" in done.out
    by_position = cli("compare", a, b, "--layers", "conv", "--positions", "samples").out
    assert "200 rows of 50 samples" in by_position


def test_a_test_by_permutations(cli, runs):
    a, b, _, _ = runs
    done = cli("compare", a, b, "--layers", "fc1", "--permutations", 30)
    assert lines(done)[-3:-1] == [["layer", "best", "match", "CKA", "p"], lines(done)[-2]]
    c = compare.matrix(actlens.open(a), actlens.open(b), layers="fc1")
    p = c.pvalue(30).values[0, 0]
    assert lines(done)[-2] == ["fc1", "fc1", f"{c.values[0, 0]:.4f}", f"{p:.3g}"]
    assert done.out.endswith("p: 30 shuffles of rows, against the best of all pairs in each\n")
    grouped = cli("compare", a, b, "--layers", "conv", "--positions", "samples", "--permutations", 10)
    assert "10 shuffles of groups of rows (50)" in grouped.out


def test_a_second_time_it_is_read(cli, runs):
    a, b, _, _ = runs
    command = ["compare", a, b, "--layers", "fc*"]
    plain = cli(*command, "--no-cache").out
    assert not list(a.glob("derived/*"))
    assert cli(*command).out == plain
    (file,) = a.glob("derived/*")
    before = file.stat().st_mtime_ns
    assert cli(*command).out == plain
    assert file.stat().st_mtime_ns == before


class TestFile:
    def test_it_is_the_comparison(self, cli, runs, tmp_path):
        a, b, _, _ = runs
        out = tmp_path / "c.safetensors"
        done = cli("compare", a, b, "--layers", "fc*", "--out", out)
        assert done.out.startswith(f"wrote {out}\n")
        loaded = compare.Comparison.load(out)
        expected = compare.matrix(actlens.open(a), actlens.open(b), layers="fc*", cache=False)
        np.testing.assert_array_equal(loaded.values, expected.values)
        assert (loaded.layers_a, loaded.rows, loaded.name_a) == (("fc1", "fc2"), 50, str(a))

    def test_it_is_refused_before_the_work(self, cli, runs, tmp_path):
        command = ["compare", runs[0], "--layers", "fc*", "--out"]
        assert "must end in .safetensors" in cli.refused(*command, tmp_path / "c.npz")
        assert "there is no folder" in cli.refused(*command, tmp_path / "no" / "c.safetensors")
        (tmp_path / "c.safetensors").write_text("mine")
        assert "--force replaces it" in cli.refused(*command, tmp_path / "c.safetensors")
        assert (tmp_path / "c.safetensors").read_text() == "mine"
        assert not list(runs[0].glob("derived/*"))
        assert cli(*command, tmp_path / "c.safetensors", "--force").code == 0


def test_what_is_refused(cli, runs, tmp_path):
    a, b, _, _ = runs
    assert "positions='flatten' makes every value a feature" in cli.refused("compare", a, b)
    assert "layers=['nothing'] matches none of a's layers" in cli.refused("compare", a, "--layers", "nothing")
    assert "--biased is of --measure cka; rsa has one estimate" in cli.refused(
        "compare", a, "--biased", "--measure", "rsa"
    )
    assert "'nope'" in cli.refused("compare", a, "--measure", "nope")
    assert "--where label=x: column 'label' holds whole numbers" in cli.refused(
        "compare", a, "--where", "label=x"
    )
    assert "permutations=0; it takes a whole number" in cli.refused(
        "compare", a, b, "--layers", "fc*", "--permutations", 0
    )
    assert "it does not exist" in cli.refused("compare", a, tmp_path / "no")
    assert "no row has label=7" in cli.refused("compare", a, b, "--layers", "fc1", "--where", "label=7")


def test_rows_of_several_steps(cli, two_steps):
    path, _, _ = two_steps
    done = cli("compare", path, "--layers", "fc")
    assert done.code == 2
    assert f"note: rows of 2 steps together in {path}; --where step=… takes one" in done.err
    assert "ids stand more than once" in done.err
    assert cli("compare", path, "--layers", "fc", "--where", "step=1").code == 0


class TestPicture:
    @pytest.fixture
    def saved(self, cli, runs, tmp_path):
        pytest.importorskip("matplotlib")
        out = tmp_path / "c.safetensors"
        assert cli("compare", *runs[:2], "--positions", "mean", "--out", out).code == 0
        return out

    def pixels(self, path):
        from matplotlib.image import imread

        return imread(path)[..., :3]

    def test_it_is_drawn(self, cli, saved, tmp_path):
        from matplotlib import pyplot as plt

        plt.close("all")
        out = tmp_path / "c.png"
        done = cli("plot", "matrix", saved, "--out", out)
        assert (done.code, done.out) == (0, f"wrote {out}\n")
        first = self.pixels(out)
        assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50
        assert cli("plot", "matrix", saved, "--out", out, "--no-best", "--force").code == 0
        without = self.pixels(out)
        assert first.shape != without.shape or not np.array_equal(first, without)
        assert cli("plot", "matrix", saved, "--out", out, "--z", 1000, "--force").code == 0
        hatched = self.pixels(out)
        assert first.shape != hatched.shape or not np.array_equal(first, hatched)
        assert plt.get_fignums() == []  # nothing of them stays

    def test_what_cannot_be_drawn(self, cli, runs, saved, tmp_path):
        out = tmp_path / "x.png"
        assert "is not what was saved" in cli.refused(
            "plot", "matrix", runs[0] / "manifest.json", "--out", out
        )
        assert "z=-1.0; it takes a number above 0" in cli.refused(
            "plot", "matrix", saved, "--z", -1, "--out", out
        )
        rsa = tmp_path / "rsa.safetensors"
        cli("compare", *runs[:2], "--layers", "fc*", "--measure", "rsa", "--out", rsa)
        assert "hatches what chance explains" in cli.refused("plot", "matrix", rsa, "--z", 3, "--out", out)
        assert "must end in .png" in cli.refused("plot", "matrix", saved, "--out", tmp_path / "x.gif")
        assert not out.exists()


class TestDiff:
    """`actlens plot diff`."""

    @pytest.fixture
    def ports(self, tmp_path):
        pytest.importorskip("matplotlib")
        layers = layers_of(1)
        other = layers | {"fc2": layers["fc2"] * 255}
        paths = []
        for name, held in (("a", layers), ("b", other)):
            with Recorder(tmp_path / name) as rec:
                rec.write(held, id=np.arange(ROWS))
            paths.append(rec.path)
        return paths

    def test_it_is_drawn(self, cli, ports, tmp_path):
        from matplotlib import pyplot as plt
        from matplotlib.image import imread

        plt.close("all")
        out = tmp_path / "d.png"
        done = cli("plot", "diff", *ports, "--out", out)
        assert (done.code, done.out) == (0, f"wrote {out}\n")
        differing = imread(out)
        assert cli("plot", "diff", ports[0], ports[0], "--out", out, "--force").code == 0
        same = imread(out)
        assert differing.shape != same.shape or not np.array_equal(differing, same)
        assert cli("plot", "diff", *ports, "--rtol", 1000, "--out", out, "--force").code == 0
        loose = imread(out)
        assert differing.shape != loose.shape or not np.array_equal(differing, loose)
        assert cli("plot", "diff", *ports, "--layers", "fc1", "--out", out, "--force").code == 0
        assert not np.array_equal(imread(out), same)
        assert plt.get_fignums() == []

    def test_what_is_refused(self, cli, ports, tmp_path):
        out = tmp_path / "d.png"
        assert "it does not exist" in cli.refused("plot", "diff", ports[0], tmp_path / "no", "--out", out)
        assert "rtol=-1.0; it takes" in cli.refused("plot", "diff", *ports, "--rtol", -1, "--out", out)
        assert "must end in .png" in cli.refused("plot", "diff", *ports, "--out", tmp_path / "d.txt")
        assert not out.exists()
