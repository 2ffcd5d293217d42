"""plot.trajectory: each frame has its rows, all share limits and colours, and the motion stands below."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from actlens import plot, reduce
from actlens.errors import MissingDependency, PlotError
from actlens.reduce import Embedding, optional
from actlens.reduce.aligning.alignment import Alignment

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def embedding(frames=3, samples=20, k=2, by="step", method="tsne", align="warm", **columns):
    values = tuple(f"fc{i}" if by == "layer" else 10 * i for i in range(frames))
    motions = tuple(0.1 * (i + 1) for i in range(frames - 1))
    return Embedding(
        points=np.random.default_rng(0).standard_normal((frames * samples, k)).astype("f4"),
        ids=np.tile(np.arange(samples), frames),
        columns={by: np.repeat(values, samples)} | {name: np.asarray(v) for name, v in columns.items()},
        layer="" if by == "layer" else "fc1",
        method=method,
        parameters={"perplexity": 30.0},
        versions={},
        alignment=Alignment(by, values, align, motions, 0.012),
    )


def words(ax):
    figure = ax.figure
    figure.canvas.draw()
    return figure.get_suptitle() + "\n" + figure.get_supxlabel()


def marks(ax):
    (drawn,) = ax.collections
    return np.asarray(drawn.get_offsets()), drawn.get_facecolors()


def rows_sorted(points):
    return points[np.lexsort(points.T)]


def test_every_frame_has_its_rows_and_the_same_limits():
    z = embedding()
    axes = plot.trajectory(z)
    assert [ax.get_title() for ax in axes] == ["step 0", "step 10", "step 20"]
    for number, ax in enumerate(axes):
        seen, _ = marks(ax)
        mine = z.points[20 * number : 20 * number + 20].astype("f8")
        np.testing.assert_allclose(rows_sorted(seen), rows_sorted(mine))
        assert ax.get_xlim() == axes[0].get_xlim()
        assert ax.get_ylim() == axes[0].get_ylim()
        assert not len(ax.get_xticks())
        assert not len(ax.get_yticks())
    (left, right), (low, high) = axes[0].get_xlim(), axes[0].get_ylim()
    assert right - left == pytest.approx(high - low)
    assert left < z.points[:, 0].min() < z.points[:, 0].max() < right
    assert low < z.points[:, 1].min() < z.points[:, 1].max() < high


def test_what_it_says():
    said = words(plot.trajectory(embedding())[0])
    assert said.startswith(
        "fc1 · t-SNE · 3 steps · 20 samples\nMedian motion between steps 0.10 to 0.20 of the radius; "
    )
    assert "0.01 where nothing changed (warm)." in said
    assert "distances between clusters are not meaningful" in said
    assert "t-SNE: perplexity=30" in said
    one = words(
        plot.trajectory(embedding(frames=2, by="layer", method="pca", align="procrustes"), title="$a_b$")[0]
    )
    assert (
        one
        == "$a_b$\nMedian motion between layers 0.10 of the radius; 0.01 where nothing changed\n(procrustes)."
    )
    apart = words(plot.trajectory(embedding(align="none"))[0])
    assert "Fitted apart: frames cannot be compared" in apart
    assert "where nothing changed" not in apart
    pca = embedding(method="pca", k=3)
    pca = dataclasses.replace(pca, explained_variance_ratio=np.array([0.5, 0.25, 0.125]))
    assert "PC 1: 50.0 %, PC 3: 12.5 % of the variance." in words(
        plot.trajectory(pca, components=(0, 2))[0]
    ).replace("\n", " ")
    assert "3 frames" in words(plot.trajectory(embedding(by="day"))[0])


def test_layers_are_named():
    axes = plot.trajectory(embedding(by="layer"))
    assert [ax.get_title() for ax in axes] == ["fc0", "fc1", "fc2"]


def test_a_long_name_keeps_its_end():
    z = embedding(frames=2, samples=5)
    names = ("encoder.layers.11.attention.output.dense", "b")
    z = dataclasses.replace(
        z, columns={"layer": np.repeat(names, 5)}, alignment=Alignment("layer", names, "warm", (0.1,), 0.0)
    )
    assert plot.trajectory(z)[0].get_title() == "…s.11.attention.output.dense"


def test_a_class_has_one_colour_in_all_frames():
    label = np.array(["b"] * 20 + ["a", "b"] * 10 + ["a"] * 20)
    axes = plot.trajectory(embedding(label=label), color="label")
    (legend,) = [ax.get_legend() for ax in axes if ax.get_legend() is not None]
    key = {
        text.get_text(): to_rgba(handle.get_color())[:3]
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    colours = [{tuple(row[:3]) for row in marks(ax)[1].tolist()} for ax in axes]
    assert colours == [{key["b"]}, {key["a"], key["b"]}, {key["a"]}]
    assert axes[-1].get_legend() is legend


def test_numbers_share_one_scale():
    values = np.linspace(0, 6, 60)
    values[3] = np.nan
    axes = plot.trajectory(embedding(), color=values)
    assert {ax.collections[0].get_clim() for ax in axes} == {(0.0, 6.0)}
    (bar,) = [ax for ax in axes[0].figure.axes if ax not in list(axes)]
    assert "grey: 1 missing" in bar.get_ylabel()


def test_no_legend():
    axes = plot.trajectory(embedding(label=np.arange(60) % 2), color="label", legend=False)
    assert all(ax.get_legend() is None for ax in axes)
    axes = plot.trajectory(embedding(), color=np.linspace(0, 1, 60), legend=False)
    assert len(axes[0].figure.axes) == 3


def test_many_frames():
    axes = plot.trajectory(embedding(frames=60, samples=4))
    assert len(axes) == 24
    assert (axes[0].get_title(), axes[-1].get_title()) == ("step 0", "step 590")
    assert words(axes[0]).startswith("fc1 · t-SNE · 24 of 60 steps · 4 samples")


def test_a_figure_of_ones_own():
    figure = Figure(layout="constrained")
    axes = plot.trajectory(embedding(), figure=figure)
    assert list(figure.axes) == list(axes)
    left, _ = Figure().subfigures(1, 2)
    assert len(plot.trajectory(embedding(), figure=left)) == 3
    assert not plt.get_fignums()


def test_two_of_more_components():
    z = embedding(k=4)
    seen, _ = marks(plot.trajectory(z, components=(2, -1))[0])
    np.testing.assert_allclose(rows_sorted(seen), rows_sorted(z.points[:20, [2, 3]].astype("f8")))


def test_points_in_one_place():
    z = embedding()
    ax = plot.trajectory(dataclasses.replace(z, points=np.zeros_like(z.points)))[0]
    assert ax.get_xlim() == (-1.0, 1.0)


def test_of_a_reduction():
    rng = np.random.default_rng(0)
    z = reduce.pca({"a": rng.random((30, 5)), "b": rng.random((30, 7))}, by="layer", align="procrustes")
    said = words(plot.trajectory(z)[0])
    assert f"{z.alignment.residual_motion[0]:.2f} of the radius; {z.alignment.noise_floor:.2f} where" in said


def test_what_it_refuses(monkeypatch):
    with pytest.raises(PlotError, match="plot.trajectory takes an Embedding.*got ndarray"):
        plot.trajectory(np.zeros((3, 2)))
    with pytest.raises(PlotError, match="this one has no alignment. plot.scatter draws it"):
        plot.trajectory(reduce.pca(np.eye(4)))
    with pytest.raises(PlotError, match="draws 2 components; this embedding has 3. Choose two"):
        plot.trajectory(embedding(k=3))
    with pytest.raises(PlotError, match="components=tuple; it takes 2 numbers of components"):
        plot.trajectory(embedding(k=3), components=(0, 1, 2))
    with pytest.raises(PlotError, match="components=1; it takes 2 numbers"):
        plot.trajectory(embedding(), components=1)
    with pytest.raises(PlotError, match="component 2 is out of range"):
        plot.trajectory(embedding(), components=(0, 2))
    with pytest.raises(PlotError, match="no column 'label' to colour by"):
        plot.trajectory(embedding(), color="label")
    with pytest.raises(
        PlotError, match="figure=str; it takes a matplotlib Figure or SubFigure|figure='f'; it takes"
    ):
        plot.trajectory(embedding(), figure="f")
    monkeypatch.setattr(optional, "_absent", lambda module: True)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match="plot.trajectory needs matplotlib"):
        plot.trajectory(embedding())
