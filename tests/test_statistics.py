"""Statistics of units, against numpy and scipy; merging, executors, groups, classes, and what is refused."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from fake_layer import FakeLayer
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.activations import Activations
from actlens.errors import MissingDependency, NotFound, SelectionError, StatisticsError, WorkerError
from actlens.statistics import measuring
from actlens.statistics.bit_histogram import RELATIVE_ERROR, BitHistogram

scipy_stats = pytest.importorskip("scipy.stats")

FIGURES = ("count", "mean", "variance", "skewness", "kurtosis", "min", "max", "zeros", "nan", "inf")


def _same(a, b, rtol=1e-12):
    """Two LayerStats of the same rows."""
    assert (a.rows, a.bad_rows, a.bounds) == (b.rows, b.bad_rows, b.bounds)
    for name in FIGURES:
        scale = np.abs(np.nan_to_num(b.std)) if name == "mean" else 0
        np.testing.assert_allclose(
            getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol + rtol * np.max(scale), err_msg=name
        )
    for name in ("dead", "constant", "saturated", "at_lower", "at_upper", "top_values", "top_ids"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for mine, other in zip(a.histogram(), b.histogram(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert a.norm == pytest.approx(b.norm, rel=1e-12, nan_ok=True)
    assert a.effective_rank == pytest.approx(b.effective_rank, rel=1e-6, nan_ok=True)


def _right(layer, x, rtol=1e-10):
    """Against numpy and scipy, for (samples, units) of finite numbers."""
    wide = x.astype("f8")
    np.testing.assert_allclose(layer.mean, wide.mean(axis=0), rtol=rtol, atol=rtol * wide.std())
    np.testing.assert_allclose(layer.variance, wide.var(axis=0, ddof=1), rtol=rtol)
    some = wide.std(axis=0) > 0
    np.testing.assert_allclose(
        layer.skewness[some], scipy_stats.skew(wide[:, some]), rtol=100 * rtol, atol=100 * rtol
    )
    np.testing.assert_allclose(
        layer.kurtosis[some], scipy_stats.kurtosis(wide[:, some]), rtol=100 * rtol, atol=100 * rtol
    )
    np.testing.assert_array_equal(layer.min, wide.min(axis=0))
    np.testing.assert_array_equal(layer.max, wide.max(axis=0))
    np.testing.assert_array_equal(layer.zeros, (wide == 0).mean(axis=0))
    np.testing.assert_array_equal(layer.dead, (wide == 0).all(axis=0))
    norms = np.linalg.norm(wide, axis=1)
    assert layer.norm["mean"] == pytest.approx(norms.mean(), rel=1e-6)
    assert (layer.norm["min"], layer.norm["max"]) == pytest.approx((norms.min(), norms.max()), rel=1e-6)


@pytest.mark.parametrize("units", [1, 3, 40, 1024, 1300, 5000])
def test_figures_of_units(rng, units):
    x = rng.gamma(2, size=(max(50, 20_000 // units), units)).astype("f4")
    x[:, -1] = 0
    x[rng.random(x.shape) < 0.2] = 0
    layer = actlens.stats({"x": x})["x"]
    _right(layer, x)
    order = np.argsort(-x, axis=0, kind="stable")[:10].T
    np.testing.assert_array_equal(layer.top_ids, order)
    np.testing.assert_array_equal(layer.top_values, np.take_along_axis(x, order.T, axis=0).T)


def test_a_mean_of_a_thousand_deviations(rng):
    x = (1000 + rng.normal(size=(30_000, 4))).astype("f8")
    _right(actlens.stats({"x": x})["x"], x, rtol=1e-11)
    narrow = x.astype("f4")
    _right(actlens.stats({"x": narrow})["x"], narrow, rtol=1e-11)


def test_large_layers_have_powers_of_float32(rng, monkeypatch):
    monkeypatch.setattr(measuring, "_SMALL", 0)
    x = (1000 + rng.normal(size=(4000, 20)) * np.linspace(0.5, 3, 20)).astype("f4")
    layer = actlens.stats({"x": x})["x"]
    _right(layer, x, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["f2", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, "f4", "f8", "i1", "u2", "i4", "i8", "?"]
)
def test_dtypes(rng, dtype):
    x = (rng.normal(size=(500, 6)) * 3).astype(dtype)
    _right(actlens.stats({"x": x})["x"], x)


def test_powers_that_float32_cannot_hold_give_no_figure(rng, monkeypatch):
    x = (rng.normal(size=(500, 3)) * [1, 1e-13, 1e12]).astype("f4")
    _right(actlens.stats({"x": x})["x"], x)  # of float64
    monkeypatch.setattr(measuring, "_SMALL", 0)
    layer = actlens.stats({"x": x})["x"]
    np.testing.assert_array_equal(np.isnan(layer.kurtosis), [False, True, True])
    np.testing.assert_allclose(layer.variance, x.var(axis=0, ddof=1, dtype="f8"), rtol=1e-5)


def test_values_near_the_end_of_float32_and_float64():
    x = np.array([[1e38, 1e300], [-1e38, -1e300], [2e38, 1e-300]])
    layer = actlens.stats({"x": x})["x"]
    np.testing.assert_array_equal(layer.max, [2e38, 1e300])
    assert layer.bad_rows == 0
    assert actlens.stats({"x": x[:, :1].astype("f4")})["x"].norm["max"] == pytest.approx(2e38, rel=1e-6)


def test_a_unit_is_a_channel_where_the_axes_say_so(tmp_path, rng):
    first, last = rng.normal(size=(40, 3, 4, 5)).astype("f4"), rng.normal(size=(40, 7, 6)).astype("f4")
    axes = {"conv": ("sample", "channel", "height", "width"), "block": ("sample", "token", "unit")}
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write(Activations({"conv": first, "block": last}, axes))
    run = actlens.open(rec.path)
    s = actlens.stats(run)
    channels = first.transpose(0, 2, 3, 1).reshape(-1, 3)
    np.testing.assert_allclose(s["conv"].mean, channels.mean(axis=0, dtype="f8"), rtol=1e-10)
    np.testing.assert_allclose(s["conv"].kurtosis, scipy_stats.kurtosis(channels.astype("f8")), rtol=1e-8)
    np.testing.assert_array_equal(s["conv"].count, [800] * 3)
    assert s["conv"].units.text() == "channel (over height×width)"
    assert "channel (over height×width)" in s.table()
    np.testing.assert_allclose(
        s["block"].variance, last.reshape(-1, 6).var(axis=0, ddof=1, dtype="f8"), rtol=1e-10
    )
    # of a sample, the largest over its positions
    peaks = first.max(axis=(2, 3))
    np.testing.assert_array_equal(s["conv"].top_ids, np.argsort(-peaks, axis=0, kind="stable")[:10].T)
    each = actlens.stats(run, "conv", unit="value")["conv"]
    _right(each, first.reshape(40, -1))
    assert (each.units.sizes, each.units.named(23)) == ((3, 4, 5), "(1, 0, 3)")
    rows = actlens.stats(run, "conv", unit="height")["conv"]
    np.testing.assert_allclose(rows.mean, first.mean(axis=(0, 1, 3), dtype="f8"), rtol=1e-9, atol=1e-12)


def test_tokens(tmp_path, rng):
    values, lengths = rng.normal(size=(6, 5, 3)).astype("f4"), np.array([5, 1, 3, 2, 4, 5])
    with actlens.Recorder(tmp_path / "run") as rec:
        rec.write({"h": values}, lengths=lengths, id=["a", "b", "c", "d", "e", "f"], label=[0, 1, 0, 1, 0, 1])
    run = actlens.open(rec.path)
    layer = actlens.stats(run, labels="label", top=2)["h"]
    flat = run["h"].tokens[:]
    _right(layer, flat)
    assert (layer.row, layer.rows) == ("token", 20)
    np.testing.assert_array_equal(layer.top_ids, run["h"].tokens.ids[np.argsort(-flat, axis=0)[:2].T])
    by_hand = [flat[run["h"].tokens.columns["label"] == k].mean(axis=0, dtype="f8") for k in (0, 1)]
    np.testing.assert_allclose(layer.class_means, by_hand, rtol=1e-12)
    given = actlens.stats(run, labels=np.array([0, 1, 0, 1, 0, 1]), top=2)["h"]
    np.testing.assert_array_equal(given.class_means, layer.class_means)
    assert "20 tokens" in actlens.stats(run).table()


def test_nan_and_inf_are_counted_and_are_in_no_figure(rng):
    x = rng.normal(size=(3000, 5)).astype("f4")
    y = x.copy()
    y[10, 1], y[20, 1], y[30, 2], y[40, 2], y[:, 4] = np.nan, np.inf, -np.inf, np.nan, np.nan
    s = actlens.stats({"y": y}, labels=np.arange(3000) % 3)
    layer = s["y"]
    np.testing.assert_array_equal(layer.nan, [0, 1, 1, 0, 3000])
    np.testing.assert_array_equal(layer.inf, [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(layer.count, [3000, 2998, 2998, 3000, 0])
    for unit in range(4):
        good = y[np.isfinite(y[:, unit]), unit].astype("f8")
        assert layer.mean[unit] == pytest.approx(good.mean(), rel=1e-10)
        assert layer.kurtosis[unit] == pytest.approx(scipy_stats.kurtosis(good), rel=1e-8)
        assert (layer.min[unit], layer.max[unit]) == (good.min(), good.max())
        assert layer.top_values[unit, 0] == good.max()
        means = [y[k::3, unit][np.isfinite(y[k::3, unit])].mean(dtype="f8") for k in range(3)]
        np.testing.assert_allclose(layer.class_means[:, unit], means, rtol=1e-12)
    assert np.isnan([layer.mean[4], layer.min[4], layer.variance[4], layer.zeros[4]]).all()
    assert layer.bad_rows == 3000
    assert layer.histogram()[0].sum() == np.isfinite(y).sum()
    clean = actlens.stats({"y": y[:, :4]})
    assert clean["y"].bad_ids.tolist() == [10, 20, 30, 40]
    assert clean.problems == [
        "y: 2 values are NaN and 2 values are inf, in 4 samples, first in ids 10, 20, 30, 40"
    ]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_histogram_and_quantiles(rng, dtype):
    x = np.concatenate([rng.lognormal(sigma=2, size=4000), -rng.lognormal(size=3000), np.zeros(50)]).astype(
        dtype
    )
    layer = actlens.stats({"x": x[:, None]})["x"]
    counts, edges = layer.histogram()
    assert (counts.sum(), len(edges)) == (len(x), len(counts) + 1)
    assert (np.diff(edges) >= 0).all()
    narrow = x.astype("f4").astype("f8")
    for at in np.flatnonzero(counts)[::7]:
        low, high = edges[at], edges[at + 1]
        inside = (narrow >= low) & (narrow < high) if low >= 0 else (narrow > low) & (narrow <= high)
        assert counts[at] == (inside & ~((narrow == 0) & (low != 0) & (high != 0))).sum()
    shares = np.array([0, 0.01, 0.25, 0.5, 0.9, 0.999, 1])
    right = np.quantile(narrow, shares, method="inverted_cdf")
    np.testing.assert_allclose(layer.quantile(shares), right, rtol=RELATIVE_ERROR)
    assert layer.quantile(0.5) == layer.quantile([0.5])[0]


def test_an_empty_histogram_has_no_quantile():
    assert np.isnan(BitHistogram().quantile(np.array([0.5])))[0]
    assert len(BitHistogram().table()[0]) == 0


def test_one_value_in_so_many(rng):
    x = rng.normal(size=(4000, 32)).astype("f4")
    layer = actlens.stats({"x": x}, every=8)["x"]
    assert layer.sampled == 8
    assert layer.histogram()[0].sum() == x.size
    assert layer.quantile(0.9) == pytest.approx(np.quantile(x, 0.9), abs=0.05)
    _right(layer, x)  # the others are of all values


def test_saturation(rng):
    noise = rng.normal(size=(400, 20)).astype("f4")
    layers = {
        "tanh": np.tanh(8 * noise),
        "sigmoid": 1 / (1 + np.exp(-9 * noise)),
        "relu6": np.clip(9 * noise, 0, 6),
    }
    layers |= {"clip": np.clip(noise, -0.5, 20), "free": noise, "relu": np.maximum(noise, 0)}
    s = actlens.stats(layers)
    assert [s[name].bounds for name in layers] == [
        (-1, 1),
        (0, 1),
        (None, 6),
        (-0.5, None),
        (None, None),
        (None, None),
    ]
    np.testing.assert_allclose(s["tanh"].at_upper, (layers["tanh"] > 0.999).mean(axis=0))
    np.testing.assert_allclose(s["tanh"].at_lower, (layers["tanh"] < -0.999).mean(axis=0))
    np.testing.assert_allclose(s["sigmoid"].at_lower, (layers["sigmoid"] < 0.001).mean(axis=0))
    np.testing.assert_allclose(s["relu6"].at_upper, (layers["relu6"] >= 5.994).mean(axis=0))
    np.testing.assert_allclose(s["clip"].at_lower, (layers["clip"] == -0.5).mean(axis=0))
    assert s["tanh"].saturated.all()
    share = (layers["clip"] == -0.5).mean()
    assert f"clip: {share:.0%}".replace("%", " %") + " of values at the lower bound -0.5" in s.problems
    wide = actlens.stats(layers, "tanh", tolerance=0.1)["tanh"]
    np.testing.assert_allclose(wide.at_upper, (layers["tanh"] >= np.float32(0.9)).mean(axis=0))
    assert actlens.stats(layers, "sigmoid", bounds=[])["sigmoid"].bounds[0] is None


@pytest.mark.parametrize("correlation", [False, True])
def test_effective_ranks(rng, correlation):
    x = (rng.normal(size=(1500, 24)) * np.linspace(0.1, 4, 24) @ rng.normal(size=(24, 24)) + 50).astype("f4")
    layer = actlens.stats({"x": x}, correlation=correlation)["x"]
    values = np.linalg.eigvalsh(np.cov(x.astype("f8").T))
    shares = values / values.sum()
    assert layer.rank_every == 1
    assert layer.effective_rank == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-5)
    assert layer.entropy_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    r = np.corrcoef(x.astype("f8").T)
    a, b = np.unravel_index(np.abs(np.triu(r, 1)).argmax(), r.shape)
    assert layer.correlated(1)[0] == (a, b, pytest.approx(r[a, b], abs=1e-5))
    assert len(layer.correlated(400)) == 276


def test_the_rank_of_many_rows_is_estimated(rng):
    x = (rng.normal(size=(30_000, 40)) * np.linspace(0.2, 3, 40)).astype("f4")
    layer = actlens.stats({"x": x})["x"]
    values = np.linalg.eigvalsh(np.cov(x.astype("f8").T))
    assert layer.rank_every == 14
    assert layer.effective_rank == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=0.05)
    assert np.isnan(layer.entropy_rank)
    assert "≈" in actlens.stats({"x": x}).table()


def test_the_rank_of_a_layer_wider_than_its_rows(rng):
    x = (rng.normal(size=(100, 7)) @ rng.normal(size=(7, 9000))).astype("f4")
    s = actlens.stats({"x": x})
    values = np.linalg.svd(x - x.mean(axis=0, dtype="f8"), compute_uv=False) ** 2
    assert s["x"].effective_rank == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-3)
    with pytest.raises(StatisticsError, match="the covariance of layer 'x' was not summed up"):
        s["x"].correlated()


def test_classes(rng):
    x, labels = rng.gamma(2, size=(600, 8)).astype("f4"), rng.integers(0, 5, 600)
    x[labels == 3, 2] += 9
    layer = actlens.stats({"x": x}, labels=labels)["x"]
    wide = x.astype("f8")
    means = np.array([wide[labels == k].mean(axis=0) for k in range(5)])
    np.testing.assert_allclose(layer.class_means, means, rtol=1e-12)
    top = means.max(axis=0)
    rest = (means.sum(axis=0) - top) / 4
    np.testing.assert_allclose(layer.selectivity, (top - rest) / (top + rest), rtol=1e-10)
    for unit in range(8):
        groups = [wide[labels == k, unit] for k in range(5)]
        f = scipy_stats.f_oneway(*groups).statistic
        assert layer.eta_squared[unit] == pytest.approx(f * 4 / (f * 4 + 595), rel=1e-9)
    assert layer.best_class[2] == 3
    assert layer.selectivity.argmax() == 2
    signed = actlens.stats({"x": x - 5}, labels=labels)["x"]
    assert np.isnan(signed.selectivity[0])
    np.testing.assert_allclose(signed.eta_squared, layer.eta_squared, rtol=1e-5)
    assert np.isnan(actlens.stats({"x": x}, labels=np.zeros(600))["x"].selectivity).all()


def test_by_a_column_in_the_same_pass(two_steps):
    path, truth, _ = two_steps
    run = actlens.open(path)
    s = actlens.stats(run, by="step", labels="label")
    for step in (0, 1):
        alone = actlens.stats(run.sel(step=step), labels="label")
        assert list(s.groups) == [0, 1]
        for name in run:
            _same(s.groups[step][name], alone[name])
            np.testing.assert_allclose(s.groups[step][name].class_means, alone[name].class_means, rtol=1e-12)
    whole = actlens.stats(run)
    for name in run:
        _same(s[name], whole[name])
    assert repr(s) == "<Stats of 2 layers, 2 groups by value>"
    frame = s.to_pandas()
    assert frame["by"].tolist() == [0, 0, 1, 1]
    assert frame["mean"][1] == pytest.approx(truth["fc"][:100].mean(dtype="f8"))
    assert whole.to_pandas()["layer"].tolist() == ["conv", "fc"]


def _hard(seed, rows):
    """Equal values, zeros, NaN, inf, a constant, a bounded unit."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(rows, 6)) * 2, 1).astype("f4") + np.array([0, 0, 0, 1000, 0, 0], "f4")
    x[:, 4], x[:, 5] = 3, np.minimum(x[:, 5], 1)
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(x.shape) < 0.01] = -np.inf
    return x


