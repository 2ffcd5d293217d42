"""plot.scatter and plot.scree: what is in the Axes is what was asked for; and the rules of colour."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from actlens import plot, reduce
from actlens.errors import MissingDependency, PlotError
from actlens.plot import colors
from actlens.reduce import Embedding, optional

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def embedding(samples=30, k=2, method="tsne", **columns):
    points = np.random.default_rng(0).standard_normal((samples, k)).astype("f4")
    return Embedding(
        points=points,
        ids=np.arange(samples),
        columns={name: np.asarray(values) for name, values in columns.items()},
        layer="fc1",
        method=method,
        parameters={"n_components": k, "perplexity": 30.0, "random_state": None, "init": "pca", "n_jobs": 2},
        versions={},
        explained_variance_ratio=np.array([0.342, 0.1, 0.05, 0.01, 0.001])[:k] if method == "pca" else None,
    )


def drawn(ax):
    """The (samples, 2) or (samples, 3) marks."""
    (marks,) = ax.collections
    return np.ma.getdata(marks._offsets3d).T if ax.name == "3d" else np.asarray(marks.get_offsets())


def ink(figure):
    """The share of pixels that are not background."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return (pixels != 255).any(axis=-1).mean()


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("color", [None, "label", "loss"])
def test_every_sample_is_drawn_where_it_is_and_in_its_colour(k, color):
    label = np.arange(30) % 3
    z = embedding(k=k, label=label, loss=np.linspace(1, 2, 30))
    ax = plot.scatter(z, color=color)
    offsets = drawn(ax)
    assert not np.array_equal(offsets, z.points)  # shuffled
    order = np.array([np.flatnonzero((z.points == row).all(axis=1))[0] for row in offsets.astype("f4")])
    assert sorted(order) == list(range(30))
    assert np.array_equal(drawn(plot.scatter(z, color=color)), offsets)  # in the same way each time
    (marks,) = ax.collections
    if color == "label":
        expected = [mpl.colors.to_rgb(colors.OKABE_ITO[code]) for code in label[order]]
        # A 3-D collection sorts its colours by depth when it is drawn; these are in the order of offsets.
        np.testing.assert_allclose(marks._facecolors[:, :3], expected)
    if color == "loss":
        np.testing.assert_array_equal(np.asarray(marks.get_array()), z.columns["loss"][order])
    assert ink(ax.figure) > 0.005


def test_the_words_around_a_tsne():
    ax = plot.scatter(embedding(step=[7] * 30))
    assert ax.get_title(loc="left") == "fc1 · step 7 · t-SNE · 30 samples"
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert ax.get_xlabel() == (
        "Axes have no units; distances between clusters are not meaningful.\nt-SNE: perplexity=30, init=pca"
    )
    assert plot.scatter(embedding(), title="mine").get_title(loc="left") == "mine"
    deep = plot.scatter(embedding(k=3, method="umap"))
    assert len(deep.get_zticks()) == 0
    assert any("not meaningful" in text.get_text() for text in deep.texts)


def test_the_words_around_a_pca():
    ax = plot.scatter(embedding(method="pca", k=3))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == (
        "PC 1 (34.2 %)",
        "PC 2 (10.0 %)",
        "PC 3 (5.0 %)",
    )
    flat = plot.scatter(embedding(method="pca", k=5), components=(0, 3))
    assert (flat.get_xlabel(), flat.get_ylabel()) == ("PC 1 (34.2 %)", "PC 4 (1.0 %)")
    assert flat.get_aspect() == 1
    assert len(flat.get_xticks()) > 1
    assert plot.scatter(embedding(method="Isomap")).get_xlabel() == "Isomap 1"


def test_legend_and_colour_bar():
    z = embedding(label=np.arange(30) % 3, loss=np.linspace(1, 2, 30))
    ax = plot.scatter(z, color="label")
    assert legend_texts(ax) == ["0", "1", "2"]
    assert ax.get_legend().get_title().get_text() == "label"
    assert plot.scatter(z, color="label", legend=False).get_legend() is None
    ax = plot.scatter(z, color="loss")
    assert [a.get_ylabel() for a in ax.figure.axes[1:]] == ["loss"]
    assert len(plot.scatter(z, color="loss", legend=False).figure.axes) == 1
    ax = plot.scatter(z, color=np.arange(30) % 2 == 0)
    assert legend_texts(ax) == ["False", "True"]
    loss = z.columns["loss"].copy()
    loss[:4] = np.nan
    ax = plot.scatter(z, color=loss)
    assert ax.figure.axes[1].get_ylabel() == "\ngrey: 4 missing"
    grey = mpl.colors.to_rgba(colors.MISSING)[:3]
    ax.figure.draw_without_rendering()
    assert (np.isclose(ax.collections[0].get_facecolors()[:, :3], grey).all(axis=1)).sum() == 4


