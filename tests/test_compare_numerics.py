"""Far means, half precision, constants, extremes: the value, or why there is none."""

from __future__ import annotations

import compare_oracles as oracle
import ml_dtypes
import numpy as np
import pytest

import actlens
from actlens import compare
from actlens.errors import CompareError

biased = compare.cka.with_options(debiased=False)
spearman = compare.rsa.with_options(comparison="spearman")
uncentred = compare.cca.with_options(centred=False)
EVERY = {
    "cka": (compare.cka, oracle.cka),
    "biased": (biased, lambda x, y: oracle.cka(x, y, debiased=False)),
    "rbf": (compare.cka.with_options(kernel="rbf"), lambda x, y: oracle.cka(x, y, bandwidth=1.0)),
    "procrustes": (compare.procrustes, oracle.procrustes),
    "cca": (compare.cca, oracle.cca),
    "uncentred": (uncentred, lambda x, y: oracle.cca(x, y, centre_first=False)),
    "svcca": (compare.svcca, oracle.svcca),
    "pwcca": (compare.pwcca, oracle.pwcca),
    "linear_r2": (compare.linear_r2, oracle.linear_r2),
    "rsa": (compare.rsa, oracle.rsa),
    "spearman": (spearman, lambda x, y: oracle.rsa(x, y, comparison="spearman")),
    "mutual_knn": (compare.mutual_knn, oracle.mutual_knn),
}
SHAPES = {"moments": (500, 64, 40), "gram": (90, 400, 300)}  # the cheaper way for each


def related(rng, shape):
    """Numbers with few binary places: float32 holds them exactly with 10,000 added."""
    rows, units_a, units_b = shape
    x = 6.4 * rng.standard_normal((rows, units_a))
    y = 0.7 * x[:, :units_b] + 4 * rng.standard_normal((rows, units_b))
    return [(np.round(v * 64) / 64).astype("f4") for v in (x, y)]


def song_in_single_precision(x, y):
    """Restate what three public packages do: the unbiased estimate of Gram matrices of rows as they are."""
    k, other = x @ x.T, y @ y.T
    n = len(k)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(other, 0)

    def hsic(k, other):
        return (
            (k * other).sum() + k.sum() * other.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ other).sum()
        )

    with np.errstate(all="ignore"):
        return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


# Far means


@pytest.mark.parametrize("far", [10, 100, 1000, 10_000])
@pytest.mark.parametrize("way", SHAPES)
@pytest.mark.parametrize("name", EVERY)
def test_a_constant_changes_nothing(name, way, far, rng):
    measure, truth = EVERY[name]
    x, y = related(rng, SHAPES[way])
    moved_x, moved_y = x + np.float32(far), y - np.float32(far)
    assert ((moved_x - np.float32(far)) == x).all()
    before, after = measure(x, y), measure(moved_x, moved_y)
    if name == "uncentred":  # all but this
        before = truth(moved_x, moved_y) if np.isfinite(before) else np.nan
    if np.isnan(before):  # canonical correlations of wide layers
        assert np.isnan(after)
        return
    assert after == pytest.approx(before, abs=1e-6)
    assert after == pytest.approx(truth(moved_x, moved_y), abs=1e-6)


def test_the_shapes_go_both_ways(rng):
    for way, shape in SHAPES.items():
        x, y = related(rng, shape)
        assert compare.matrix({"x": x}, {"y": y}).path == way


def test_what_that_would_catch(rng):
    """The same sums without centring, in float32: wrong from a mean of 16 deviations on."""
    x, y = related(rng, SHAPES["moments"])
    truth = oracle.cka(x, y)
    assert song_in_single_precision(x, y) == pytest.approx(truth, abs=1e-5)
    for far in (100, 1000):
        found = song_in_single_precision(x + np.float32(far), y + np.float32(far))
        assert not abs(found - truth) < 0.1


def test_rows_sorted_by_a_far_drift(rng):
    """A mean that the first rows do not show: what an estimate from them is off by must not matter."""
    x, y = related(rng, (600, 20, 12))
    drift = np.linspace(-3000, 3000, 600, dtype="f4")[:, None]
    x, y = x + drift, y + drift
    for name, (measure, truth) in EVERY.items():
        assert measure(x, y) == pytest.approx(truth(x, y), abs=1e-6), name