@given(st.integers(0, 10**6), st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_merged_parts_are_the_whole(seed, sizes):
    x = _hard(seed, sum(sizes))
    borders = np.cumsum(sizes)[:-1]
    labels = np.arange(len(x)) % 4
    parts = [
        actlens.stats({"x": piece}, labels=code, top=3)
        for piece, code in zip(np.split(x, borders), np.split(labels, borders), strict=True)
    ]
    whole = actlens.stats({"x": x}, labels=labels, top=3)["x"]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    mine = merged["x"]
    for name in FIGURES:
        np.testing.assert_allclose(
            getattr(mine, name), getattr(whole, name), rtol=1e-9, atol=1e-8, err_msg=name
        )
    np.testing.assert_allclose(mine.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mine.variance, whole.variance, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(mine.top_values, whole.top_values)
    np.testing.assert_array_equal(mine.at_upper, whole.at_upper)
    np.testing.assert_array_equal(mine.histogram()[0], whole.histogram()[0])
    np.testing.assert_allclose(mine.class_means, whole.class_means, rtol=1e-12)
    assert (mine.bounds, mine.bad_rows) == (whole.bounds, whole.bad_rows)
    assert mine.effective_rank == pytest.approx(whole.effective_rank, rel=1e-9, nan_ok=True)


@pytest.fixture
def many_blocks(monkeypatch):
    monkeypatch.setattr(measuring, "_BLOCK_BYTES", 1 << 11)
    monkeypatch.setattr(measuring, "_SMALL", 0)  # products of float32 as well


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_threads_give_the_same(two_steps, many_blocks, workers):
    run = actlens.open(two_steps[0])
    alone = actlens.stats(run, by="step", correlation=True, cache=False)
    with ThreadPoolExecutor(workers) as pool:
        shared = actlens.stats(run, by="step", correlation=True, executor=pool, cache=False)
    for name in run:
        _same(shared[name], alone[name])
        _same(shared.groups[1][name], alone.groups[1][name])


def test_the_same_parts_of_wide_layers_however_they_are_shared_out(rng, monkeypatch):
    monkeypatch.setattr(measuring, "_BLOCK_BYTES", 1 << 20)
    x = np.round(rng.normal(size=(3000, 1100)), 1).astype("f4")  # many equal values
    x[1234, 7] = np.nan
    alone = actlens.stats({"x": x}, by=np.arange(3000) // 1100)
    with ThreadPoolExecutor(4) as pool:
        shared = actlens.stats({"x": x}, by=np.arange(3000) // 1100, executor=pool)
    for mine, other in ((shared, alone), (shared.groups[1], alone.groups[1])):
        _same(mine["x"], other["x"])
    order = np.argsort(-np.nan_to_num(x, nan=-np.inf), axis=0, kind="stable")[:10].T
    np.testing.assert_array_equal(alone["x"].top_ids, order)


@pytest.mark.slow
def test_processes_give_the_same(two_steps, many_blocks):
    run = actlens.open(two_steps[0])
    alone = actlens.stats(run, labels="label", cache=False)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        shared = actlens.stats(run, labels="label", executor=pool, cache=False)
    for name in run:
        _same(shared[name], alone[name])
        np.testing.assert_allclose(shared[name].class_means, alone[name].class_means, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a busy machine, and of ports
def test_dask_gives_the_same(two_steps, many_blocks):
    distributed = pytest.importorskip("distributed")
    run = actlens.open(two_steps[0])
    alone = actlens.stats(run, cache=False)
    with distributed.Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as client:
        shared = actlens.stats(run, executor=client.get_executor(pure=False), cache=False)
    for name in run:
        _same(shared[name], alone[name])


def test_a_layer_is_read_once_and_in_blocks(rng, monkeypatch):
    monkeypatch.setattr(measuring, "_BLOCK_BYTES", 1 << 12)
    read = []

    def make(first, last):
        read.append((first, last))
        return np.random.default_rng(first).normal(size=(last - first, 8)).astype("f4")

    layer = FakeLayer(make, (2000, 8))
    s = actlens.stats({"x": layer})
    assert sum(last - first for first, last in read) == 2000
    assert layer.largest_read == 128
    assert s["x"].top_ids.min() >= 1000  # ids, not numbers


def test_layers_are_chosen_as_in_record(two_steps, rng):
    run = actlens.open(two_steps[0])
    assert list(actlens.stats(run, "c*")) == ["conv"]
    assert list(actlens.stats(run, ["**", "!conv"])) == ["fc"]
    assert list(actlens.stats(run, lambda name: name == "fc")) == ["fc"]
    odd = {"a[0]": rng.normal(size=(3, 2)), "a*": rng.normal(size=(3, 2))}
    assert list(actlens.stats(odd, "a*")) == ["a*"]
    with pytest.raises(StatisticsError, match=r"layers=d\* matches no layer. The layers: conv, fc."):
        actlens.stats(run, ["fc", "d*"])
    with pytest.raises(StatisticsError, match="layers=the function matches no layer"):
        actlens.stats(run, lambda name: False)
    with pytest.raises(StatisticsError, match=r"layers=\*\*, !\*\* matches no layer"):
        actlens.stats(run, ["**", "!**"])
    with pytest.raises(SelectionError):
        actlens.stats(run, [])


def test_problems(rng):
    good = rng.normal(size=(500, 64)).astype("f4")
    assert actlens.stats({"good": good}).problems == []
    assert actlens.stats({"good": good}).summary() == "nothing looks broken"
    layers = {name: good.copy() for name in ("dead", "same", "one", "low", "heavy", "fixed")}
    layers["dead"][:, :37] = 0
    layers["same"][:, 9] = 2 * layers["same"][:, 4]
    layers["one"][:, 31] *= 20
    layers["low"] = rng.normal(size=(500, 1)) @ rng.normal(size=(1, 64)) + good / 100
    layers["heavy"][7, 7] = 3000
    layers["fixed"][:, 5] = 0.25
    said = actlens.stats(layers).problems
    variance = layers["one"].var(axis=0)
    assert "dead: 37 of 64 units are dead (0 for every sample)" in said
    assert "same: two units move together (r = 1.000): 4 and 9" in said
    assert (
        f"one: one unit (31) carries {variance[31] / variance.sum():.0%}".replace("%", " %")
        + " of the variance"
        in said
    )
    assert "low: effective rank 1.0 of 64" in said
    assert any(text.startswith("heavy: single values are far beyond the rest (kurtosis ") for text in said)
    assert "fixed: 1 of 64 units is constant: 5" in said


def test_how_results_show_themselves(two_steps):
    s = actlens.stats(actlens.open(two_steps[0]))
    assert repr(s) == "<Stats of 2 layers>"
    assert repr(s["fc"]) == "<LayerStats fc: 200 samples, 5 units>"
    assert str(s).startswith(s.table())
    assert str(s).endswith(s.summary())
    with pytest.raises(NotFound, match="no layer 'x' in these statistics"):
        s["x"]
    with pytest.raises(
        StatisticsError, match=r"class_means of layer 'fc' needs the classes .* labels='label'"
    ):
        s["fc"].class_means  # noqa: B018
    with pytest.raises(StatisticsError, match=r"shares from 0 to 1; got 1.5"):
        s["fc"].quantile(1.5)
    with pytest.raises(StatisticsError, match=r"shares from 0 to 1; got 'half'"):
        s["fc"].quantile("half")


def test_pandas_is_not_needed_until_asked_for(two_steps, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    s = actlens.stats(actlens.open(two_steps[0]))
    with pytest.raises(MissingDependency, match="needs pandas, which is not installed: pip install pandas"):
        s.to_pandas()


def test_what_cannot_be_merged(rng):
    x = rng.normal(size=(20, 3))
    s = actlens.stats({"x": x})
    with pytest.raises(
        StatisticsError, match="merge takes the Stats of another part of the data; got ndarray"
    ):
        s.merge(x)
    with pytest.raises(StatisticsError, match="of other layers: x; and y"):
        s.merge(actlens.stats({"y": x}))
    with pytest.raises(StatisticsError, match="another unit: 3 × unit; and 2 × unit"):
        s.merge(actlens.stats({"x": x[:, :2]}))
    with pytest.raises(StatisticsError, match="another top: 10; and 3"):
        s.merge(actlens.stats({"x": x}, top=3))
    with pytest.raises(StatisticsError, match="another correlation: False; and True"):
        s.merge(actlens.stats({"x": x}, correlation=True))
    with pytest.raises(StatisticsError, match="another labels: False; and True"):
        s.merge(actlens.stats({"x": x}, labels=np.zeros(20)))


def test_samples_of_rows_are_merged_in_equal_parts(rng):
    x = rng.normal(size=(30_000, 20)).astype("f4")
    x[:2000, 3] *= 30  # one row in 15
    whole = actlens.stats({"x": x})["x"]
    merged = actlens.stats({"x": x[:2000]}).merge(actlens.stats({"x": x[2000:]}, every=3))["x"]
    assert (merged.rank_every, merged.sampled) == (13, 3)
    assert merged.effective_rank == pytest.approx(whole.effective_rank, rel=0.2)


def test_merging_groups(rng):
    x = rng.normal(size=(90, 4))
    step = np.repeat([0, 1, 2], 30)
    whole = actlens.stats({"x": x}, by=step)
    parts = actlens.stats({"x": x[:45]}, by=step[:45]).merge(actlens.stats({"x": x[45:]}, by=step[45:]))
    assert list(parts.groups) == [0, 1, 2]
    for value in range(3):
        np.testing.assert_allclose(
            parts.groups[value]["x"].variance, whole.groups[value]["x"].variance, rtol=1e-12
        )


def _a_torch_tensor():
    return pytest.importorskip("torch").zeros(3, 2)


@pytest.mark.parametrize(
    ("run", "options", "says"),
    [
        (np.zeros((3, 2)), {}, "stats takes a recording, or a dict layer → array; got ndarray. One array is"),
        ("runs/x", {}, r"got str. Open it first: actlens.open\(path\)"),
        ({}, {}, "stats has nothing to do: there is no layer"),
        ({"x": np.zeros((0, 2))}, {}, r"layer 'x' has no values: its shape is \(0, 2\)"),
        ({"x": np.zeros((3, 0))}, {}, r"layer 'x' has no values: its shape is \(3, 0\)"),
        ({"x": np.float64(3)}, {}, "layer 'x' is a single number"),
        ({"x": np.array(["a"])}, {}, "stats takes real numbers; layer 'x' has dtype <U1"),
        ({"x": np.zeros((3, 2), "c8")}, {}, "layer 'x' has dtype complex64"),
        ({"x": [[1, 2], [3]]}, {}, "layer 'x' is a list, which numpy cannot read as an array"),
        ({"x": np.ma.zeros((3, 2))}, {}, "layer 'x' is a masked array, and stats does not read masks"),
        (
            {"x": np.zeros((3, 2))},
            {"by": "step"},
            r"by='step': there is no such column. The columns: \(none\)",
        ),
        ({"x": np.zeros((3, 2))}, {"labels": [1, 2]}, r"labels has shape \(2,\); layer 'x' has 3 samples"),
        (
            {"x": np.zeros((3, 2))},
            {"by": np.array([1, None, 2])},
            "by takes numbers, booleans or text; got dtype object",
        ),
        ({"x": np.zeros((3, 2))}, {"labels": [1, 2, np.nan]}, "labels is NaN for 1 samples of layer 'x'"),
        (
            {"x": np.zeros((10_001, 2))},
            {"by": np.arange(10_001)},
            "by has 10,001 different values; at most 10,000",
        ),
        (
            {"x": np.zeros((3, 2))},
            {"unit": "channel"},
            "unit='channel': layer 'x' has no such axis. Allowed here: unit, value",
        ),
        (
            {"x": np.zeros((3, 5000))},
            {"correlation": True},
            "layer 'x' has 5,000 units, and correlations are",
        ),
        ({"x": np.zeros((3, 2))}, {"top": -1}, "top must be a whole number of at least 0; got -1"),
        ({"x": np.zeros((3, 2))}, {"every": 0}, "every must be None or a whole number of at least 1; got 0"),
        (
            {"x": np.zeros((3, 2))},
            {"tolerance": 0.7},
            "tolerance must be a number from 0 to below 0.5; got 0.7",
        ),
        ({"x": np.zeros((3, 2))}, {"bounds": [(1, 0)]}, r"bounds must be pairs \(lower, upper\)"),
        ({"x": np.zeros((3, 2))}, {"bounds": 6}, r"bounds must be pairs \(lower, upper\)"),
    ],
)
def test_what_is_refused(run, options, says):
    with pytest.raises(StatisticsError, match=says):
        actlens.stats(run, **options)


def test_tensors_and_other_executors_are_refused():
    with pytest.raises(StatisticsError, match=r"layer 'x' is a torch.Tensor; stats takes numpy arrays"):
        actlens.stats({"x": _a_torch_tensor()})
    with pytest.raises(WorkerError, match="executor= takes None or an executor"):
        actlens.stats({"x": np.zeros((3, 2))}, executor=2)


def test_a_layer_that_gives_other_rows_than_it_announces(rng):
    layer = FakeLayer(lambda first, last: np.zeros((min(last, 15) - first, 2), "f4"), (20, 2))
    with pytest.raises(StatisticsError, match="layer 'x' announces 20 rows and gave 15 when read"):
        actlens.stats({"x": layer})


def test_groups_of_unlike_columns_are_not_merged(rng, tmp_path):
    x = rng.normal(size=(20, 3))
    of = {
        None: actlens.stats({"x": x}),
        "int": actlens.stats({"x": x}, by=[1, 2] * 10),
        "text": actlens.stats({"x": x}, by=["1", "2"] * 10),
        "bool": actlens.stats({"x": x}, by=[True, False] * 10),
    }
    of["text"].save(tmp_path / "s")
    of["text"] = actlens.statistics.Stats.load(tmp_path / "s")
    for one, other, says in [
        ("int", "text", "other groups: by=an array, of numbers; and by=an array, of text"),
        ("int", "bool", "of numbers; and by=an array, of booleans"),
        ("int", None, "of numbers; and no by="),
    ]:
        with pytest.raises(StatisticsError, match=says):
            of[one].merge(of[other])
        with pytest.raises(StatisticsError, match="other groups"):
            of[other].merge(of[one])
    with pytest.raises(StatisticsError, match="other classes: labels=an array, of numbers; and .* of text"):
        actlens.stats({"x": x}, labels=[1, 2] * 10).merge(actlens.stats({"x": x}, labels=["1", "2"] * 10))


def test_columns_of_other_names_are_not_merged(rng, tmp_path):
    layer = FakeLayer.of(rng.normal(size=(20, 3)), columns={"a": np.arange(20) % 2, "b": np.arange(20) % 3})
    first, second = actlens.stats({"x": layer}, by="a"), actlens.stats({"x": layer}, by="b")
    second.save(tmp_path / "s")
    with pytest.raises(StatisticsError, match="by='a', of numbers; and by='b', of numbers"):
        first.merge(actlens.statistics.Stats.load(tmp_path / "s"))
    with pytest.raises(StatisticsError, match="labels='a', of numbers; and labels='b'"):
        actlens.stats({"x": layer}, labels="a").merge(actlens.stats({"x": layer}, labels="b"))


def test_long_doubles_and_integers_that_float64_does_not_hold(rng):
    x = rng.normal(size=(50, 3)).astype(np.longdouble) * np.longdouble("1e60")
    layer = actlens.stats({"x": x})["x"]
    assert not layer.inf.any()
    np.testing.assert_allclose(layer.variance, x.astype("f8").var(axis=0, ddof=1), rtol=1e-10)
    swapped = actlens.stats({"x": x.astype(">f8")})["x"]
    np.testing.assert_array_equal(swapped.max, x.max(axis=0).astype("f8"))
    for dtype in ("i8", "u8"):
        with pytest.raises(StatisticsError, match=r"holds 115292150460684\d+; .* only from -2\*\*53"):
            actlens.stats(
                {"x": (np.arange(40) + 2**60).astype(dtype).reshape(-1, 1)[::-1]}, correlation=dtype == "u8"
            )


def test_one_unit(rng):
    layer = actlens.stats({"x": rng.normal(size=(30, 1))})["x"]
    assert (layer.effective_rank, layer.entropy_rank, layer.correlated()) == (1.0, 1.0, [])


@pytest.mark.parametrize("most", ["a", 1.5, -1, True])
def test_how_many_pairs(rng, most):
    with pytest.raises(StatisticsError, match="most must be a whole number of at least 0"):
        actlens.stats({"x": rng.normal(size=(30, 2))})["x"].correlated(most)


@pytest.mark.parametrize(
    ("run", "options", "says"),
    [
        ({"x": np.zeros((40, 2))}, {"by": [[1], [1, 2]] * 20}, "by cannot be read as an array"),
        ({"x": np.zeros((3, 2))}, {"unit": ["unit"]}, "unit must be None or the name of an axis"),
        ({"x": np.zeros((3, 2))}, {"top": True}, "top must be a whole number of at least 0; got True"),
        ({"x": np.zeros((3, 2))}, {"by": np.ma.zeros(3)}, "by is a masked array"),
        ({"x": np.zeros((3, 2))}, {"labels": np.ma.zeros(3)}, "labels is a masked array"),
        ({3: np.zeros((3, 2)), "3": np.zeros((3, 2))}, {}, "two layers have the name '3'"),
    ],
)
def test_what_else_is_refused(run, options, says):
    with pytest.raises(StatisticsError, match=says):
        actlens.stats(run, **options)


def test_whole_numbers_of_numpy():
    assert actlens.stats({"x": np.eye(5)}, top=np.int64(3), every=np.int32(1))["x"].top_ids.shape == (5, 3)


def test_long_doubles_beyond_float64():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long doubles are float64 here")
    for value in ("1e400", "1e-400"):
        with pytest.raises(StatisticsError, match="beyond the range of float64"):
            actlens.stats({"x": np.array([[np.longdouble(value)], [1]])})


def test_groups_of_two_kinds(rng):
    x = FakeLayer.of(rng.normal(size=(4, 2)), columns={"c": np.arange(4)})
    y = FakeLayer.of(rng.normal(size=(4, 2)), columns={"c": np.array(list("abcd"))})
    with pytest.raises(StatisticsError, match="by has values of two kinds: numbers; and text"):
        actlens.stats({"x": x, "y": y}, by="c")