def test_text_is_shown_as_it_is_written():
    names = ["$x_1$ and $y_{2", "_private", "<b>", "a very long class name that never ends, never"]
    z = dataclasses.replace(
        embedding(40, **{"$c_1": np.array(names * 10)}), layer="<script>$W_{0}$/dense@input[h]"
    )
    ax = plot.scatter(z, color="$c_1")
    assert legend_texts(ax) == ["$x_1$ and $y_{2", "<b>", "_private", "a very long class name that nev…"]
    title = ax._left_title
    assert title.get_text().startswith("<script>$W_{0}$/dense@input[h] · t-SNE")
    texts = [title, ax.get_legend().get_title(), *ax.get_legend().get_texts(), ax.xaxis.label]
    assert not any(text.get_parse_math() for text in texts)
    assert ink(ax.figure) > 0.01  # an unclosed $ would raise here


def test_many_samples_are_pixels_in_a_vector_file():
    assert not plot.scatter(embedding(5000)).collections[0].get_rasterized()
    assert plot.scatter(embedding(5001)).collections[0].get_rasterized()
    few, many = (plot.scatter(embedding(n)).collections[0] for n in (100, 40_000))
    assert few.get_sizes()[0] > many.get_sizes()[0]
    assert few.get_alpha() > many.get_alpha()
    marks = plot.scatter(embedding(), size=3, alpha=0.5).collections[0]
    assert (marks.get_sizes().tolist(), marks.get_alpha()) == ([3], 0.5)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("k", [2, 3])
def test_few_samples(samples, k):
    ax = plot.scatter(embedding(samples, k, label=["only"] * samples), color="label")
    assert ink(ax.figure) > 0.001
    assert legend_texts(ax) == ["only"]


def test_it_draws_where_it_is_told():
    figure = Figure()
    one, other = figure.add_subplot(121), figure.add_subplot(122, projection="3d")
    assert plot.scatter(embedding(), ax=one) is one
    assert plot.scatter(embedding(k=3), ax=other) is other
    assert plt.get_fignums() == []  # pyplot keeps nothing of it
    with pytest.raises(PlotError, match=r"ax= must be a 3-D Axes: figure.add_subplot\(projection='3d'\) for"):
        plot.scatter(embedding(k=3), ax=one)
    with pytest.raises(PlotError, match="ax= must be a 2-D matplotlib Axes for this picture"):
        plot.scatter(embedding(), ax=other)


def test_what_it_refuses():
    z = embedding(label=np.arange(30), loss=np.arange(30))
    with pytest.raises(
        PlotError, match="no column 'lable' to colour by. The columns: label, loss. An array of"
    ):
        plot.scatter(z, color="lable")
    with pytest.raises(PlotError, match=r"color= has shape \(3,\); it takes one value a sample, \(30,\)"):
        plot.scatter(z, color=[1, 2, 3])
    with pytest.raises(PlotError, match="takes an Embedding, as reduce.pca, .* return it; got ndarray"):
        plot.scatter(z.points)
    with pytest.raises(PlotError, match="this embedding has 1. Reduce with n_components=2 or 3"):
        plot.scatter(embedding(k=1))
    with pytest.raises(PlotError, match=r"has 4. plot.scatter\(z, components=\(0, 1\)\) draws two of them"):
        plot.scatter(embedding(k=4))
    with pytest.raises(PlotError, match="component 4 is out of range; there are 4"):
        plot.scatter(embedding(k=4), components=(0, 4))
    with pytest.raises(PlotError, match=r"components=\(0,\) must name 2 or 3"):
        plot.scatter(embedding(k=4), components=[0])
    with pytest.raises(PlotError, match="plot.scatter draws real numbers; got dtype complex128"):
        plot.scatter(z, color=np.zeros(30, complex))