# Precision


def test_float32_at_the_size_of_a_real_layer_is_right_to_1e_8(rng):
    x = np.maximum(rng.standard_normal((1500, 256)) @ rng.standard_normal((256, 256)) / 16 + 0.3, 0)
    x[:, :3] *= 40
    y = x + 0.7 * rng.standard_normal(x.shape)
    x, y = x.astype("f4"), y.astype("f4")
    for measure, debiased in ((compare.cka, True), (biased, False)):
        assert measure(x, y) == pytest.approx(oracle.cka(x, y, debiased=debiased), abs=1e-8)
        way = compare.matrix({str(i): x for i in range(8)}, {str(i): y for i in range(8)}, measure=measure)
        assert way.path == "gram"
        np.testing.assert_allclose(way.values, oracle.cka(x, y, debiased=debiased), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rows", [60, 900])
def test_half_precision_is_widened_before_products(dtype, rows, rng):
    x = (10 * rng.standard_normal((rows, 768))).astype(dtype)
    y = (oracle.wide(x)[:, :500] + 5 * rng.standard_normal((rows, 500))).astype(dtype)
    assert np.square(oracle.wide(x)).sum(axis=1).max() > 65_504  # beyond float16, were it not widened
    for measure, truth in (EVERY["cka"], EVERY["procrustes"], EVERY["rsa"], EVERY["mutual_knn"]):
        assert measure(x, y) == pytest.approx(truth(x, y), abs=1e-6)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i8", "u8", ">f4", ">i4"])
def test_every_dtype_of_real_numbers(dtype, rng):
    x, y = rng.integers(0, 2 if dtype == "?" else 50, (2, 40, 6)).astype(dtype)
    for measure, truth in (EVERY["cka"], EVERY["procrustes"], EVERY["cca"], EVERY["spearman"]):
        assert measure(x, y) == pytest.approx(truth(x, y), abs=1e-6)


def test_large_whole_numbers_keep_their_figures(rng):
    """float32 would make them equal."""
    x = rng.integers(0, 50, (40, 6)) + 2**40
    y = rng.integers(0, 50, (40, 6))
    assert compare.cka(x, y) == pytest.approx(oracle.cka(x - 2**40, y), abs=1e-10)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.parametrize("way", SHAPES)
@pytest.mark.parametrize("name", EVERY)
def test_scale_does_not_matter_over_the_range_of_float32(name, way, scale, rng):
    x, y = related(rng, SHAPES[way])
    before = EVERY[name][0](x, y)
    assert EVERY[name][0](x * np.float32(scale), y) == pytest.approx(before, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-12, 1e10, 1e20, 1e30])
@pytest.mark.parametrize("way", SHAPES)
@pytest.mark.parametrize("name", ["cka", "biased", "rsa"])
def test_scale_does_not_matter_where_products_are_of_float32(name, way, scale, rng, monkeypatch):
    """As of large layers: a Gram matrix, squared, is of fourth powers, which float32 holds of 1e±9 only."""
    monkeypatch.setattr("actlens.compare.plan._FEW_FLOPS", 0)
    measure = EVERY[name][0]
    x, y = related(rng, SHAPES[way])
    found = compare.matrix({"x": x * np.float32(scale)}, {"y": y}, measure=measure)
    assert found.values[0, 0] == pytest.approx(measure(x, y), abs=1e-6), found.reasons


@pytest.mark.parametrize("scale", [1e-300, 1e-155, 1e-100, 1e-80, 1e80, 1e100, 1e152, 1e250])
@pytest.mark.parametrize("way", SHAPES)
@pytest.mark.parametrize("name", EVERY)
def test_squares_beyond_float64_give_the_value_or_say_so(name, way, scale, rng):
    x, y = (v.astype("f8") for v in related(rng, SHAPES[way]))
    measure = EVERY[name][0]
    try:
        found = measure(x * scale, y)
    except CompareError as error:
        refused = error
    else:
        assert found == pytest.approx(measure(x, y), abs=1e-6, nan_ok=True) or np.isnan(found)
        return
    assert "beyond what float64 holds" in str(refused)


