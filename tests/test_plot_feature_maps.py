"""plot.feature_maps: channels are found by the names of axes, and all share one scale."""

from __future__ import annotations

import numpy as np
import pytest
from fake_layer import FakeLayer
from test_plot_scatter import closed, ink  # noqa: F401  closed is an autouse fixture

from actlens import plot
from actlens.errors import PlotError

pytest.importorskip("matplotlib")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

NCHW = ("sample", "channel", "height", "width")


def maps(samples=3, channels=20, height=4, width=5):
    return np.random.default_rng(0).standard_normal((samples, channels, height, width)).astype("f4")


def arrays(axes):
    return [np.asarray(ax.images[0].get_array()) for ax in axes]


def title(axes):
    return axes[0].figure._suptitle.get_text()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)])
def test_the_order_of_the_axes_does_not_matter(order):
    x = maps()
    layer = FakeLayer.of(x.transpose(order), name="conv1", axes=tuple(NCHW[k] for k in order))
    axes = plot.feature_maps(layer, row=1)
    assert axes.shape == (16,)
    for k, drawn in enumerate(arrays(axes)):
        np.testing.assert_array_equal(drawn, x[1, k])
    assert [ax.get_title() for ax in axes] == [str(k) for k in range(16)]
    assert title(axes) == "conv1 · sample 1001 · 16 of 20 channels"
    assert layer.largest_read == 1
    assert ink(axes[0].figure) > 0.2


def test_one_scale_for_all():
    x = maps()
    axes = plot.feature_maps(x, axis_names=NCHW, channels=[2, -1])
    np.testing.assert_array_equal(arrays(axes), x[0, [2, 19]])
    most = np.abs(x[0, [2, 19]]).max()
    assert {ax.images[0].get_clim() for ax in axes} == {(-most, most)}
    assert {ax.images[0].get_cmap().name for ax in axes} == {"RdBu_r"}
    assert [a.get_ylabel() for a in axes[0].figure.axes[2:]] == ["activation"]
    assert title(axes) == "sample 0 · 2 of 20 channels"
    positive = plot.feature_maps(abs(x), axis_names=NCHW, channels=None)
    assert len(positive) == 20
    assert positive[0].images[0].get_cmap().name == "viridis"
    assert positive[0].images[0].get_clim()[0] == 0
    assert title(positive) == "sample 0 · 20 channels"


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((8, 9), (8, 9)),
        ((8, 9, 1), (8, 9)),
        ((8, 9, 3), (8, 9, 3)),
        ((3, 8, 9), (8, 9, 3)),
        ((1, 8, 9), (8, 9)),
    ],
)
def test_the_input_is_beside_them(shape, drawn):
    image = np.random.default_rng(0).random(shape).astype("f4")
    axes = plot.feature_maps(maps(), axis_names=NCHW, image=image, channels=5)
    assert axes.shape == (6,)
    assert axes[0].get_title() == "input"
    shown = np.asarray(axes[0].images[0].get_array())
    assert shown.shape == drawn
    assert np.isclose(shown.sum(), image.sum())  # 0 … 1 is left as it is


def test_an_input_that_was_normalised_is_brought_back_to_colours():
    image = np.random.default_rng(0).standard_normal((3, 8, 9))
    shown = np.asarray(plot.feature_maps(maps(), axis_names=NCHW, image=image)[0].images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 1)
    np.testing.assert_allclose(np.corrcoef(shown.ravel(), np.moveaxis(image, 0, -1).ravel())[0, 1], 1)
    levels = (np.arange(72).reshape(8, 9) * 3).astype("u1")
    shown = plot.feature_maps(maps(), axis_names=NCHW, image=levels)[0].images[0].get_array()
    np.testing.assert_array_equal(np.asarray(shown), levels)
    assert ink(plot.feature_maps(maps(), axis_names=NCHW, image=np.full((4, 4), 7.0))[0].figure) > 0.1


def test_it_draws_where_it_is_told():
    figure = Figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plot.feature_maps(maps(), axis_names=NCHW, figure=left, title="$t")[0].get_figure() is left
    plot.feature_maps(maps(), axis_names=NCHW, figure=right)
    assert plt.get_fignums() == []
    assert left._suptitle.get_text() == "$t"
    assert ink(figure) > 0.2


def test_the_title_fits_over_a_single_map():
    layer = FakeLayer.of(maps(), name="features.conv1", axes=NCHW)
    figure = plot.feature_maps(layer, channels=1)[0].figure
    figure.draw_without_rendering()
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"an array of shape \(3, 20, 4, 5\) does not say which axis is the channels. Pass axis_names="),
        ({"axis_names": NCHW[:3]}, "must name all 4 axes, once each, 'sample' first"),
        ({"axis_names": ("channel", "sample", "height", "width")}, "'sample' first"),
        ({"axis_names": ("sample", "height", "height", "width")}, "once each"),
        (
            {"axis_names": ("sample", "head", "query", "key")},
            "has sample, head, query, key: it lacks channel, he",
        ),
        ({"axis_names": NCHW, "row": 3}, "row 3 is out of range; there are 3"),
        ({"axis_names": NCHW, "channels": [20]}, "channel 20 is out of range; there are 20"),
        ({"axis_names": NCHW, "channels": 0}, "channels=0 selects nothing"),
        ({"axis_names": NCHW, "channels": []}, r"channels=\[\] selects nothing"),
        ({"axis_names": NCHW, "image": np.zeros(4)}, r"image= has shape \(4,\); it takes one image"),
        ({"axis_names": NCHW, "image": np.zeros((5, 8, 9))}, r"image= has shape \(5, 8, 9\); it takes one"),
    ],
)
def test_what_it_refuses(options, message):
    with pytest.raises(PlotError, match=message):
        plot.feature_maps(maps(), **options)


def test_layers_that_are_no_images():
    with pytest.raises(
        PlotError, match=r"layer 'fc1' of shape \(4, 3\) has sample, unit: it lacks channel, heig"
    ):
        plot.feature_maps(FakeLayer.of(np.zeros((4, 3))))
    video = FakeLayer.of(np.zeros((2, 3, 4, 4, 4)), axes=("sample", "channel", "time", "height", "width"))
    with pytest.raises(
        PlotError, match="it has more axes than these and sample. plot.heatmap draws any layer"
    ):
        plot.feature_maps(video)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 1.5}, "channels=1.5; it takes a number of channels, a list of them, or None"),
        ({"channels": [0, 0.5]}, "channel 0.5 is not a whole number"),
        ({"row": "a"}, "row 'a' is not a whole number"),
        ({"figure": 3}, "figure=3; it takes a matplotlib Figure or SubFigure"),
    ],
)
def test_arguments_that_cannot_be(options, message):
    with pytest.raises(PlotError, match=message):
        plot.feature_maps(
            np.zeros((2, 3, 4, 4)), axis_names=("sample", "channel", "height", "width"), **options
        )
