"""plot.matrix: which values are drawn in which colours, with which names, marks and words."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from test_plot_scatter import closed, ink  # noqa: F401  closed is an autouse fixture

from actlens import compare, plot
from actlens.errors import MissingDependency, PlotError
from actlens.plot import colors, layer_names
from actlens.reduce import optional

mpl = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402


def comparison(values, **about):
    """A Comparison of these values, as of CKA, unless `about` says otherwise."""
    values = np.asarray(values, float)
    fields = {
        "layers_a": tuple(f"a{i}" for i in range(values.shape[0])),
        "layers_b": tuple(f"b{i}" for i in range(values.shape[1])),
        "measure": "cka",
        "options": {"debiased": True},
        "title": "CKA",
        "similarity": True,
        "symmetric": True,
        "signed": False,
        "same": False,
        "rows": 100,
        "samples": 100,
        "only_a": np.arange(0),
        "only_b": np.arange(0),
        "positions": None,
        "path": "gram",
        "why": "",
        "reasons": {},
    }
    return compare.Comparison(values, **(fields | about))


def spread(rows, columns):
    return np.linspace(0, 1, rows * columns).reshape(rows, columns)


def image_of(ax):
    return ax.images[0]


def bar_of(ax):
    """The Axes of the colour bar."""
    (bar,) = [other for other in [*ax.figure.axes, *ax.child_axes] if other is not ax]
    return bar


def names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def caption(ax):
    return ax.get_xlabel().split("\n")[1:]


def texts(ax):
    return [text.get_text() for text in ax.texts]


class TestWhatIsDrawn:
    def test_real_layers(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((60, 6))
        a = {"first": x, "relu": np.maximum(x, 0), "other": rng.standard_normal((60, 4))}
        b = {"turned": x[:, ::-1] * 3 + 1, "else": rng.standard_normal((60, 9))}
        c = compare.matrix(a, b)
        ax = plot.matrix(c)
        image = image_of(ax)
        np.testing.assert_array_equal(np.asarray(image.get_array()), c.values)
        assert image.get_array()[0, 0] == pytest.approx(1)
        assert image.get_clim() == (0, 1)
        assert image.get_cmap().name == "viridis"
        assert (names(ax.yaxis), names(ax.xaxis)) == (["first", "relu", "other"], ["turned", "else"])
        assert ax.get_title(loc="left") == "CKA · 60 rows"
        assert (ax.get_ylabel(), ax.get_xlabel().split("\n")[0]) == ("a", "b")
        assert bar_of(ax).get_ylabel().startswith("CKA")
        assert ink(ax.figure) > 0.2

    def test_a_recording_and_its_steps(self, two_steps):
        import actlens

        path, _, _ = two_steps
        run = actlens.open(path)
        c = compare.matrix(run.sel(step=0), run.sel(step=1), layers="conv", positions="samples")
        ax = plot.matrix(c)
        assert ax.get_title(loc="left") == "CKA · 1,200 rows of 100 samples · positions: samples"
        assert str(path)[-20:] in ax.get_ylabel()
        assert len(ax.get_ylabel()) <= 48

    def test_it_draws_where_it_is_told(self):
        ax = Figure(layout="constrained").add_subplot()
        assert plot.matrix(comparison(spread(3, 3)), ax=ax, title="$x") is ax
        assert ax.get_title(loc="left") == "$x"
        assert ink(ax.figure) > 0.1

    def test_ids_that_were_left_out_are_counted(self):
        c = comparison(spread(2, 2), only_a=np.arange(1200), only_b=np.arange(3))
        assert caption(plot.matrix(c, best=False)) == ["ids left out: 1,200 only in a, 3 only in b"]
        c = comparison(spread(2, 2), only_b=np.arange(3))
        assert caption(plot.matrix(c, best=False)) == ["ids left out: 3 only in b"]
        assert caption(plot.matrix(comparison(spread(2, 2)), best=False)) == []


class TestColours:
    def test_a_value_beyond_the_limits_has_an_arrow(self):
        values = spread(4, 4)
        for low, high, extend in ((0, 1, "neither"), (-0.3, 1, "min"), (0, 1.2, "max"), (-0.3, 1.2, "both")):
            values[1, 1:3] = low, high
            ax = plot.matrix(comparison(values))
            image = image_of(ax)
            assert image.colorbar.extend == extend
            assert image.get_clim() == (0, 1)
            np.testing.assert_array_equal(np.asarray(image.get_array()), values)  # never clipped
            assert ("beyond the limits" in bar_of(ax).get_ylabel()) is (extend != "neither")
            told = [line for line in caption(ax) if line.endswith("beyond the colours")]
            shown = f"values from {min(low, 0):g} to {max(high, 1):g}, beyond the colours".replace("-", "−")
            assert told == ([shown] if extend != "neither" else [])
        assert f"{values[1, 1]:.2f}".replace("-", "−") in texts(ax)  # the raw value, not the limit

    def test_rounding_is_not_beyond(self):
        assert image_of(plot.matrix(comparison([[1 + 2e-9, -1e-12]]))).colorbar.extend == "neither"

    def test_what_may_be_negative_diverges_about_0(self):
        ax = plot.matrix(comparison([[0.4, -0.2], [0.1, 0.3]], signed=True, title="RSA (pearson)"))
        assert image_of(ax).get_cmap().name == "RdBu_r"
        assert image_of(ax).get_clim() == (-1, 1)
        assert bar_of(ax).get_ylabel() == "RSA (pearson)"
        assert texts(ax) == ["0.40", "−0.20", "0.10", "0.30"]

    def test_a_distance_is_alike_at_0(self):
        x = np.random.default_rng(0).standard_normal((50, 4))
        y = np.random.default_rng(1).standard_normal((50, 4))
        c = compare.matrix({"x": x, "y": y}, {"x": 2 * x, "z": x + y}, measure=compare.procrustes)
        ax = plot.matrix(c)
        image = image_of(ax)
        assert bar_of(ax).get_ylabel() == "Procrustes distance: 0 is alike"
        assert image.get_clim() == (0, c.values.max())
        alike, most = image.cmap(image.norm(0.0)), plot.matrix(comparison([[1.0]])).images[0].cmap(1.0)
        assert alike == most  # the same colour as of a similarity of 1
        assert plot.matrix(c).get_title(loc="left") == "Procrustes distance · 50 rows"

    @pytest.mark.parametrize(
        ("values", "similarity", "signed", "expected"),
        [
            ([0.2, 0.9], True, False, colors.Scale("viridis", 0, 1)),
            ([-0.2, 0.9], True, True, colors.Scale("RdBu_r", -1, 1)),
            ([-1.2, 0.9], True, True, colors.Scale("RdBu_r", -1, 1, 0.5, 0, "min")),
            ([0.2, 2.5], False, False, colors.Scale("viridis_r", 0, 2.5)),
            ([0.0, 0.0], False, False, colors.Scale("viridis_r", 0, 1)),
            ([-3.0, 2.0], False, True, colors.Scale("RdBu_r", -3, 3)),
            ([np.nan, np.inf], True, False, colors.Scale("viridis", 0, 1, 0, 2)),
        ],
    )
    def test_the_scale(self, values, similarity, signed, expected):
        found = colors.comparison_scale(np.array(values), similarity=similarity, signed=signed)
        assert found == expected


class TestMissing:
    def test_black_and_counted_with_its_reasons(self):
        values = spread(3, 3)
        values[1] = np.nan
        values[0, 2] = np.nan
        reasons = {("a1", f"b{i}"): "a: zero variance" for i in range(3)} | {("a0", "b2"): "b: too wide"}
        ax = plot.matrix(comparison(values, reasons=reasons))
        image = image_of(ax)
        black = np.argwhere((image.cmap(image.norm(image.get_array())) == [0, 0, 0, 1]).all(axis=-1))
        assert black.tolist() == [[0, 2], [1, 0], [1, 1], [1, 2]]
        assert " ".join(caption(ax)).endswith(
            "black: no value in 4 cells: a: zero variance (3); b: too wide (1)"
        )
        assert "black: 4 NaN or inf" in bar_of(ax).get_ylabel()
        assert texts(ax).count("NaN") == 4

    def test_of_a_constant_layer(self):
        x = np.random.default_rng(0).standard_normal((30, 4))
        c = compare.matrix({"x": x, "zero": np.zeros((30, 2))}, {"y": x + 1})
        words = " ".join(caption(plot.matrix(c)))
        assert "black: no value in 1 cell: " in words
        assert next(iter(c.reasons.values())) in words

    def test_without_numbers_they_are_crossed_out(self):
        values = spread(14, 14)
        values[3, 4:6] = np.nan
        ax = plot.matrix(comparison(values))
        (marks,) = ax.collections
        assert marks.get_offsets().tolist() == [[4, 3], [5, 3]]
        assert not plot.matrix(comparison(spread(14, 14))).collections

    def test_many_reasons_are_cut_short(self):
        values = np.full((1, 5), np.nan)
        reasons = {("a0", f"b{i}"): f"b: reason {i}" for i in range(5)}
        words = " ".join(caption(plot.matrix(comparison(values, reasons=reasons))))
        assert words.count("reason ") == 3
        assert words.endswith("2 more reasons")


class TestMask:
    def test_cells_within_z_of_chance_are_hatched(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((80, 5))
        c = compare.matrix({"x": x, "noise": rng.standard_normal((80, 5))}, {"x": x, "y": x + 0.1})
        weak = np.abs(c.z) < 5
        assert weak.any()
        assert not weak.all()
        ax = plot.matrix(c, z=5)
        veil, hatch = ax.patches
        corners = hatch.get_path().vertices.reshape(-1, 5, 2)
        assert sorted(map(tuple, corners[:, 0] + 0.5)) == sorted(map(tuple, np.argwhere(weak)[:, ::-1]))
        assert hatch.get_hatch()
        assert veil.get_path().vertices.tolist() == hatch.get_path().vertices.tolist()
        assert f"hatched: |z| < 5, in {weak.sum()} of 4 cells" in caption(ax)
        np.testing.assert_array_equal(np.asarray(image_of(ax).get_array()), c.values)
        assert not plot.matrix(c).patches

    def test_a_cell_without_a_value_is_not_hatched(self):
        values = np.array([[0.0, np.nan], [0.9, 0.0]])
        ax = plot.matrix(comparison(values), z=3.0)
        assert len(ax.patches[0].get_path().vertices) == 2 * 5
        assert "hatched: |z| < 3, in 2 of 4 cells" in caption(ax)

    def test_none_is_said_too(self):
        ax = plot.matrix(comparison([[0.9]]), z=1.5)
        assert not ax.patches
        assert "hatched: |z| < 1.5, in 0 of 1 cells" in caption(ax)


class TestBest:
    def test_a_line_through_the_best_of_each_row(self):
        values = np.random.default_rng(0).random((20, 15))
        values[7] = np.nan
        ax = plot.matrix(comparison(values))
        (line,) = ax.lines
        rows, columns = line.get_ydata(), line.get_xdata()
        assert rows.tolist() == list(range(20))
        good = np.arange(20) != 7
        np.testing.assert_array_equal(columns[good], values[good].argmax(axis=1))
        assert np.isnan(columns[7])  # a gap, not a line past it
        assert "line: the best match of each row" in caption(ax)
        without = plot.matrix(comparison(values), best=False)
        assert not without.lines
        assert not caption(without)[0].startswith("line")

    def test_the_best_distance_is_the_smallest(self):
        values = np.random.default_rng(0).random((4, 5))
        ax = plot.matrix(comparison(values, similarity=False))
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), values.argmin(axis=1))

    def test_a_layer_is_not_its_own_best(self):
        values = np.array([[1.0, 0.2, 0.3], [0.2, 1.0, 0.5], [0.3, 0.5, 1.0]])
        layers = {"layers_a": ("x", "y", "z"), "layers_b": ("x", "y", "z")}
        ax = plot.matrix(comparison(values, same=True, **layers))
        assert ax.lines[0].get_xdata().tolist() == [2, 2, 1]

    def test_of_nothing(self):
        ax = plot.matrix(comparison([[np.nan]]))
        assert not ax.lines
        assert caption(ax) == ["black: no value in 1 cell"]

    def test_dots_stay_clear_of_the_numbers(self):
        ax = plot.matrix(comparison(spread(12, 12)))
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        for dot in ax.transData.transform(ax.lines[0].get_xydata()):
            assert not any(box.contains(*dot) for box in boxes)


class TestNumbers:
    def test_while_there_are_few(self):
        values = spread(12, 3)
        ax = plot.matrix(comparison(values))
        assert texts(ax) == [f"{value:.2f}" for value in values.reshape(-1)]
        assert not plot.matrix(comparison(spread(13, 3))).texts
        assert len(plot.matrix(comparison(spread(13, 3)), annotate=True).texts) == 39
        assert not plot.matrix(comparison(values), annotate=False).texts

    def test_they_are_read_on_their_colour(self):
        ax = plot.matrix(comparison([[0.05, 0.95]]))
        assert [text.get_color() for text in ax.texts] == ["white", "black"]
        ax = plot.matrix(comparison([[-0.95, 0.0, 0.95]], signed=True))
        assert [text.get_color() for text in ax.texts] == ["white", "black", "white"]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.123, 1.5], ["0.12", "1.50"]),
            ([0.0123, 0.04], ["0.012", "0.040"]),
            ([1e-9, 2e-9], ["0.0000", "0.0000"]),
            ([12.34, 1], ["12.3", "1.0"]),
            ([1234.5, 1], ["1234", "1"]),
            ([0, 0], ["0.00", "0.00"]),
            ([-np.inf, 0.5], ["−inf", "0.50"]),
        ],
    )
    def test_with_as_many_decimals_as_they_need(self, values, expected):
        assert texts(plot.matrix(comparison([values], similarity=False))) == expected


class TestNames:
    def test_text_is_shown_as_it_is_written(self):
        hostile = ("$x_1$ and $y_{2", "_private", "a\x1b[2Jb")
        c = comparison(spread(3, 3), layers_a=hostile, layers_b=hostile, name_a="$run$", name_b="$\n$")
        ax = plot.matrix(dataclasses.replace(c, title="$CKA", reasons={("$", "$"): "$"}))
        assert names(ax.yaxis) == ["$x_1$ and $y_{2", "_private", r"a\x1b[2Jb"]
        assert ax.get_ylabel() == "$run$"
        labels = [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
        assert not any(label.get_parse_math() for label in labels)
        assert ink(ax.figure) > 0.1  # an unclosed $ would raise here

    @pytest.mark.parametrize("count", [1, 5, 12, 20, 40, 60])
    def test_all_are_legible(self, count):
        long = tuple(f"backbone.encoder.layers.{i}.self_attention.out_projection" for i in range(count))
        ax = plot.matrix(comparison(spread(count, count), layers_a=long, layers_b=long))
        ax.figure.canvas.draw()
        assert len(names(ax.yaxis)) == len(names(ax.xaxis)) == count
        boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
        assert all(low.y1 <= high.y0 + 1 for high, low in itertools.pairwise(boxes))
        assert min(label.get_fontsize() for label in ax.get_xticklabels()) >= 6
        assert all(
            f".{i}.self" in f".{name.lstrip('…')}" for i, name in enumerate(names(ax.xaxis)) if count > 1
        )
        everything = ax.figure.get_tightbbox().extents * ax.figure.dpi
        outside = ax.figure.bbox.extents
        assert (everything[:2] >= -2).all()
        assert (everything[2:] <= outside[2:] + 2).all()

    def test_of_very_many_every_other_is_written(self):
        ax = plot.matrix(comparison(spread(130, 130)))
        step = int(np.diff(ax.get_yticks())[0])
        assert step > 1
        assert names(ax.yaxis) == [f"a{i}" for i in range(0, 130, step)]
        small = Figure(figsize=(3, 3), layout="constrained").add_subplot()
        assert len(names(plot.matrix(comparison(spread(40, 40)), ax=small).yaxis)) < 40

    def test_of_few_letters_they_lie_flat(self):
        flat = plot.matrix(comparison(spread(3, 3))).get_xticklabels()[0]
        assert flat.get_rotation() == 0
        long = tuple(f"conv{i}.weight.norm" for i in range(13))
        assert (
            plot.matrix(comparison(spread(13, 13), layers_b=long)).get_xticklabels()[0].get_rotation() == 45
        )
        assert plot.matrix(comparison(spread(40, 40))).get_xticklabels()[0].get_rotation() in (0, 90)

    def test_cut_names_are_told_apart(self):
        inner = [f"transformer.h.{i}.attn.c_proj.weight_of_it" for i in range(30)]
        shown = layer_names.shortened(inner)
        assert len(set(shown)) == 30
        assert max(map(len, shown)) <= layer_names.LONGEST
        assert layer_names.shortened(["x" * 40 + "1" + "y" * 40, "x" * 40 + "2" + "y" * 40], 9) != ["…", "…"]
        assert len(set(layer_names.shortened([f"{'x' * 40}{i}{'y' * 40}" for i in range(9)], 9))) == 9
        assert layer_names.shortened([]) == []
        assert layer_names.shortened(["a.b", "a.c"]) == ["a.b", "a.c"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 40), (40, 3), (5, 10)])
def test_the_colour_bar_is_as_high_as_the_cells(shape):
    ax = plot.matrix(comparison(spread(*shape)))
    ax.figure.canvas.draw()
    cells, bar = ax.get_window_extent(), bar_of(ax).get_window_extent()
    assert abs(bar.height - cells.height) <= 0.12 * cells.height
    assert bar.x0 > cells.x1
    square = cells.width / shape[1] / (cells.height / shape[0])
    assert max(shape) > 3 * min(shape) or square == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z": 0}, "plot.matrix: z=0; it takes a number above 0, e.g. 3.0, or None"),
        ({"z": -3.0}, "plot.matrix: z=-3.0; it takes a number above 0"),
        ({"z": float("nan")}, "z=nan; it takes"),
        ({"z": float("inf")}, "z=inf; it takes"),
        ({"z": "3"}, "z='3'; it takes"),
        ({"z": True}, "z=True; it takes"),
        ({"ax": 3}, "plot.matrix: ax= must be a 2-D matplotlib Axes; got int"),
    ],
)
def test_what_it_refuses(options, message):
    with pytest.raises(PlotError, match=message):
        plot.matrix(comparison(spread(2, 2)), **options)


def test_no_z():
    x = np.random.default_rng(0).standard_normal((30, 4))
    c = compare.matrix({"x": x}, {"y": x}, measure=compare.cka.with_options(debiased=False))
    with pytest.raises(
        PlotError, match="plot.matrix: z=3 hatches what chance explains, and here it cannot. z is of debiased"
    ):
        plot.matrix(c, z=3)


def test_no_comparison():
    with pytest.raises(
        PlotError, match="plot.matrix takes a Comparison, as compare.matrix returns it; got ndarray.$"
    ):
        plot.matrix(np.eye(3))


def test_a_box_is_no_place_for_it():
    box = Figure().add_subplot(projection="3d")
    with pytest.raises(PlotError, match="ax= must be a 2-D matplotlib Axes for this picture"):
        plot.matrix(comparison(spread(2, 2)), ax=box)


def test_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(optional, "_absent", lambda _module: True)
    with pytest.raises(MissingDependency, match=r"plot.matrix needs matplotlib, .*'actlens\[plot\]'"):
        plot.matrix(comparison(spread(2, 2)))
