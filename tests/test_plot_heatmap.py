"""plot.heatmap: which numbers are drawn, on which scale, with which words."""

from __future__ import annotations

import numpy as np
import pytest
from fake_layer import FakeLayer
from test_plot_scatter import closed, ink, legend_texts  # noqa: F401  closed is an autouse fixture

import actlens
from actlens import plot
from actlens.errors import PlotError

mpl = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402


def signed(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


def image_of(ax):
    return ax.images[0]


def bar_label(ax):
    return next(a.get_ylabel() for a in ax.figure.axes if a.get_ylabel().startswith("activation"))


def test_samples_and_units():
    x = signed(12, 7)
    ax = plot.heatmap(x)
    image = image_of(ax)
    np.testing.assert_array_equal(np.asarray(image.get_array()), x)
    assert image.get_cmap().name == "RdBu_r"
    low, high = image.get_clim()
    assert low == -high == -np.abs(x).max()
    assert ax.get_title(loc="left") == "12 samples × 7 units"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("unit", "row number")
    assert bar_label(ax) == "activation"
    assert ink(ax.figure) > 0.2


def test_no_negative_values():
    x = np.maximum(signed(40, 50), 0)
    ax = plot.heatmap(x)
    assert image_of(ax).get_cmap().name == "viridis"
    low, high = image_of(ax).get_clim()
    assert low == 0
    assert 0.004 < (x > high).mean() <= 0.005
    assert bar_label(ax) == "activation\n0.45 % beyond the limits"


def test_not_a_number_is_black():
    x = signed(6, 5)
    x[2, 3] = np.nan
    x[4, 1] = -np.inf
    ax = plot.heatmap(x)
    image = image_of(ax)
    rgba = image.cmap(image.norm(image.get_array()))
    black = np.argwhere((rgba == [0, 0, 0, 1]).all(axis=-1)).tolist()
    assert black == [[2, 3], [4, 1]]
    assert "black: 2 NaN or inf" in bar_label(ax)
    assert ink(plot.heatmap(np.full((3, 3), np.nan)).figure) > 0.1


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(2, 6), [2, 3, 4, 5]),
        (slice(None, None, -4), [11, 7, 3]),
        ([3, -1, 3], [3, 11, 3]),
        (np.array([5, 1]), [5, 1]),
        (np.arange(12) > 9, [10, 11]),
        (range(2), [0, 1]),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_some_rows(rows, expected, lazy):
    x = signed(12, 4)
    ax = plot.heatmap(FakeLayer.of(x) if lazy else x, rows=rows)
    np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()), x[expected])
    assert f"{len(expected)} of 12 samples × 4 units" in ax.get_title(loc="left")
    name = ax.yaxis.get_major_formatter()
    assert [name(position) for position in range(len(expected))] == [str(row) for row in expected]
    assert name(len(expected)) == name(0.5) == ""


def test_a_large_layer_is_thinned_out_and_says_so():
    x = signed(1234, 3)
    layer = FakeLayer.of(x)
    ax = plot.heatmap(layer)
    assert layer.largest_read == 500
    rows = np.linspace(0, 1233, 500).astype(int)
    np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()), x[rows])
    assert ax.get_title(loc="left") == "fc1 · 500 of 1,234 samples, evenly spaced × 3 units"
    assert image_of(ax).get_interpolation() == "nearest"
    assert image_of(plot.heatmap(x, rows=slice(None))).get_interpolation() == "auto"


class TestStrip:
    def test_it_keeps_the_order_unless_asked(self):
        x, label = signed(12, 4), np.arange(12) % 3
        layer = FakeLayer.of(x, columns={"label": label})
        kept = plot.heatmap(layer, color="label")
        np.testing.assert_array_equal(np.asarray(image_of(kept).get_array()), x)
        (strip,) = kept.child_axes
        np.testing.assert_array_equal(np.asarray(strip.images[0].get_array())[:, 0], label)
        assert legend_texts(kept) == ["0", "1", "2"]
        assert kept.get_legend().get_title().get_text() == "label"
        order = np.argsort(label, kind="stable")
        by = plot.heatmap(layer, color="label", sort=True)
        np.testing.assert_array_equal(np.asarray(image_of(by).get_array()), x[order])
        np.testing.assert_array_equal(np.asarray(by.child_axes[0].images[0].get_array())[:, 0], label[order])
        assert by.get_ylabel() == "samples, sorted by label"
        assert list(by.get_yticks()) == []  # numbers out of order would read like a fault
        assert ink(by.figure) > 0.2

    def test_some_rows_with_an_array(self):
        ax = plot.heatmap(signed(12, 4), rows=[5, 2, 9], color=np.linspace(-1, 1, 12), sort=True)
        strip = ax.child_axes[0].images[0]
        np.testing.assert_allclose(np.asarray(strip.get_array())[:, 0], np.linspace(-1, 1, 12)[[2, 5, 9]])
        assert ax.get_ylabel() == "samples, sorted"
        assert strip.get_cmap().name == "coolwarm"

    def test_text_labels_are_below_the_picture(self):
        layer = FakeLayer.of(signed(12, 4), columns={"name": np.array(["one class", "another"] * 6)})
        ax = plot.heatmap(layer, color="name")
        ax.figure.draw_without_rendering()
        legend, label = ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()
        assert legend.y1 <= label.y0
        assert legend.y0 >= 0
        assert legend.x1 <= ax.figure.bbox.x1