@pytest.mark.parametrize("name", ["cca", "pwcca", "linear_r2", "procrustes", "cka"])
def test_one_massive_unit(name, rng):
    """A unit of 1e8 times the spread of the others: they are still there."""
    measure, truth = EVERY[name]
    x = rng.standard_normal((300, 12))
    y = x[:, :8] + rng.standard_normal((300, 8))
    x[:, 0] *= 1e8
    expected = truth(x * np.where(np.arange(12), 1, 1e-8), y) if name in ("cca", "linear_r2") else truth(x, y)
    assert measure(x, y) == pytest.approx(expected, abs=1e-6)


# No value, and why


@pytest.mark.parametrize("name", [*sorted(set(EVERY) - {"uncentred"}), "ridge"])
@pytest.mark.parametrize("value", [0.0, 1e4, 1 / 3])
def test_a_constant_layer_has_no_value(name, value, rng):
    measure = compare.ridge if name == "ridge" else EVERY[name][0]
    a = {"good": rng.standard_normal((50, 4)), "dead": np.full((50, 3), value)}
    found = compare.matrix(a, {"b": rng.standard_normal((50, 4))}, measure=measure)
    assert np.isfinite(found.values[0]).all()
    assert np.isnan(found.values[1]).all()
    assert set(found.reasons) == {("dead", "b")}
    assert "variance" in found.reasons["dead", "b"] or "equal" in found.reasons["dead", "b"]
    assert np.isnan(measure(a["dead"], a["good"]))
    itself = compare.matrix(a, measure=measure)
    assert set(itself.reasons) == {("good", "dead"), ("dead", "good"), ("dead", "dead")}
    assert "dead" in str(itself)


def test_corners_of_a_simplex_are_all_alike():
    """Every two rows are as far apart as every other two: nothing is left to compare."""
    x, y = np.eye(8), np.arange(16.0).reshape(8, 2) ** 2
    for measure in (compare.cka, compare.rsa, spearman):
        found = compare.matrix({"x": x}, {"y": y}, measure=measure)
        assert np.isnan(found.values[0, 0]), measure
        assert found.reasons["x", "y"]
    assert np.isfinite(biased(x, y))


@pytest.mark.parametrize(
    "measure", [compare.cka, compare.cca, compare.mutual_knn.with_options(k=1), spearman]
)
def test_fewer_than_four_rows(measure, rng):
    with pytest.raises(CompareError, match=r"3 rows in common; measures need at least 4"):
        measure(rng.standard_normal((3, 2)), rng.standard_normal((3, 2)))
    assert np.isfinite(compare.cka(rng.standard_normal((4, 1)), rng.standard_normal((4, 1))))


@pytest.mark.parametrize("name", [*EVERY, "ridge"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_named(name, bad, rng, tmp_path):
    measure = compare.ridge if name == "ridge" else EVERY[name][0]
    x, y = rng.standard_normal((2, 200, 4)).astype("f4")
    x[[7, 150], [1, 3]] = bad
    with pytest.raises(CompareError, match=r"'x' has NaN or inf in 2 rows, of the ids 7, 150"):
        compare.matrix({"x": x}, {"y": y}, measure=measure)
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write({"x": x, "y": y}, id=[f"image {n}" for n in range(200)])
    with pytest.raises(CompareError, match=r"2 rows, of the ids '?image 150'?, '?image 7'?"):
        compare.matrix(actlens.open(tmp_path / "run"), measure=measure)


def test_values_are_not_clipped(rng):
    values = [compare.cka(*np.random.default_rng(seed).standard_normal((2, 30, 4))) for seed in range(10)]
    assert min(values) < 0
    x = rng.standard_normal((40, 3))
    assert compare.rsa(np.vstack([x, 9 + x]), np.vstack([np.zeros((40, 3)) + x[:1], x])) != 0
    assert compare.ridge(x, rng.standard_normal((40, 3))) < 0
