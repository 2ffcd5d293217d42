"""Names and texts of any letters: kept to the letter, harmless in a terminal, drawn as they are."""

from __future__ import annotations

import numpy as np
import pytest
from cli_run import CommandLine

import actlens
from actlens.activations import Activations
from actlens.errors import NotFound
from actlens.table import printable, text_table

NAMES = [
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;title\x07",
    "\u202etxt.exe\u202c",
    "two\nlines\tand\rmore",
    "\x9b31m\x85\u2028",
    "$x^{2}$",
    "$\\frac{1}{0$",
    "_hidden",
    "a^b_c\\d%s{}{0}",
    "../../etc/passwd",
    "=HYPERLINK()",
    "ä" * 450,
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(0)
    layers = {name: rng.normal(size=(12, 4, 3, 3)).astype("f4") for name in NAMES}
    axes = dict.fromkeys(NAMES, ("sample", "channel", "height", "width"))
    path = tmp_path_factory.mktemp("names") / "run"
    with actlens.Recorder(path, durability="rename") as rec:
        columns = {f"{name[:440]}!": NAMES for name in NAMES}
        rec.write(Activations(layers, axes), id=[f"{name} {i}" for i, name in enumerate(NAMES)], **columns)
    return actlens.open(path), layers


def test_they_are_kept_to_the_letter(run):
    opened, layers = run
    assert list(opened) == NAMES
    assert list(opened.columns) == ["id", *(f"{name[:440]}!" for name in NAMES)]
    for name in NAMES:
        assert (opened[name][:] == layers[name]).all()
        assert opened.columns[f"{name[:440]}!"].tolist() == NAMES
    assert opened.sel(**{"$x^{2}$!": NAMES[1]}).rows == 1


def test_no_control_character_reaches_a_terminal(run, capsys):
    opened, _ = run
    done = CommandLine(capsys)("info", opened.path)
    assert done.code == 0
    shown = [done.out, repr(opened), repr(opened.columns), *(repr(opened[name]) for name in NAMES)]
    with pytest.raises(NotFound) as error:
        opened["\x1b[31m"]
    shown.append(str(error.value))
    for text in shown:
        assert text.replace("\n", "").isprintable()
    assert len(done.out.splitlines()) == 11 + len(NAMES) * 2
    said = CommandLine(capsys).refused("info", opened.path / "\x1b[2J\n", code=2)
    assert said.isprintable()
    assert "\\x1b[2J\\n" in said


def test_printable():
    assert printable("größer ✓ 中") == "größer ✓ 中"
    assert printable("\x1b\u202e\n\ud800") == "\\x1b\\u202e\\n\\ud800"
    assert text_table(["a"], [["x\ny"]]) == "a\nx\\ny"


# A name of 450 letters leaves no room for the picture: matplotlib says so, and draws.
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
@pytest.mark.parametrize("name", NAMES)
def test_they_are_drawn_as_they_are(run, name):
    plt = pytest.importorskip("matplotlib.pyplot")
    from actlens.plot import feature_maps, heatmap, scatter
    from actlens.reduce import pca

    plt.close("all")
    opened, _ = run
    layer = opened[name]
    figures = [
        feature_maps(layer, row=NAMES.index(name))[0].figure,
        heatmap(layer.flatten(), color=f"{name[:440]}!").figure,
        scatter(pca(layer.flatten(), n_components=2), color=f"{name[:440]}!", title=name).figure,
    ]
    for figure in figures:
        figure.canvas.draw()