class TestOneSample:
    def test_a_vector_is_folded(self):
        x = np.abs(signed(5, 10)) + 1
        layer = FakeLayer.of(x, ids=np.array([f"img{i}" for i in range(5)]))
        ax = plot.heatmap(layer, rows=-2)
        grid = np.asarray(image_of(ax).get_array())
        assert grid.shape == (3, 4)
        np.testing.assert_array_equal(grid.reshape(-1)[:10], x[3])
        assert ax.get_title(loc="left") == "fc1 · sample img3"
        assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "4", "8"]
        assert [t.get_text() for t in ax.get_xticklabels()] == ["+0", "+1", "+2", "+3"]
        (cover,) = ax.patches  # the two cells that are no units
        assert (cover.get_x(), cover.get_y(), cover.get_width()) == (1.5, 1.5, 2)
        assert layer.largest_read == 1

    def test_a_full_grid_needs_no_cover(self):
        assert not plot.heatmap(signed(2, 16), rows=np.int64(0)).patches
        assert plot.heatmap(signed(2, 16), rows=0).get_title(loc="left") == "row 0"
        assert np.asarray(image_of(plot.heatmap(signed(2, 1), rows=0)).get_array()).shape == (1, 1)

    @pytest.mark.parametrize("channel", [1, 3])
    def test_a_feature_map_is_channels_by_positions(self, channel):
        x = signed(3, 2, 4, 5) if channel == 1 else signed(3, 4, 5, 2)
        names = ["sample", "height", "width"]
        names.insert(channel, "channel")
        ax = plot.heatmap(FakeLayer.of(x, name="conv", axes=tuple(names)), rows=1)
        expected = np.moveaxis(x[1], channel - 1, 0).reshape(2, 20)
        np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()), expected)
        assert (ax.get_ylabel(), ax.get_xlabel()) == ("channel", "position (height × width, row by row)")

    def test_tokens_by_units_and_arrays_without_names(self):
        ax = plot.heatmap(FakeLayer.of(signed(3, 6, 4), axes=("sample", "token", "unit")), rows=0)
        assert (ax.get_ylabel(), ax.get_xlabel()) == ("token", "unit")
        ax = plot.heatmap(signed(3, 2, 4, 5), rows=0)
        assert (ax.get_ylabel(), ax.get_xlabel()) == ("axis 1", "position (axis 2 × axis 3, row by row)")


class TestOneUnit:
    def test_over_all_samples(self):
        x = signed(10, 4)
        ax = plot.heatmap(FakeLayer.of(x), unit=-1)
        np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()).reshape(-1)[:10], x[:, 3])
        assert ax.get_title(loc="left") == "fc1 · unit 3 · 10 samples"
        assert ax.get_ylabel() == "row"
        some = plot.heatmap(x, unit=0, rows=slice(2, 6))
        np.testing.assert_array_equal(np.asarray(image_of(some).get_array()).reshape(-1), x[2:6, 0])
        assert some.get_ylabel() == "position in rows="

    def test_a_channel_over_samples_and_positions(self):
        x = signed(6, 4, 5, 3)
        layer = FakeLayer.of(x, axes=("sample", "height", "width", "channel"), columns={"y": np.arange(6)})
        ax = plot.heatmap(layer, unit=2, color="y")
        np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()), x[..., 2].reshape(6, 20))
        assert "channel 2 · 6 samples" in ax.get_title(loc="left")


@pytest.mark.parametrize("dtype", ["f2", "i4", "?", "f8", "bfloat16"])
def test_dtypes(dtype):
    import ml_dtypes

    x = (signed(4, 3) * 3).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    np.testing.assert_array_equal(np.asarray(image_of(plot.heatmap(x)).get_array()), x.astype("f8"))


def test_a_recorded_layer(two_steps):
    path, truth, _ = two_steps
    run = actlens.open(path)
    ax = plot.heatmap(run["fc"], rows=slice(0, 50), color="label", sort=True)
    assert ax.get_title(loc="left") == "fc · 50 of 200 samples × 5 units"
    order = np.argsort(run.columns["label"][:50], kind="stable")
    np.testing.assert_allclose(np.asarray(image_of(ax).get_array()), truth["fc"][:50][order])
    assert "sample 30" in plot.heatmap(run["conv"], rows=130).get_title(loc="left")


