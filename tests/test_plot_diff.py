"""plot.diff: which errors are drawn where, what is marked, and what the words around say."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from test_plot_scatter import closed, ink, legend_texts  # noqa: F401  closed is an autouse fixture

from actlens import compare, plot
from actlens.errors import MissingDependency, PlotError
from actlens.reduce import optional

mpl = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402

RELATIVE, MAX_ABS, GAP = "‖b − a‖ / ‖a‖", "max |b − a|", "1 − CKA"


def layer(name, relative=1e-7, max_abs=1e-6, cka_gap=1e-12, *, name_b="", reason="", diagnosis="", **counts):
    """The figures of one layer: values that no small recording has."""
    shape = {"shape_a": (4,), "shape_b": (4,), "rows": 25, "cka_rows": 25, "worst": 3, "elsewhere": 0}
    moments = {"cosine": 1.0, "mean_a": 0.0, "mean_b": 0.0, "variance_ratio": 1.0, "matched": "name"}
    return compare.LayerDiff(
        name_a=name,
        name_b=name_b or name,
        relative=relative,
        max_abs=max_abs,
        cka_gap=cka_gap,
        reason=reason,
        diagnosis=diagnosis,
        **(shape | moments | {"values": 100, "finite_a": 100, "finite_b": 100} | counts),
    )


def report(*layers, **about):
    fields = {"rtol": 1e-5, "atol": 1e-8, "rows": 50, "unmatched_a": (), "unmatched_b": ()}
    nobody = np.arange(0)
    return compare.Diff(tuple(layers), **(fields | {"only_a": nobody, "only_b": nobody} | about))


FAR = "relative 0.3 > 1e-05"


def port(count, first, diagnosis=""):
    """Layers that agree to rounding up to one, and differ from there on."""
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(count) < first, 1e-7, 0.3) * rng.uniform(0.5, 2, count)
    return report(
        *(
            layer(f"layer{i}", size, 7 * size, size**2, reason=FAR * (size > 1e-5), diagnosis=diagnosis)
            for i, size in enumerate(sizes.tolist())
        )
    )


def line(ax, name):
    (found,) = (each for each in ax.lines if each.get_label() == name)
    return found


def heights(ax, name):
    return np.asarray(line(ax, name).get_ydata(), float)


def ticks(ax):
    return dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))


def above(ax):
    """The label over the first layer that diverges, and where it is."""
    (axis,) = ax.child_axes
    (label,) = axis.get_xticklabels()
    return label, axis.get_xticks()[0]


SOME = (
    layer("conv1", 2e-7, 3e-6, 1e-13),
    layer("conv2", 0.3, 4.0, 0.02, reason=FAR),
    layer("fc", 0.1, 2.0, 0.01, reason=FAR),
)


class TestErrors:
    def test_by_depth_on_a_log_scale(self):
        ax = plot.diff(report(*SOME))
        assert ax.get_yscale() == "log"
        for name, field in ((RELATIVE, "relative"), (MAX_ABS, "max_abs"), (GAP, "cka_gap")):
            np.testing.assert_array_equal(heights(ax, name), [getattr(each, field) for each in SOME])
            np.testing.assert_array_equal(line(ax, name).get_xdata(), [0, 1, 2])
        assert [label.get_text() for label in ax.get_xticklabels()] == ["conv1", "conv2", "fc"]
        assert ax.get_title(loc="left") == "3 layers · 50 samples · 2 diverge"
        assert legend_texts(ax) == [RELATIVE, MAX_ABS, GAP, "rtol 1e-05"]
        assert ax.get_xlabel() == ""
        low, high = ax.get_ylim()
        assert low < 1e-13
        assert high > 4
        assert ink(ax.figure) > 0.02

    def test_the_tolerance(self):
        ax = plot.diff(report(*SOME, rtol=2e-4))
        assert list(line(ax, "rtol 0.0002").get_ydata()) == [2e-4, 2e-4]
        assert line(ax, "rtol 0.0002").get_color() == line(ax, RELATIVE).get_color()
        exact = plot.diff(report(*SOME, rtol=0.0))
        assert not any(text.startswith("rtol") for text in legend_texts(exact))

    def test_0_has_a_place_below_all_others(self):
        ax = plot.diff(report(layer("a", 0.0, 0.0, 0.0), layer("b", 1e-7, 2e-6, 1e-9)))
        bottom = ticks(ax)["0"]
        assert all(heights(ax, name)[0] == bottom for name in (RELATIVE, MAX_ABS, GAP))
        assert bottom < 1e-9 / 2
        assert ax.get_ylim()[0] < bottom
        assert "0" not in ticks(plot.diff(report(*SOME)))

    def test_all_zero(self):
        zeros = [layer(name, 0.0, 0.0, 0.0) for name in "abc"]
        ax = plot.diff(report(*zeros))
        assert ax.get_title(loc="left") == "3 layers · 50 samples · none diverges"
        assert (heights(ax, RELATIVE) == ticks(ax)["0"]).all()
        assert ax.get_ylim()[0] < ticks(ax)["0"] < 1e-5 < ax.get_ylim()[1]
        assert ink(plot.diff(report(*zeros, rtol=0.0, atol=0.0)).figure) > 0.01
        assert not ax.child_axes

    @pytest.mark.parametrize("gap", [-3e-16, 1e-29, -0.01])
    def test_a_gap_below_rounding_is_at_0_and_says_so(self, gap):
        ax = plot.diff(report(layer("a", cka_gap=gap), layer("b", cka_gap=3e-16)))
        name = f"{GAP} (below 1e-16: at 0)"
        assert heights(ax, name).tolist() == [ticks(ax)["0"], 3e-16]
        assert ax.get_ylim()[0] > 1e-19  # no decades of noise
        assert legend_texts(ax)[2] == name

    def test_a_cka_that_is_not_known_leaves_a_gap(self):
        ax = plot.diff(report(layer("a"), layer("constant", cka_gap=np.nan), layer("c")))
        assert np.isnan(heights(ax, GAP)).tolist() == [False, True, False]
        assert "no number" not in ticks(ax)

    @pytest.mark.parametrize("count", [1, 2, 30, 200])
    def test_any_number_of_layers(self, count):
        ax = plot.diff(port(count, count // 2))
        assert len(heights(ax, RELATIVE)) == count
        ax.figure.canvas.draw()
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        turned = ax.get_xticklabels()[0].get_rotation()
        assert turned != 90 or all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(boxes))
        assert len(ticks(ax)) <= 12
        everything = ax.figure.get_tightbbox().extents * ax.figure.dpi
        assert (everything[:2] >= -2).all()
        assert (everything[2:] <= ax.figure.bbox.extents[2:] + 2).all()


class TestNotFinite:
    def test_layers_with_nan_are_marked_above(self):
        ax = plot.diff(
            report(
                layer("a"),
                layer("some", finite_b=99, reason=FAR),
                layer("all", np.nan, np.nan, np.nan, finite_a=0, finite_b=0, reason=FAR),
                layer("beyond", np.inf, 3.0, 0.1, reason=FAR),
            )
        )
        marks = line(ax, "NaN or inf")
        assert marks.get_xdata().tolist() == [1, 2, 3]
        assert set(marks.get_ydata()) == {ticks(ax)["no number"]}
        assert ticks(ax)["no number"] > 3.0
        assert ax.get_ylim()[1] > ticks(ax)["no number"]
        assert marks.get_color() == "#000000"
        assert heights(ax, RELATIVE)[1] == 1e-7  # what is finite is still drawn
        assert "NaN or inf" in legend_texts(ax)

    def test_layers_that_cannot_be_joined_are_no_nan(self):
        apart = layer("b", np.nan, np.nan, 0.4, finite_a=0, finite_b=0, values=0, reason=FAR)
        ax = plot.diff(report(layer("a"), apart))
        assert line(ax, "cannot be joined").get_xdata().tolist() == [1]
        assert "NaN or inf" not in legend_texts(ax)
        assert heights(ax, GAP)[1] == 0.4


class TestFirst:
    text = (
        "another scale and shift for each channel: b is s·a + t with s from 0.3 to 2.1. Look at what is "
        "applied by channel: mean and variance of a norm, its weight and bias (confirmed: what is left of b "
        "is 4e-07)"
    )

    @pytest.mark.parametrize("first", [0, 5, 11])
    def test_it_is_marked_with_its_diagnosis(self, first):
        ax = plot.diff(port(12, first, diagnosis=self.text))
        label, place = above(ax)
        assert place == first
        assert label.get_text().replace("\n", " ") == f"layer{first} diverges first ({FAR}): {self.text}"
        assert any(list(each.get_xdata()) == [first, first] for each in ax.lines)

    @pytest.mark.parametrize("first", [0, 5, 11])
    @pytest.mark.parametrize("size", [None, (4.5, 3.5)])
    def test_the_text_covers_nothing(self, first, size):
        own = Figure(figsize=size, layout="constrained").add_subplot() if size else None
        ax = plot.diff(port(12, first, diagnosis=self.text), ax=own)
        ink(ax.figure)  # a bare figure is laid out by no canvas of its own
        box, title = above(ax)[0].get_window_extent(), ax._left_title.get_window_extent()
        for name in (RELATIVE, MAX_ABS, GAP):
            points = ax.transData.transform(line(ax, name).get_xydata())
            assert points[:, 1].max() < box.y0
        assert title.y0 >= box.y1 - 1  # and the title is above it
        assert (box.x0 >= -1) or size is not None
        assert ax.get_legend().get_window_extent().y1 < box.y0

    def test_without_a_diagnosis(self):
        label, _ = above(plot.diff(report(*SOME)))
        assert label.get_text() == f"conv2 diverges first ({FAR})"

    def test_none(self):
        ax = plot.diff(report(layer("a"), layer("b")))
        assert not ax.child_axes
        assert ax.get_title(loc="left") == "2 layers · 50 samples · none diverges"


class TestWords:
    def test_layers_of_one_side_and_of_other_names(self):
        ax = plot.diff(
            report(
                layer("conv1", name_b="Conv_0"),
                layer("fc"),
                unmatched_a=("dropout",),
                unmatched_b=tuple(f"input{i}" for i in range(7)),
                only_b=np.arange(1200),
            )
        )
        assert ax.get_xlabel().split("\n") == [
            "a = b: conv1 = Conv_0",
            "only in a: dropout",
            "only in b: input0, input1, input2, input3 and 3 more",
            "ids left out: 1,200 only in b",
        ]

    def test_text_is_shown_as_it_is_written(self):
        hostile = report(
            layer("$x_1$ and $y_{2", name_b="$\x1b[2J", reason=FAR, diagnosis="$\\frac{1$ \x1b"),
            unmatched_a=("$a",),
        )
        ax = plot.diff(hostile)
        assert "\x1b" not in ax.get_xlabel() + above(ax)[0].get_text()
        assert ax.get_xticklabels()[0].get_text() == "$x_1$ and $y_{2"
        labels = [ax.get_xticklabels()[0], above(ax)[0], ax.xaxis.label, ax._left_title]
        assert not any(label.get_parse_math() for label in labels)
        assert ink(ax.figure) > 0.01  # an unclosed $ would raise here

    def test_it_draws_where_it_is_told(self):
        ax = Figure(layout="constrained").add_subplot()
        assert plot.diff(report(*SOME), ax=ax, title="$t") is ax
        assert ax.get_title(loc="left") == "$t"
        assert ink(ax.figure) > 0.02


class TestOfRecordings:
    """Through compare.diff: what it says is what is drawn."""

    @pytest.fixture
    def sides(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((60, 8)).astype("f4")
        a = {"fc1": x, "fc2": x @ rng.standard_normal((8, 5)).astype("f4")}
        b = {"fc1": x.copy(), "fc2": a["fc2"] * np.float32(255)}
        return a, b

    def test_a_mistake(self, sides):
        a, b = sides
        found = compare.diff(a, b)
        ax = plot.diff(found)
        relative = np.linalg.norm(b["fc2"] - a["fc2"], axis=None) / np.linalg.norm(a["fc2"])
        assert heights(ax, RELATIVE)[1] == pytest.approx(relative, rel=1e-5)
        assert heights(ax, MAX_ABS)[1] == pytest.approx(np.abs(b["fc2"] - a["fc2"]).max(), rel=1e-5)
        assert heights(ax, RELATIVE)[0] == ticks(ax)["0"]
        label, place = above(ax)
        assert (found.first, place) == ("fc2", 1)
        text = label.get_text().replace("\n", " ")
        assert text == f"fc2 diverges first ({found['fc2'].reason}): {found.diagnosis}"
        assert "255" in text
        assert ax.get_title(loc="left") == "2 layers · 60 samples · 1 diverges"

    def test_the_same(self, sides):
        a, _ = sides
        ax = plot.diff(compare.diff(a, {name: values.copy() for name, values in a.items()}))
        assert ax.get_title(loc="left") == "2 layers · 60 samples · none diverges"
        assert not ax.child_axes

    def test_inf(self, sides):
        a, b = sides
        b["fc2"][3, 1] = np.inf
        assert line(plot.diff(compare.diff(a, b)), "NaN or inf").get_xdata().tolist() == [1]


@pytest.mark.parametrize("given", [np.eye(3), None, {"layers": ()}])
def test_no_diff(given):
    with pytest.raises(PlotError, match=r"plot.diff takes a Diff, as compare.diff returns it; got \w+\.$"):
        plot.diff(given)


def test_a_comparison_is_another_picture():
    x = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(PlotError, match="plot.diff takes a Diff, .*got Comparison. plot.matrix draws that"):
        plot.diff(compare.matrix({"x": x}))


def test_other_axes():
    with pytest.raises(PlotError, match="plot.diff: ax= must be a 2-D matplotlib Axes; got int"):
        plot.diff(report(*SOME), ax=3)
    with pytest.raises(PlotError, match="ax= must be a 2-D matplotlib Axes for this picture"):
        plot.diff(report(*SOME), ax=Figure().add_subplot(projection="3d"))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(MissingDependency, match=r"plot.diff needs matplotlib, .*'actlens\[plot\]'"):
        plot.diff(report(*SOME))
