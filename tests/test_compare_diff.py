"""compare.diff: figures against numpy, what diverges, which layers and rows go together; what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import actlens
from actlens.activations import Activations
from actlens.compare.assert_close import assert_close
from actlens.compare.diff import diff
from actlens.compare.difference_sums import DifferenceSums
from actlens.compare.matching import best_path
from actlens.compare.pair_cka import gap_of_layers, gap_of_rows
from actlens.errors import ActlensError, CompareError, DiffError, NotClose, NotFound

NCHW = ("sample", "channel", "height", "width")
NHWC = ("sample", "height", "width", "channel")


@pytest.fixture
def record(tmp_path):
    count = iter(range(100))

    def written(acts, ids, axes=None, batch=20, **more):
        with actlens.Recorder(tmp_path / f"run{next(count)}", shard_bytes=20_000, durability="rename") as rec:
            for at in range(0, len(ids), batch):
                rows = slice(at, at + batch)
                some = {name: value[rows] for name, value in acts.items()}
                options = {
                    name: {key: each[rows] for key, each in value.items()} for name, value in more.items()
                }
                rec.write(Activations(some, axes or {}), id=ids[rows], **options)
        return actlens.open(rec.path)

    return written


@pytest.fixture
def images(rng):
    conv = rng.normal(size=(60, 3, 8, 6)).astype("f4")
    fc = rng.normal(2, 1, size=(60, 7)).astype("f4")
    return {"conv": conv, "fc": fc}


def _exact_gap(x, y):
    """1 − debiased CKA in extended precision, as half the squared distance of the normalised matrices."""

    def unit(z):
        z = z.reshape(len(z), -1).astype(np.longdouble)
        z = z - z.mean(0)
        k, n = z @ z.T, len(z)
        np.fill_diagonal(k, 0)
        sums = k.sum(0)
        k -= (sums[:, None] + sums[None]) / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(k, 0)
        return k / np.sqrt((k * k).sum())

    return float(((unit(x) - unit(y)) ** 2).sum() / 2)


# ---------------------------------------------------------------- figures


def test_figures_are_those_of_numpy(images, rng):
    other = {name: value + rng.normal(0, 1e-3, value.shape).astype("f4") for name, value in images.items()}
    found = diff(images, other)
    assert [layer.name_a for layer in found.layers] == ["conv", "fc"]
    for layer in found.layers:
        a, b = (side[layer.name_a].astype("f8") for side in (images, other))
        apart = np.abs(b - a)
        assert layer.max_abs == apart.max()
        assert layer.worst == np.unravel_index(apart.argmax(), apart.shape)[0]
        assert layer.relative == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-12)
        cosine = np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        assert layer.cosine == pytest.approx(cosine, abs=1e-14)
        assert layer.mean_a == pytest.approx(a.mean(), rel=1e-12)
        assert layer.mean_b == pytest.approx(b.mean(), rel=1e-12)
        assert layer.variance_ratio == pytest.approx(b.var() / a.var(), rel=1e-12)
        assert layer.cka_gap == pytest.approx(_exact_gap(a, b), rel=1e-6)
        assert (layer.values, layer.finite_a, layer.finite_b, layer.rows) == (a.size, a.size, a.size, 60)
        assert layer.diverges
    assert found.first == "conv"
    assert (found.rows, len(found.only_a), len(found.only_b)) == (60, 0, 0)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e200, 2.0**1000])
def test_squares_neither_overflow_nor_vanish(rng, scale):
    a = rng.normal(3, 1, (40, 50))
    b = a + 1e-4 * rng.normal(size=a.shape)
    sums = DifferenceSums()
    for at in range(0, 40, 15):
        sums.add(a[at : at + 15] * scale, b[at : at + 15] * scale, at)
    assert sums.relative == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-9)
    assert sums.max_abs == pytest.approx(np.abs(b - a).max() * scale, rel=1e-9)
    assert sums.max_row == np.abs(b - a).max(axis=1).argmax()
    assert sums.variance_ratio == pytest.approx(b.var() / a.var(), rel=1e-9)
    assert sums.mean[1] == pytest.approx(b.mean() * scale, rel=1e-12)
    assert diff({"l": a * scale}, {"l": b * scale}).first == "l"


def test_a_mean_far_from_zero_costs_the_variance_nothing(rng):
    a = 1e6 + rng.normal(size=(500, 30))
    b = 1e6 + 2 * rng.normal(size=(500, 30))
    assert diff({"l": a}, {"l": b}).layers[0].variance_ratio == pytest.approx(b.var() / a.var(), rel=1e-6)


@pytest.mark.parametrize("noise", [1e-7, 1e-4, 1e-1])
@pytest.mark.parametrize(("rows", "features"), [(300, 20), (60, 200)])
def test_what_debiased_cka_leaves_has_many_digits(rng, rows, features, noise):
    x = rng.normal(size=(rows, features)) @ rng.normal(size=(features, features)) + 50
    y = x + noise * rng.normal(size=x.shape)

    class Blocks:
        def __init__(self, values):
            self.values = values

        def blocks(self, start, stop, block):
            return (self.values[at : at + block] for at in range(start, stop, block))

    exact = _exact_gap(x, y)
    assert gap_of_rows(x, y) == pytest.approx(exact, rel=1e-4)
    assert gap_of_layers(Blocks(x), Blocks(y), rows, features, 37) == pytest.approx(exact, rel=1e-4)
    # 1 − (1 − gap) would have no digit of the smallest: a scale and a shift of b change nothing either
    assert gap_of_rows(x, 255 * y + 3) == pytest.approx(exact, rel=1e-4)


def test_debiased_cka_says_nothing_of_a_constant_layer(rng):
    x = rng.normal(size=(20, 3))
    assert np.isnan(gap_of_rows(x, np.full((20, 3), 0.1)))
    assert np.isnan(diff({"l": np.full((20, 3), 0.1)}, {"l": x}).layers[0].cka_gap)
    assert np.isnan(diff({"l": x[:3]}, {"l": x[:3]}).layers[0].cka_gap)  # too few rows
    assert gap_of_rows(x, x[:, [2, 0, 1]]) < 1e-28


def test_debiased_cka_of_many_rows(rng, monkeypatch):
    from actlens.compare import layer_diff

    tall = rng.normal(size=(3000, 12))
    near = tall + 1e-6 * rng.normal(size=tall.shape)
    layer = diff({"l": tall}, {"l": near}).layers[0]
    assert (layer.cka_rows, layer.rows) == (3000, 3000)
    assert layer.cka_gap == pytest.approx(_exact_gap(tall[:3000], near[:3000]), rel=1e-4)
    monkeypatch.setattr(layer_diff, "_MOST_PRODUCTS", 1e6)
    found = diff({"l": tall}, {"l": near})
    chosen = np.arange(204) * 3000 // 204
    assert found.layers[0].cka_rows == 204
    assert found.layers[0].cka_gap == pytest.approx(_exact_gap(tall[chosen], near[chosen]), rel=1e-4)
    assert "≈" in found.table()
    assert "from some of the rows" in str(found)


# ---------------------------------------------------------------- what diverges


def test_the_same_agrees_with_no_tolerance_at_all(images):
    found = diff(images, images, rtol=0, atol=0)
    assert found.ok
    assert found.first is None
    assert found.diagnosis is None
    assert "all 2 layers agree (rtol=0, atol=0)" in str(found)


def test_both_bounds_must_be_kept(rng):
    a = rng.normal(size=(100, 100))
    one = a.copy()
    one[7, 3] += 1e-3  # 1e-5 of the whole, but one value is far off
    found = diff({"l": a}, {"l": one}, rtol=2e-5, atol=1e-5)
    assert found.layers[0].relative < 2e-5
    assert found.layers[0].reason.startswith("max |Δ| 0.001 > ")
    assert found.layers[0].worst == 7
    assert diff({"l": a}, {"l": one}, rtol=2e-5, atol=1e-3).ok
    small = 1e-6 * a
    assert diff({"l": small}, {"l": small * 1.01}).layers[0].reason == "relative 0.01 > 1e-05"
    zero = np.zeros((5, 4))
    assert diff({"l": zero}, {"l": zero}).ok
    assert diff({"l": zero}, {"l": zero + 1e-9}).layers[0].relative == np.inf


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.nan, np.inf), (np.inf, 1.0)]
)
def test_what_is_not_finite_never_agrees_with_something_else(rng, a, b):
    rows = rng.normal(size=(30, 8))
    left, right = rows.copy(), rows.copy()
    left[11, 2], right[11, 2] = a, b
    found = diff({"l": left}, {"l": right}, rtol=10, atol=10)
    layer = found.layers[0]
    assert not found.ok
    assert (layer.elsewhere, layer.worst) == (1, 11)
    assert layer.reason == "NaN or inf at other places: 1 of 240 values"
    assert (layer.finite_a, layer.finite_b) == (240 - (not np.isfinite(a)), 240 - (not np.isfinite(b)))
    assert "first of them: in id 11" in str(found)
    assert found.diagnosis is None


def test_what_is_not_finite_in_the_same_places(rng):
    rows = rng.normal(size=(30, 8))
    rows[3, 1], rows[5, 5] = np.nan, -np.inf
    found = diff({"l": rows}, {"l": rows})
    assert found.ok
    assert found.layers[0].finite_a == 238
    assert found.layers[0].relative == 0
    assert "238 | 238" in found.table()
    nothing = np.full((5, 3), np.nan)
    assert diff({"l": nothing}, {"l": nothing}, rtol=10).layers[0].reason == "no value is finite in both"


def test_shapes_that_cannot_be_joined(images):
    cut = images | {"conv": images["conv"][:, :, :7]}
    found = diff(images, cut)
    assert found.first == "conv"
    assert found.layers[0].reason == (
        "shapes (axis1 3, axis2 8, axis3 6) and (axis1 3, axis2 7, axis3 6) cannot be joined"
    )
    assert np.isnan(found.layers[0].max_abs)
    assert found.layers[0].cka_gap == pytest.approx(_exact_gap(images["conv"], cut["conv"]), rel=1e-6)
    assert not found.layers[1].diverges


def test_whole_numbers_and_half_precision_are_compared_in_float64(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    whole = rng.integers(-100, 100, (50, 4))
    assert diff({"l": whole.astype("i2")}, {"l": whole.astype("f8")}, rtol=0, atol=0).ok
    half = np.full((30, 40), 300, "f2")  # their squares are beyond float16
    assert diff({"l": half}, {"l": half * 1.01}).layers[0].relative == pytest.approx(0.01, rel=0.05)
    narrow = whole.astype(ml_dtypes.bfloat16)
    assert diff({"l": narrow}, {"l": narrow}).ok


# ---------------------------------------------------------------- rows and axes


def test_a_shuffled_loader_and_channels_last_change_nothing(record, images, rng):
    ids = np.arange(60) * 3
    a = record(images, ids, {"conv": NCHW})
    noisy = {name: value + rng.normal(0, 1e-3, value.shape).astype("f4") for name, value in images.items()}
    b = record(noisy, ids, {"conv": NCHW})
    order = rng.permutation(60)
    moved = {"conv": noisy["conv"].transpose(0, 2, 3, 1)[order], "fc": noisy["fc"][order]}
    other = record(moved, ids[order], {"conv": NHWC}, batch=17)
    first, second = diff(a, b), diff(a, other)
    assert str(first) == str(second)
    for one, two in zip(first.layers, second.layers, strict=True):
        assert one == two  # to the bit
    assert first.layers[0].shape_a == (8, 6, 3)
    assert not first.ok
    assert diff(
        a, record({"conv": images["conv"].transpose(0, 2, 3, 1)}, ids, {"conv": NHWC}), layers="conv"
    ).ok


def test_partial_overlap_is_counted(record, images):
    a = record({k: v[:40] for k, v in images.items()}, np.arange(40))
    b = record({k: v[10:] for k, v in images.items()}, np.arange(10, 60))
    found = diff(a, b)
    assert found.ok
    assert found.rows == 30
    assert (found.only_a.tolist(), found.only_b.tolist()) == (list(range(10)), list(range(40, 60)))
    assert "30 samples compared; 10 ids only in a (e.g. 0, 1, 2); 20 ids only in b (e.g. 40, 41, 42)" in str(
        found
    )


def test_ids_that_cannot_be_joined(record, images):
    a = record(images, np.arange(60))
    with pytest.raises(CompareError, match="have no id in common"):
        diff(a, record(images, np.arange(100, 160)))
    twice = record({k: np.concatenate([v, v]) for k, v in images.items()}, np.arange(120))
    with pytest.raises(CompareError, match="3 ids stand more than once"):
        diff(a, twice.take(np.r_[0:60, 0:3]))
    with pytest.raises(CompareError, match="joined by row number, and these have different numbers of rows"):
        diff({"fc": images["fc"]}, {"fc": images["fc"][:50]})
    with pytest.raises(CompareError, match="have ids, those of 'fc'"):
        diff(a, {"fc": images["fc"]})


def test_one_row_is_enough(record, images):
    a = record(images, np.arange(60))
    found = diff(a.take([7]), a)
    assert found.ok
    assert found.rows == 1
    assert np.isnan(found.layers[0].cka_gap)
    assert "1 sample compared; 59 ids only in b" in str(found)


def test_text_ids(record, images):
    ids = np.array([f"image {i:03}" for i in range(60)])
    b = images | {"fc": images["fc"] + (np.arange(60) == 41)[:, None].astype("f4")}
    found = diff(record(images, ids), record({k: v[::-1] for k, v in b.items()}, ids[::-1]))
    assert found["conv"].diverges is False
    assert found["fc"].worst == "image 041"


def test_axes_that_have_no_names_are_named_by_the_layer_before(record, images):
    acts = images | {"relu": np.maximum(images["conv"], 0)}
    last = {"conv": acts["conv"].transpose(0, 2, 3, 1), "relu": acts["relu"].transpose(0, 2, 3, 1)}
    ids = np.arange(60)
    a = record({"conv": acts["conv"], "relu": acts["relu"]}, ids, {"conv": NCHW})
    b = record(last, ids, {"conv": NHWC})
    assert a["relu"].axes == ("sample", "axis1", "axis2", "axis3")
    found = diff(a, b, rtol=0, atol=0)
    assert found.ok
    assert found["relu"].note == "its axes have the names of conv's"
    assert "relu: its axes have the names of conv's" in str(found)
    wrong = record(last | {"relu": last["relu"][:, ::-1]}, ids, {"conv": NHWC})
    assert diff(a, wrong).first == "relu"


def test_an_input_has_the_axes_of_its_layer(record, images, rng):
    ids = np.arange(60)
    x, y = images["conv"], rng.normal(size=(60, 5, 4, 3)).astype("f4")
    a = record({"down@input": x, "down": y}, ids, {"down": NCHW})
    b = record({"down@input": x.transpose(0, 2, 3, 1), "down": y.transpose(0, 2, 3, 1)}, ids, {"down": NHWC})
    assert diff(a, b).ok


def test_flattened_images_are_compared_axis_by_axis(record, images):
    ids = np.arange(60)
    x, last = images["conv"], images["conv"].transpose(0, 2, 3, 1)
    a = record({"conv": x, "flat": x.reshape(60, -1)}, ids, {"conv": NCHW, "flat": ("sample", "unit")})
    b = record({"conv": last, "flat": last.reshape(60, -1)}, ids, {"conv": NHWC, "flat": ("sample", "unit")})
    found = diff(a, b, rtol=0, atol=0)
    assert found.ok
    assert found["flat"].note == (
        "flattened in another order, a: channel, height, width; b: height, width, channel (axes of conv); "
        "compared axis by axis"
    )
    other = last.transpose(0, 2, 1, 3).reshape(60, -1)  # an order that no axes say
    wrong = diff(a, record({"conv": last, "flat": other}, ids, {"conv": NHWC}))
    assert wrong.first == "flat"
    assert "flattened in another order" in wrong.diagnosis
    reshaped = diff(a, {"conv": a["conv"], "flat": a["conv"]}, layers={"flat": "conv"})
    assert reshaped.ok  # flat against not flat


def test_samples_of_different_lengths(record, rng):
    lengths = rng.integers(1, 8, 40)
    hidden = rng.normal(size=(40, 7, 4, 5)).astype("f4")
    ids = np.arange(40)
    a = record({"h": hidden, "pooled": hidden[:, 0]}, ids, lengths={"h": lengths})
    order = rng.permutation(40)
    b = record(
        {"h": hidden[order], "pooled": hidden[order, 0]}, ids[order], lengths={"h": lengths[order]}, batch=13
    )
    found = diff(a, b, rtol=0, atol=0)
    assert found.ok
    assert (found.rows, found["h"].rows, found["h"].values) == (40, lengths.sum(), lengths.sum() * 20)
    wrong = hidden.copy()
    wrong[9, 0, 1, 2] += 1
    found = diff(a, record({"h": wrong, "pooled": hidden[:, 0]}, ids, lengths={"h": lengths}))
    assert (found.first, found["h"].worst, found["h"].max_abs) == ("h", 9, pytest.approx(1, abs=1e-6))
    assert not found["pooled"].diverges


def test_positions_are_joined_with_all_axes_behind_them(record, rng):
    from actlens.compare.joining import join

    lengths, hidden = rng.integers(1, 8, 40), rng.normal(size=(40, 7, 4, 5)).astype("f4")
    run = record({"h": hidden}, np.arange(40), lengths={"h": lengths})
    layer = join(run, None, "a test", positions="samples").a[0]
    rows = np.concatenate(list(layer.reader.blocks(0, lengths.sum(), 10)))
    truth = np.concatenate([hidden[i, : lengths[i]] for i in range(40)])
    np.testing.assert_array_equal(rows, truth.reshape(-1, 20))


def test_different_lengths_against_padded(record, rng):
    lengths = rng.integers(1, 8, 40)
    hidden = rng.normal(size=(40, 7, 5)).astype("f4")
    ids = np.arange(40)
    a = record({"h": hidden}, ids, lengths={"h": lengths})
    found = diff(a, record({"h": hidden}, ids), rtol=0, atol=0)
    assert found.ok
    assert found["h"].values == lengths.sum() * 5
    deep = record({"h": rng.normal(size=(40, 7, 4, 5))}, ids)
    with pytest.raises(
        DiffError, match=r"samples of a's h differ in length, and b's h has shape \(40, 7, 4, 5\)"
    ):
        diff(a, deep)


# ---------------------------------------------------------------- which layers go together


def _network(rng, depth, units=20, rows=80):
    """Values after each of some layers, in order."""
    x, found = rng.normal(size=(rows, units)), []
    for _ in range(depth):
        x = np.tanh(x @ rng.normal(size=(units, units)) / 4)
        found.append(x)
    return found


def test_layers_of_other_names_go_together_in_order(rng):
    a = dict(zip(["conv1", "act", "shared", "fc1", "fc2"], _network(rng, 5), strict=True))
    b = dict(zip(["Conv_0", "Act_0", "shared", "Dense_0", "Dense_1"], a.values(), strict=True))
    found = diff(a, {**b, "extra": rng.normal(size=(80, 9))})
    assert found.ok
    assert [(layer.name_a, layer.name_b, layer.matched) for layer in found.layers] == [
        ("conv1", "Conv_0", "cka"),
        ("act", "Act_0", "cka"),
        ("shared", "shared", "name"),
        ("fc1", "Dense_0", "cka"),
        ("fc2", "Dense_1", "cka"),
    ]
    assert (found.unmatched_a, found.unmatched_b) == ((), ("extra",))
    assert "not compared, only in b: extra" in str(found)
    assert "Conv_0   CKA" in found.table()


def test_a_layer_more_on_one_side_shifts_nothing(rng):
    first, second, third = _network(rng, 3)
    a = {"fc1": first, "drop": first.copy(), "fc2": second, "fc3": third}
    b = {"Dense_0": first, "Dense_1": second, "Dense_2": third + 1e-3}
    found = diff(a, b)
    assert {layer.name_a: layer.name_b for layer in found.layers} == {
        "fc1": "Dense_0",
        "fc2": "Dense_1",
        "fc3": "Dense_2",
    }
    assert found.unmatched_a == ("drop",)
    assert found.first == "fc3"


def test_layers_after_a_mistake_still_go_together(rng):
    first, second, third = _network(rng, 3)
    b = {"Dense_0": first, "Dense_1": rng.permutation(second), "Dense_2": rng.permutation(third)}
    found = diff({"fc1": first, "fc2": second, "fc3": third}, b)
    assert [(layer.name_a, layer.name_b) for layer in found.layers] == [
        ("fc1", "Dense_0"),
        ("fc2", "Dense_1"),
        ("fc3", "Dense_2"),
    ]
    assert found.first == "fc2"


def test_layers_of_different_lengths_and_other_names(record, rng):
    lengths, ids = rng.integers(1, 8, 40), np.arange(40)
    first = rng.normal(size=(40, 7, 6)).astype("f4")
    second = np.tanh(first @ rng.normal(size=(6, 6))).astype("f4")
    a = record({"h0": first, "h1": second}, ids, lengths={"h0": lengths, "h1": lengths})
    b = record({"block_0": first, "block_1": second}, ids, lengths={"block_0": lengths, "block_1": lengths})
    found = diff(a, b, rtol=0, atol=0)
    assert found.ok
    assert [(layer.name_a, layer.name_b) for layer in found.layers] == [("h0", "block_0"), ("h1", "block_1")]


def test_too_few_rows_to_match_go_by_size_and_order(rng):
    a = {"fc1": rng.normal(size=(2, 6)), "fc2": rng.normal(size=(2, 4))}
    b = {"Dense_0": a["fc1"], "Drop": rng.normal(size=(2, 9)), "Dense_1": a["fc2"] + 1}
    found = diff(a, b)
    assert [(layer.name_a, layer.name_b) for layer in found.layers] == [
        ("fc1", "Dense_0"),
        ("fc2", "Dense_1"),
    ]
    assert (found.first, found.unmatched_b) == ("fc2", ("Drop",))


def test_a_mapping_and_patterns(images, rng):
    b = {"Conv_0": images["conv"], "Dense_0": images["fc"] + 1, "fc": images["fc"]}
    found = diff(images, b, layers={"fc": "Dense_0"})
    assert [(layer.name_a, layer.name_b, layer.matched) for layer in found.layers] == [
        ("fc", "Dense_0", "mapping")
    ]
    assert found.first == "fc"
    assert [layer.name_a for layer in diff(images, images, layers="f*").layers] == ["fc"]
    assert diff(images, b, layers=["fc"]).ok
    with pytest.raises(DiffError, match="layers= names 'fc9', and a has no such layer. It has conv, fc"):
        diff(images, b, layers={"fc9": "fc"})
    with pytest.raises(
        DiffError, match="layers= names 'conv', and b has no such layer. It has Conv_0, Dense_0, fc"
    ):
        diff(images, b, layers={"conv": "conv"})
    with pytest.raises(DiffError, match="gives the layer 'fc' of b to several layers of a: conv, fc"):
        diff(images, b, layers={"conv": "fc", "fc": "fc"})
    with pytest.raises(CompareError, match="matches none of a's layers: conv, fc"):
        diff(images, b, layers="relu")


def test_nothing_goes_together(rng):
    a = {"x": rng.normal(size=(200, 6))}
    with pytest.raises(
        DiffError, match="no layer of a goes with a layer of b, neither by name nor by debiased CKA"
    ):
        diff(a, {"y": rng.normal(size=(200, 9))})
    with pytest.raises(DiffError, match="no layer of a goes with a layer of b"):
        diff(a, {"y": rng.normal(size=(200, 9))}, layers={})


def test_best_path_is_the_best_of_all(rng):
    def best(weights):
        rows, columns = weights.shape
        if not rows or not columns:
            return 0.0
        return max(best(weights[1:]), best(weights[:, 1:]), weights[0, 0] + best(weights[1:, 1:]))

    for _ in range(30):
        weights = np.maximum(rng.normal(size=rng.integers(1, 6, 2)), 0)
        path = best_path(weights)
        assert sum(weights[i, j] for i, j in path) == pytest.approx(best(weights))
        assert all(i < k and j < m for (i, j), (k, m) in itertools.pairwise(path))
        assert all(weights[i, j] > 0 for i, j in path)


# ---------------------------------------------------------------- the result


def test_the_table_and_what_is_below(images, rng):
    other = images | {"fc": images["fc"] + rng.normal(0, 0.1, (60, 7)).astype("f4")}
    found = diff(images, other)
    text = str(found)
    header, conv, fc, *_ = text.splitlines()
    assert header.split()[:4] == ["layer", "values", "max", "|Δ|"]
    assert "in b" not in header
    assert conv.split()[:6] == ["conv", "8,640", "0", "0", "1.000000", "0"]
    assert conv.split()[-1] == "1"
    assert fc.split()[-1] == "DIVERGES"
    assert f"{found['fc'].max_abs:.1e}" in fc
    assert (
        f"first layer that diverges: fc (relative {found['fc'].relative:.2g} > 1e-05); 1 of 2 diverge" in text
    )
    assert f"largest |Δ| there: in id {found['fc'].worst}" in text
    assert (
        "diagnosis: none; no known mistake fits. More can be tried with the layer's input: record the" in text
    )
    assert "pattern 'fc@input' on both sides" in text
    assert repr(found) == "<Diff of 2 layers: first that diverges: fc>"
    assert repr(diff(images, images)) == "<Diff of 2 layers: all agree>"
    with pytest.raises(NotFound, match="no layer 'relu' in this comparison. Its layers, by .*: conv, fc"):
        found["relu"]


def test_to_pandas(images, monkeypatch):
    pytest.importorskip("pandas")
    found = diff(images, images | {"fc": images["fc"] + 1})
    frame = found.to_pandas()
    assert frame["name_a"].tolist() == ["conv", "fc"]
    assert frame["diverges"].tolist() == [False, True]
    assert frame["max_abs"].tolist() == [layer.max_abs for layer in found.layers]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ActlensError, match="Diff.to_pandas needs pandas"):
        found.to_pandas()


def test_assert_close(images):
    assert_close(images, images)
    assert_close(images, images | {"fc": images["fc"] * 1.001}, rtol=1e-2)
    assert_close(images, images | {"fc": images["fc"] + 1}, layers="conv")
    with pytest.raises(AssertionError, match=r"the layers differ\.\n\nlayer  values") as raised:
        assert_close(images, images | {"fc": images["fc"] * 2})
    assert isinstance(raised.value, NotClose)
    assert isinstance(raised.value, ActlensError)
    assert "first layer that diverges: fc" in str(raised.value)
    assert "diagnosis: scale: b is a × 2" in str(raised.value)


@pytest.mark.parametrize("bad", [-1e-5, np.nan, np.inf, "1e-5", True, None])
def test_tolerances_that_are_none(images, bad):
    with pytest.raises(DiffError, match="rtol=.*; it takes a finite number of at least 0"):
        diff(images, images, rtol=bad)
    with pytest.raises(DiffError, match="atol=.*; it takes a finite number of at least 0"):
        diff(images, images, atol=bad)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    import tracemalloc

    def peak(rows):
        path = tmp_path / f"run{rows}"
        with actlens.Recorder(path, durability="rename") as rec:
            for at in range(0, rows, 1000):
                values = np.random.default_rng(at).normal(size=(1000, 4096)).astype("f4")
                rec.write({"l": values}, id=np.arange(at, at + 1000))
        tracemalloc.start()
        try:
            assert diff(actlens.open(path), actlens.open(path)).ok
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(24_000) < 1.2 * peak(8_000)
