"""compare.Moments: any batches in any order, merged in any way, saved and read, give what all rows give."""

from __future__ import annotations

import compare_oracles as oracle
import numpy as np
import pytest
from compare_cases import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from actlens import compare
from actlens.compare.folds import folds_of
from actlens.errors import CompareError

MEASURES = {
    "cka": (compare.cka, oracle.cka),
    "biased": (compare.cka.with_options(debiased=False), lambda x, y: oracle.cka(x, y, debiased=False)),
    "procrustes": (compare.procrustes, oracle.procrustes),
    "cca": (compare.cca, oracle.cca),
    "svcca": (compare.svcca, oracle.svcca),
    "pwcca": (compare.pwcca, oracle.pwcca),
    "linear_r2": (compare.linear_r2, oracle.linear_r2),
    "rsa": (compare.rsa, oracle.rsa),
    "cosine": (
        compare.rsa.with_options(comparison="cosine"),
        lambda x, y: oracle.rsa(x, y, comparison="cosine"),
    ),
}


@pytest.fixture(scope="module")
def layers():
    """As the identities were first checked: 2,000 rows, means of 50 and −20."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 60)) * np.geomspace(3, 0.3, 60) + 50
    y = x[:, :45] @ rng.standard_normal((45, 45)) / 4 + rng.standard_normal((2000, 45)) - 20
    return x, y


def in_batches(x, y, sizes, order=None, **options):
    """Sum up batches of these sizes, one after the other, in an order of rows; the rest in a last one."""
    order = np.arange(len(x)) if order is None else order
    sums = compare.Moments(**options)
    for rows in np.split(order, np.cumsum(sizes)[:-1] if sum(sizes) >= len(x) else np.cumsum(sizes)):
        if len(rows):
            ids = {"ids": rows} if options.get("folds", 1) > 1 else {}
            sums.update({"x": x[rows]}, {"y": y[rows]}, **ids)
    return sums


def same(a, b, tight=1e-12):
    for name, (measure, _) in MEASURES.items():
        np.testing.assert_allclose(
            a.matrix(measure).values, b.matrix(measure).values, atol=tight, rtol=0, err_msg=name
        )


@pytest.mark.parametrize("name", MEASURES)
def test_one_pass_gives_what_the_formulas_say(name, layers):
    measure, truth = MEASURES[name]
    found = in_batches(*layers, [96] * 20).matrix(measure)
    assert found.rows == 2000
    assert found.values[0, 0] == pytest.approx(truth(*layers), abs=1e-11)


def test_folds_give_the_ridge_of_scikit_learn(layers):
    x, y = layers
    found = in_batches(x, y, [96] * 20, folds=5).matrix(compare.ridge)
    truth = oracle.ridge(x, y, folds_of(np.arange(2000), 5))
    assert found.values[0, 0] == pytest.approx(truth, abs=1e-11)
    assert found.values[0, 0] == pytest.approx(compare.ridge(x, y), abs=1e-12)


def test_folds_go_by_the_id_and_by_nothing_else():
    first = folds_of(np.arange(4000), 5)
    assert (folds_of(np.arange(3999, -1, -1), 5)[::-1] == first).all()
    assert (folds_of(np.arange(4000).astype("U8"), 5) == first).all()
    assert (folds_of(np.arange(2000, 2010), 5) == first[2000:2010]).all()
    assert np.bincount(first).min() > 700  # 800, give or take four deviations of 25


@given(st.data())
@settings(max_examples=25)
def test_batches_and_their_order_play_no_part(layers, data):
    x, y = (v[:300] for v in layers)
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=12))
    order = np.random.default_rng(data.draw(st.integers(0, 1000))).permutation(300)
    whole = in_batches(x, y, [300])
    same(in_batches(x, y, sizes, order), whole)


@given(st.data())
@settings(max_examples=25)
def test_merging_in_any_way_gives_the_same(layers, data):
    x, y = (v[:300] for v in layers)
    pieces = np.array_split(np.random.default_rng(1).permutation(300), data.draw(st.integers(2, 6)))
    sums = [in_batches(x[rows], y[rows], [17] * 20) for rows in pieces]
    while len(sums) > 1:
        i = data.draw(st.integers(0, len(sums) - 1))
        one = sums.pop(i)
        two = sums[data.draw(st.integers(0, len(sums) - 1))]
        before = one.matrix().values.copy() if one.rows >= 4 else None
        assert two.merge(one) is two
        assert before is None or (one.matrix().values == before).all()
    assert sums[0].rows == 300
    same(sums[0], in_batches(x, y, [300]))


def test_merging_with_folds(layers):
    x, y = (v[:400] for v in layers)
    halves = [compare.Moments(folds=5) for _ in range(2)]
    for half, rows in zip(halves, (np.arange(0, 400, 2), np.arange(1, 400, 2)), strict=True):
        half.update({"x": x[rows]}, {"y": y[rows]}, ids=rows)
    found = halves[0].merge(halves[1]).matrix(compare.ridge).values[0, 0]
    assert found == pytest.approx(oracle.ridge(x, y, folds_of(np.arange(400), 5)), abs=1e-11)


def test_merging_nothing(layers):
    x, y = (v[:50] for v in layers)
    full = in_batches(x, y, [50])
    before = full.matrix().values.copy()
    assert (full.merge(compare.Moments()).matrix().values == before).all()
    taken = compare.Moments().merge(full)
    np.testing.assert_allclose(taken.matrix().values, before, atol=1e-14)
    taken.update({"x": x + 1}, {"y": y})
    assert (full.rows, taken.rows) == (50, 100)  # nothing is shared
    assert (full.matrix().values == before).all()


@given(cases(dtypes=("float64", "float32", "float16", "int32")))
def test_layers_of_every_kind(case):
    x, y = case.layers()
    sums = in_batches(x, y, [5] * 20)
    assert sums.matrix().values[0, 0] == pytest.approx(oracle.cka(x, y), abs=1e-9)
    assert sums.matrix(compare.rsa).values[0, 0] == pytest.approx(oracle.rsa(x, y), abs=1e-9)
    assert sums.matrix(compare.procrustes).values[0, 0] == pytest.approx(oracle.procrustes(x, y), abs=1e-9)


@pytest.mark.parametrize("far", [10, 1000, 10_000])
def test_a_first_batch_that_lies_far_from_the_others(far, layers):
    """The shift is the mean of the first batch, which need not be near any later row."""
    x, y = (v[:400].copy() for v in layers)
    x[:40] += far
    y[:40] -= far
    sums = in_batches(x, y, [40] * 10)
    for name, (measure, truth) in MEASURES.items():
        # Far rows are a direction of their own, beside which the smallest lose figures in any covariance.
        assert sums.matrix(measure).values[0, 0] == pytest.approx(
            truth(x, y), abs=1e-13 * far**1.5 + 1e-11
        ), name


def test_single_precision_is_enough_for_cka(layers):
    x, y = (v.astype("f4") for v in layers)
    sums = in_batches(x, y, [96] * 20, precision="float32")
    assert sums.matrix().values[0, 0] == pytest.approx(oracle.cka(x, y), abs=1e-7)
    assert sums.matrix(compare.rsa).values[0, 0] == pytest.approx(oracle.rsa(x, y), abs=1e-7)


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("one_side", [True, False])
def test_saved_and_read_to_the_bit(folds, one_side, layers, tmp_path):
    x, y = (v[:200] for v in layers)
    ids = np.arange(200)
    sides = ({"x": x, "y": y},) if one_side else ({"x": x}, {"y": y})
    sums = compare.Moments(folds=folds).update(*sides, ids=ids)
    sums.save(tmp_path / "sums.safetensors")
    again = compare.Moments.load(tmp_path / "sums.safetensors")
    assert (again.rows, again.folds, again.layers_a, again.layers_b, again.same) == (
        sums.rows,
        sums.folds,
        sums.layers_a,
        sums.layers_b,
        sums.same,
    )
    kinds = [measure for measure, _ in MEASURES.values()] + ([compare.ridge] if folds > 1 else [])
    for measure in kinds:
        np.testing.assert_array_equal(sums.matrix(measure).values, again.matrix(measure).values)
    for each in (sums, again):
        each.update(*({name: v + 1 for name, v in side.items()} for side in sides), ids=ids + 200)
    np.testing.assert_array_equal(sums.matrix().values, again.matrix().values)


def test_layers_of_one_side_are_compared_with_each_other(layers):
    x, y = (v[:200] for v in layers)
    sums = compare.Moments().update({"x": x, "y": y})
    for name, (measure, truth) in MEASURES.items():
        found = sums.matrix(measure)
        assert found.same
        expected = [[truth(a, b) for b in (x, y)] for a in (x, y)]
        np.testing.assert_allclose(found.values, expected, atol=1e-11, err_msg=name)


def test_a_batch_that_is_refused_changes_nothing(layers):
    x, y = (v[:100] for v in layers)
    sums = in_batches(x, y, [100])
    before = sums.matrix().values.copy()
    spoiled = x.copy()
    spoiled[3, 2] = np.nan
    refused = [
        (({"x": spoiled}, {"y": y}), "NaN"),
        (({"x": x[:50]}, {"y": y}), "rows"),
        (({"x": x[:, :9]}, {"y": y}), "features|60"),
        (({"other": x}, {"y": y}), "other"),
        (({"x": x},), "y"),
    ]
    for sides, says in refused:
        with pytest.raises(CompareError, match=says):
            sums.update(*sides)
        assert sums.rows == 100
        assert (sums.matrix().values == before).all()


def test_measures_that_are_no_sums_say_so(layers):
    x, y = (v[:100] for v in layers)
    sums = in_batches(x, y, [100])
    for measure in (
        compare.mutual_knn,
        compare.rsa.with_options(comparison="spearman"),
        compare.cka.with_options(kernel="rbf"),
    ):
        with pytest.raises(CompareError, match=r"compare\.matrix"):
            sums.matrix(measure)
    with pytest.raises(CompareError, match="folds"):
        sums.matrix(compare.ridge)
    with pytest.raises(CompareError, match="at least 4"):
        in_batches(x[:3], y[:3], [3]).matrix()