def test_it_draws_where_it_is_told():
    ax = Figure(layout="constrained").add_subplot()
    assert plot.heatmap(signed(4, 4), ax=ax, title="$x") is ax
    assert ax.get_title(loc="left") == "$x"
    assert ink(ax.figure) > 0.1


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (np.zeros(4), {}, r"takes \(samples, units\) .* the array has shape \(4,\)"),
        (np.zeros((0, 4)), {}, r"the array has shape \(0, 4\)"),
        (np.zeros((4, 2, 3)), {}, r"\(4, 2, 3\)\. x.reshape\(len\(x\), -1\) .* drawn as it is: rows=0"),
        (np.zeros((4, 2, 3)), {"unit": 0}, r"x.mean\(axis=1\) averages"),
        (np.zeros((4, 3)), {"rows": 4}, r"row 4 is out of range; there are 4 \(0 … 3, or negative"),
        (np.zeros((4, 3)), {"rows": [0, -5]}, "row -5 is out of range; there are 4"),
        (np.zeros((4, 3)), {"rows": slice(9, 12)}, r"slice\(9, 12, None\) selects nothing"),
        (np.zeros((4, 3)), {"rows": []}, r"\[\] selects nothing"),
        (np.zeros((4, 3)), {"rows": np.ones(3, bool)}, r"a mask of shape \(3,\); it must be \(4,\)"),
        (np.zeros((4, 3)), {"unit": 3}, "unit 3 is out of range; there are 3"),
        (np.zeros((4, 3)), {"unit": 0, "rows": 0}, "rows= is one sample and unit= one unit of it, a single"),
        (np.zeros((4, 3)), {"sort": True}, "sort=True sorts by color=; name a column or give an array"),
        (
            np.zeros((4, 3)),
            {"rows": 0, "color": [1] * 4},
            "color= is a strip beside samples; this picture has",
        ),
        (
            np.zeros((4, 3)),
            {"unit": 0, "color": [1] * 4},
            "color= is a strip beside samples; this picture has",
        ),
        (np.zeros((4, 3)), {"color": "label"}, r"no column 'label' to colour by. The columns: \(none\)"),
        (
            np.zeros((4, 3)),
            {"color": [1, 2]},
            r"color= has shape \(2,\); it takes one value a sample, \(4,\)",
        ),
        (np.zeros((4, 3)), {"rows": 1.5}, "rows=1.5; it takes one row number, a list of them, a slice, or a"),
        (np.zeros((4, 3)), {"rows": [1.5]}, "row 1.5 is not a whole number"),
        (np.zeros((4, 3)), {"rows": [None]}, "row None is not a whole number"),
        (np.zeros((4, 3)), {"rows": "ab"}, "rows='ab'; it takes one row number"),
        (np.zeros((4, 3)), {"rows": [[0, 1]]}, "rows=list; it takes one row number"),
        (np.zeros((4, 3)), {"rows": [[0, 1], [2]]}, "rows=list; it takes one row number"),
        (np.zeros((4, 3)), {"rows": slice(0, 4, 0)}, r"rows=slice\(0, 4, 0\); it takes"),
        (np.zeros((4, 3)), {"rows": []}, r"rows=\[\] selects nothing"),
        (np.zeros((4, 3)), {"unit": 1.5}, "unit 1.5 is not a whole number"),
        (np.zeros((4, 3)), {"ax": 3}, "plot.heatmap: ax= must be a 2-D matplotlib Axes; got int"),
        (
            np.zeros((3, 3)),
            {"color": np.array([None, "a", 3], object), "sort": True},
            "sort=True cannot order color= of dtype object .*Give values of one kind, e.g.",
        ),
        (
            np.array([[-1e308, 1e308]] * 2),
            {},
            r"values as large as 1e\+308 cannot be drawn; the limit is 1e\+300",
        ),
        ([[1, 2], [3]], {}, r"plot.heatmap: layer takes an array; numpy cannot read the list as one"),
        (np.zeros((4, 3), "U1"), {}, "plot.heatmap draws real numbers; got dtype <U1"),
        (np.zeros((4, 3), complex), {}, "draws real numbers; got dtype complex128"),
    ],
)
def test_what_it_refuses(layer, options, message):
    with pytest.raises(PlotError, match=message):
        plot.heatmap(layer, **options)


def test_the_remedies_name_the_axes_of_the_layer():
    layer = FakeLayer.of(np.zeros((4, 3, 2, 2)), name="conv", axes=("sample", "channel", "height", "width"))
    with pytest.raises(PlotError, match=r"layer 'conv' .*layer.flatten\(\).*layer.mean\('height', 'width'\)"):
        plot.heatmap(layer)


@pytest.mark.parametrize("sort", [False, True])
def test_values_near_the_limit_are_drawn(sort):
    x = np.linspace(-1e300, 1e300, 12).reshape(4, 3)
    plot.heatmap(x, color=x[:, 0], sort=sort).figure.canvas.draw()
    plot.heatmap(x, rows=0).figure.canvas.draw()
