"""What changes a measure and what does not, and what unrelated layers give: by chance, exactly."""

from __future__ import annotations

import itertools
import math

import compare_oracles as oracle
import numpy as np
import pytest

from actlens import compare

biased = compare.cka.with_options(debiased=False)
MEASURES = {
    "cka": compare.cka,
    "biased": biased,
    "rbf": compare.cka.with_options(kernel="rbf", bandwidth=0.8),
    "procrustes": compare.procrustes,
    "cca": compare.cca,
    "svcca": compare.svcca,
    "pwcca": compare.pwcca,
    "linear_r2": compare.linear_r2,
    "ridge": compare.ridge,
    "rsa": compare.rsa,
    "cosine": compare.rsa.with_options(comparison="cosine"),
    "spearman": compare.rsa.with_options(comparison="spearman"),
    "mutual_knn": compare.mutual_knn.with_options(k=5),
}
SIZE = 9


@pytest.fixture
def layers(rng):
    """Related layers, their directions of unequal strength, far from the origin."""
    x = rng.standard_normal((120, SIZE)) * np.linspace(3, 0.5, SIZE)
    y = np.hstack([x[:, :5] @ rng.standard_normal((5, 5)), rng.standard_normal((120, 2))])
    return x + 7, y + rng.standard_normal(y.shape) - 4


def rotation(x, rng):
    return x @ np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]


CHANGES = {
    "permuted": lambda x, rng: x[:, rng.permutation(SIZE)],
    "signs": lambda x, rng: x * np.where(np.arange(SIZE) % 2, 1, -1),
    "rotated": rotation,
    "scaled": lambda x, rng: 37 * x,
    "moved": lambda x, rng: x + 50 * rng.standard_normal(SIZE),
    "each unit scaled": lambda x, rng: x * np.geomspace(0.1, 10, SIZE),
    "invertible": lambda x, rng: x @ rng.standard_normal((SIZE, SIZE)),
    "padded": lambda x, rng: np.hstack([x, np.full((len(x), 3), 2.5)]),
    "units twice": lambda x, rng: np.hstack([x, x]),
}
ISOMETRY = ("permuted", "signs", "rotated", "scaled", "moved", "padded", "units twice")
LINEAR = (*ISOMETRY, "each unit scaled", "invertible")
KEPT = dict.fromkeys(MEASURES, ISOMETRY) | {
    "cca": LINEAR,
    "linear_r2": LINEAR,
    # Its weights are sums over units, of their absolute values.
    "pwcca": tuple(change for change in ISOMETRY if change != "rotated"),
    # Its penalty is a share of the mean variance of a unit, which dead units make smaller.
    "ridge": tuple(change for change in ISOMETRY if change not in ("padded", "units twice")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MEASURES)
def test_what_changes_of_a_matter(name, change, layers, rng):
    x, y = layers
    before, after = MEASURES[name](x, y), MEASURES[name](CHANGES[change](x, rng), y)
    if change in KEPT[name]:
        assert after == pytest.approx(before, abs=1e-10)
    else:
        assert abs(after - before) > 1e-6


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MEASURES)
def test_what_changes_of_b_matter(name, change, layers, rng):
    """The target of a regression: its scale and rotation do not matter, the strength of its units does."""
    y, x = layers
    before, after = MEASURES[name](x, y), MEASURES[name](x, CHANGES[change](y, rng))
    kept = {"linear_r2": ISOMETRY, "ridge": ISOMETRY, "pwcca": LINEAR}.get(name, KEPT[name])
    if change in kept:
        assert after == pytest.approx(before, abs=1e-10)
    else:
        assert abs(after - before) > 1e-6


@pytest.mark.parametrize("name", MEASURES)
def test_which_measures_take_a_and_b_in_any_order(name, layers):
    x, y = layers
    measure = MEASURES[name]
    difference = abs(measure(x, y) - measure(y, x))
    assert measure.symmetric is (difference < 1e-10)
    assert measure.symmetric is (name not in ("pwcca", "linear_r2", "ridge"))


@pytest.mark.parametrize("name", sorted(set(MEASURES) - {"ridge"}))
def test_the_order_of_rows_does_not_matter_if_it_is_one(name, layers, rng):
    x, y = layers
    order = rng.permutation(len(x))
    assert MEASURES[name](x[order], y[order]) == pytest.approx(MEASURES[name](x, y), abs=1e-10)


def test_rows_that_do_not_belong_together_give_chance(layers):
    x, y = layers
    values = [compare.cka(x, y[np.random.default_rng(seed).permutation(len(y))]) for seed in range(20)]
    assert compare.cka(x, y) > 0.5
    assert max(np.abs(values)) < 0.1
    assert abs(np.mean(values)) < 0.02


# By chance, over all 720 orders of six rows: no sampling error


@pytest.fixture(scope="module")
def all_orders():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((6, 3)) + 9, rng.standard_normal((6, 2)) ** 3
    orders = np.array(list(itertools.permutations(range(6))))
    sides = {"x": x}, {str(number): y[order] for number, order in enumerate(orders)}
    return x, y, sides


def test_debiased_cka_is_0_on_average_and_z_has_a_variance_of_1(all_orders):
    _, _, sides = all_orders
    found = compare.matrix(*sides)
    assert found.values.shape == (1, 720)
    assert found.values.mean() == pytest.approx(0, abs=1e-12)
    assert np.square(found.values).mean() == pytest.approx(2 / (6 * 3), rel=1e-10)
    assert np.square(found.z).mean() == pytest.approx(1, rel=1e-10)


def test_biased_cka_has_the_mean_that_algebra_says(all_orders):
    x, y, sides = all_orders
    found = compare.matrix(*sides, measure=biased)
    assert found.values.mean() == pytest.approx(oracle.permuted_mean(x, y), abs=1e-12)
    assert found.values.mean() > 0.3  # of layers that have nothing in common


def test_z_of_a_matrix(layers):
    x, y = layers
    found = compare.matrix({"x": x}, {"y": y})
    assert found.z[0, 0] == pytest.approx(oracle.cka(x, y) * math.sqrt(120 * 117 / 2), rel=1e-10)


@pytest.mark.parametrize("units", [2, 20, 500])
def test_unrelated_layers_of_any_width_are_0(units):
    """Where biased CKA rises to 0.9."""
    values, high = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, 40, units)).astype("f4")
        values.append(compare.cka(x, y) * math.sqrt(40 * 37 / 2))
        high.append(biased(x, y))
    assert abs(np.mean(values)) < 4 / math.sqrt(60)
    assert 0.7 < np.std(values) < 1.4
    assert units < 500 or np.mean(high) > 0.9


def test_unrelated_neighbours_share_k_of_n():
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        values.append(compare.mutual_knn(*rng.standard_normal((2, 200, 8))))
    assert np.mean(values) == pytest.approx(10 / 199, abs=4 * np.std(values, ddof=1) / math.sqrt(12))
    assert np.std(values) < 0.01


def test_unrelated_layers_cannot_be_predicted():
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, 200, 30))
        values.append([compare.ridge(x, y), compare.linear_r2(x, y)])
    out_of_fold, fitted = np.mean(values, axis=0)
    assert out_of_fold < 0
    assert fitted == pytest.approx(30 / 199, abs=0.01)  # what fitting alone explains