@pytest.mark.parametrize("name", ["scatter", "scree", "heatmap", "feature_maps"])
def test_without_matplotlib(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(MissingDependency, match=rf"plot.{name} needs matplotlib, .*'actlens\[plot\]'"):
        getattr(plot, name)(embedding())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"components": 1},
            r"plot.scatter: components=1; it takes 2 or 3 numbers of components, e.g. \(0, 1\)",
        ),
        ({"components": (0, 1.5)}, "component 1.5 is not a whole number"),
        ({"components": "01"}, "component '0' is not a whole number"),
        ({"components": (0, -5)}, r"component -5 is out of range; there are 4 \(0 … 3, or negative from the"),
        ({"alpha": 7}, "alpha=7; it takes a number from 0 to 1"),
        ({"alpha": float("nan")}, "alpha=nan; it takes a number from 0 to 1"),
        ({"alpha": "half"}, "alpha='half'; it takes a number from 0 to 1"),
        ({"size": -1}, "size=-1; it takes a number of points², 0 or more"),
        ({"size": float("inf")}, "size=inf; it takes a number of points²"),
        ({"ax": 3}, "ax= must be a 2-D matplotlib Axes; got int"),
        ({"color": [[1, 2], [3]]}, r"color= takes an array; numpy cannot read the list as one"),
        (
            {"color": np.tile([-1e308, 1e308], 15)},
            r"values as large as 1e\+308 cannot be drawn; .* Scale them",
        ),
    ],
)
def test_arguments_that_cannot_be(options, message):
    with pytest.raises(PlotError, match=message):
        plot.scatter(embedding(k=4), **({"components": (0, 1)} | options))


def test_components_from_the_end():
    z = embedding(k=4)
    ends = drawn(plot.scatter(z, components=(0, -1)))
    np.testing.assert_array_equal(ends, drawn(plot.scatter(z, components=np.array([0, 3]))))


def test_points_as_large_as_float32_holds():
    z = embedding()
    z.points[:2] = [[3e38, -3e38], [-3e38, 3e38]]
    plot.scatter(z).figure.canvas.draw()


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("longest", ["b", "a rather long name of a class"])
def test_the_legend_of_a_3d_picture_is_near_and_whole(method, longest):
    z = embedding(k=3, method=method, label=np.array(["a", longest] * 15))
    ax = plot.scatter(z, color="label")
    ax.figure.canvas.draw()
    box, cube = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert box.x1 <= ax.figure.bbox.x1
    assert cube.x0 + 0.9 * cube.width <= box.x0 <= cube.x0 + 1.1 * cube.width
    assert abs((box.y0 + box.y1) / 2 - (cube.y0 + cube.y1) / 2) < 0.1 * cube.height


class TestScree:
    def test_shares_and_their_sum(self):
        z = reduce.pca(np.random.default_rng(0).standard_normal((50, 6)), n_components=4)
        ax = plot.scree(z)
        shares = 100 * z.explained_variance_ratio
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], shares)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), np.cumsum(shares))
        assert legend_texts(ax) == ["each component", "cumulative"]
        assert ax.get_title(loc="left") == "PCA · 50 samples"
        assert ax.get_ylabel() == "explained variance (%)"
        assert ink(ax.figure) > 0.01

    def test_many_components_are_a_line(self):
        ax = plot.scree(reduce.pca(np.random.default_rng(0).standard_normal((200, 100)), n_components=None))
        assert (len(ax.patches), len(ax.lines)) == (0, 2)
        own = Figure().add_subplot()
        assert plot.scree(reduce.pca(np.eye(5)), ax=own, title="t") is own

    def test_what_it_refuses(self):
        with pytest.raises(PlotError, match="an embedding by tsne has none"):
            plot.scree(embedding())
        with pytest.raises(PlotError, match="plot.scree takes an Embedding"):
            plot.scree(np.eye(3))


class TestColours:
    @pytest.mark.parametrize(
        ("values", "categorical"),
        [
            (np.arange(20), True),
            (np.arange(21), False),
            (np.arange(4.0), False),
            (np.array(["a", "b"] * 20), True),
            (np.array([True, False]), True),
            (np.array([None, "a"], dtype=object), True),
            (np.arange(500).astype(str), True),
            (np.arange(3, dtype="u1"), True),
        ],
    )
    def test_classes_or_a_scale(self, values, categorical):
        assert colors.is_categorical(values) is categorical

    def test_bfloat16_is_a_scale(self):
        import ml_dtypes

        assert not colors.is_categorical(np.arange(3).astype(ml_dtypes.bfloat16))

    @pytest.mark.parametrize(
        ("count", "palette", "rest"),
        [
            (1, colors.OKABE_ITO, 0),
            (8, colors.OKABE_ITO, 0),
            (9, colors.PETROFF10, 0),
            (10, colors.PETROFF10, 0),
        ],
    )
    def test_as_many_colours_as_can_be_told_apart(self, count, palette, rest):
        found = colors.classes(np.arange(50) % count)
        assert found.colors == palette[:count]
        assert found.rest == rest
        np.testing.assert_array_equal(found.codes, np.arange(50) % count)

    def test_more_classes_are_grey_and_said_so(self):
        sizes = [3, 9, 9, 9, 9, 1, 9, 9, 9, 9, 2, 1]
        values = np.repeat([f"c{i:02}" for i in range(12)], sizes)
        found = colors.classes(values)
        assert found.labels == ("c01", "c02", "c03", "c04", "c06", "c07", "c08", "c09", "4 other classes")
        assert found.colors[-1] == colors.REST
        assert len(found.colors) == 9
        assert {values[i] for i in np.flatnonzero(found.codes == 8)} == {"c00", "c05", "c10", "c11"}
        ax = plot.scatter(embedding(len(values), label=values), color="label")
        assert legend_texts(ax)[-1] == "4 other classes"

    def test_missing_labels(self):
        found = colors.classes(np.array([None, "a", np.nan], dtype=object))
        assert found.labels == ("(none)", "a")
        assert found.codes.tolist() == [0, 1, 0]

    @pytest.mark.parametrize(
        ("values", "cmap", "low", "high"),
        [
            ([-1.0, 3.0], "coolwarm", -3, 3),
            ([1.0, 3.0], "viridis", 1, 3),
            ([-3.0, -1.0], "viridis", -3, -1),
            ([2.0, 2.0], "viridis", 2, 3),
            ([np.nan, 1.0, 4.0], "viridis", 1, 4),
            ([np.nan], "viridis", 0, 1),
        ],
    )
    def test_the_scale_of_a_column(self, values, cmap, low, high):
        scale = colors.column_scale(np.array(values))
        assert (scale.cmap, scale.low, scale.high) == (cmap, low, high)

    def test_the_scale_of_activations(self):
        assert colors.activation_scale(np.array([0.0, 2.0])) == colors.Scale("viridis", 0.0, 2.0)
        assert colors.activation_scale(np.array([-3.0, 2.0])) == colors.Scale("RdBu_r", -3.0, 3.0)
        assert colors.activation_scale(np.array([-3.0, -2.0])) == colors.Scale("RdBu_r", -3.0, 3.0)
        assert colors.activation_scale(np.zeros(4)) == colors.Scale("viridis", 0.0, 1.0)
        bad = colors.activation_scale(np.array([np.nan, np.inf, 1.0]))
        assert (bad.high, bad.not_finite, bad.label("a")) == (1.0, 2, "a\nblack: 2 NaN or inf")
        tail = colors.activation_scale(np.append(np.ones(999), 100.0))
        assert (tail.high, tail.clipped) == (1.0, 0.001)
        assert tail.label("activation") == "activation\n0.1 % beyond the limits"
        sparse = colors.activation_scale(np.append(np.zeros(999), 5.0))
        assert (sparse.high, sparse.clipped) == (5.0, 0.0)  # not all one colour, because most is 0


class TestQuality:
    def measured(self, **about):
        pytest.importorskip("sklearn.metrics")
        z = embedding(60, **about)
        x = np.hstack([z.points, np.random.default_rng(1).standard_normal((60, 3))])
        return dataclasses.replace(z, ids=np.arange(60)), x

    @pytest.mark.parametrize("method", ["tsne", "umap", "densmap", "pacmap"])
    def test_its_line_stands_below_the_caution(self, method):
        z, x = self.measured(method=method)
        before = plot.scatter(z).get_xlabel()
        line = str(z.quality(x, k=5))
        ax = plot.scatter(z)
        assert ax.get_xlabel().startswith(before)
        assert ax.get_xlabel()[len(before) :].replace("\n", " ").strip() == line
        assert "not meaningful" in before
        assert len(ax.get_xticks()) == 0

    def test_below_the_axes_of_a_pca(self):
        z, x = self.measured(method="pca")
        line = str(z.quality(x, k=5))
        ax = plot.scatter(z)
        first, rest = ax.get_xlabel().split("\n", 1)
        assert (first, rest.replace("\n", " ")) == ("PC 1 (34.2 %)", line)
        assert "recall" not in ax.get_ylabel()
        assert ink(ax.figure) > 0.005

    @pytest.mark.parametrize("method", ["pca", "tsne"])
    def test_below_a_box(self, method):
        z, x = self.measured(method=method, k=3)
        line = str(z.quality(x, k=5))
        ax = plot.scatter(z)
        assert any(line in text.get_text().replace("\n", " ") for text in ax.texts)
