"""Every measure of actlens.compare against published values, closed forms, and the formulas of its paper."""

from __future__ import annotations

import itertools

import compare_oracles as oracle
import numpy as np
import pytest
from compare_cases import Case, cases
from hypothesis import given, settings

from actlens import compare
from actlens.compare.folds import folds_of

biased = compare.cka.with_options(debiased=False)
cosine = compare.rsa.with_options(comparison="cosine")
spearman = compare.rsa.with_options(comparison="spearman")
fidelity = compare.procrustes.with_options(form="fidelity")
r2_cca = compare.cca.with_options(squared=True)
fewer = compare.svcca.with_options(of="singular values")


def rbf(bandwidth, *, debiased=True):
    return compare.cka.with_options(kernel="rbf", bandwidth=bandwidth, debiased=debiased)


def ridge_truth(x, y):
    return oracle.ridge(x, y, folds_of(np.arange(len(x)), 5))


# What the literature printed


@pytest.fixture(scope="module")
def demo():
    """google-research/representation_similarity/Demo.ipynb, its fourth cell."""
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    return x, random.randn(100, 10) + x


@pytest.mark.parametrize(
    ("measure", "printed"),
    [
        (biased, "0.55761"),
        (compare.cka, "0.51346"),
        (rbf(0.5, debiased=False), "0.65483"),
        (compare.cca.with_options(squared=True, centred=False), "0.54312"),
    ],
    ids=["linear", "debiased", "rbf", "R2_CCA"],
)
def test_what_kornblith_printed(demo, measure, printed):
    assert f"{measure(*demo):.5f}" == printed


def test_r2_cca_is_centred_unless_told(demo):
    assert r2_cca(*demo) == pytest.approx(0.54540, abs=5e-6)


@pytest.mark.parametrize(
    ("units_a", "units_b", "rows", "printed"), [(100, 50, 2000, 0.2074), (500, 500, 10_000, 0.1906)]
)
def test_what_the_svcca_tutorial_printed(units_a, units_b, rows, printed):
    """google/svcca, 001_Introduction: random layers, unseeded. The spread of its value is measured here."""
    if rows > 5000:
        rows, units_a, units_b = rows // 5, units_a // 5, units_b // 5  # the same shape: the same mean
    values = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        values.append(compare.cca(rng.standard_normal((rows, units_a)), rng.standard_normal((rows, units_b))))
    assert np.mean(values) == pytest.approx(printed, abs=4 * np.std(values, ddof=1))
    assert np.std(values) < 0.004


# What is known without computing


def turned(rng, rows, units):
    """Columns that are orthonormal and centred."""
    drawn = rng.standard_normal((rows, units + 1))
    drawn[:, 0] = 1
    return np.linalg.qr(drawn)[0][:, 1:]


EVERY = {
    "cka": compare.cka,
    "biased": biased,
    "rbf": rbf(0.7),
    "fidelity": fidelity,
    "cca": compare.cca,
    "r2_cca": r2_cca,
    "svcca": compare.svcca,
    "pwcca": compare.pwcca,
    "linear_r2": compare.linear_r2,
    "rsa": compare.rsa,
    "cosine": cosine,
    "spearman": spearman,
    "mutual_knn": compare.mutual_knn.with_options(k=5),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_is_most_like_itself(rng, name):
    x = rng.standard_normal((60, 7)) + 20
    assert EVERY[name](x, x) == pytest.approx(1, abs=1e-12)
    assert compare.procrustes(x, x) == pytest.approx(0, abs=1e-12)


def test_one_unit_is_a_correlation(rng):
    x, y = rng.standard_normal((2, 80, 1))
    y = 0.6 * x + y
    r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert biased(x, y) == pytest.approx(r**2, abs=1e-14)
    assert compare.linear_r2(x, y) == pytest.approx(r**2, abs=1e-14)
    for measure in (compare.cca, compare.svcca, compare.pwcca, fidelity):
        assert measure(x, y) == pytest.approx(abs(r), abs=1e-14)
    assert compare.procrustes(x, y) == pytest.approx(2 - 2 * abs(r), abs=1e-14)


def test_orthonormal_columns_scaled(rng):
    q = turned(rng, 90, 6)
    c = np.array([5, 3, 2, 1, 0.5, 0.1])
    assert biased(q, q * c) == pytest.approx((c**2).sum() / np.sqrt(6 * (c**4).sum()), abs=1e-14)
    assert fidelity(q, q * c) == pytest.approx(c.sum() / np.sqrt(6 * (c**2).sum()), abs=1e-14)
    assert compare.cca(q, q * c) == pytest.approx(1, abs=1e-13)
    assert compare.linear_r2(q, q * c) == pytest.approx(1, abs=1e-13)


def test_orthogonal_columns(rng):
    q = turned(rng, 90, 12)
    x, y = q[:, :7] * 3, q[:, 7:]
    for measure in (biased, fidelity, compare.cca, r2_cca, compare.svcca, compare.pwcca, compare.linear_r2):
        assert measure(x, y) == pytest.approx(0, abs=1e-13)
    assert compare.procrustes(x, y) == pytest.approx(2, abs=1e-13)


def test_a_known_part_of_the_variance(rng):
    q = turned(rng, 90, 8)
    x, y = q[:, :4], np.hstack([q[:, :2] * 3, q[:, 6:] * 4])
    assert compare.linear_r2(x, y) == pytest.approx(9 / 25, abs=1e-13)
    assert compare.linear_r2(y, x) == pytest.approx(2 / 4, abs=1e-13)
    assert compare.cca(x, y) == pytest.approx(2 / 4, abs=1e-13)


def test_neighbours_on_a_line():
    x = np.array([0, 1, 3, 10, 12, 15.0])[:, None]
    y = np.array([0, 1, 30, 10, 12, 15.0])[:, None]
    first = compare.mutual_knn.with_options(k=1)
    assert first(x, x**2) == pytest.approx(1)
    # nearest in x: 1, 0, 1, 4, 3, 4; in y: 1, 0, 5, 4, 3, 4
    assert first(x, y) == pytest.approx(5 / 6)


# What the papers' formulas say, of layers of every kind

FROM_SCATTERS = {
    "procrustes": (compare.procrustes, oracle.procrustes),
    "fidelity": (fidelity, lambda x, y: oracle.procrustes(x, y, form="fidelity")),
    "ridge": (compare.ridge, ridge_truth),
}
FROM_GRAMS = {
    "cka": (compare.cka, oracle.cka),
    "biased": (biased, lambda x, y: oracle.cka(x, y, debiased=False)),
    "rsa": (compare.rsa, oracle.rsa),
    "cosine": (cosine, lambda x, y: oracle.rsa(x, y, comparison="cosine")),
}
SINGLE = {"float32", "float16", "bfloat16", "int8"}  # their products are of float32


def same(name, found, truth, tight):
    assert found == pytest.approx(truth, abs=tight), name


@given(cases())
def test_measures_of_grams(case):
    x, y = case.layers()
    tight = 1e-6 if SINGLE & set(case.dtypes) == set(case.dtypes) else 1e-10
    for name, (measure, truth) in FROM_GRAMS.items():
        same(name, measure(x, y), truth(x, y), tight)
    assert oracle.cka(x, y) == pytest.approx(oracle.hsic_cka(x, y), abs=1e-7)  # two ways to write it


@given(cases())
def test_measures_of_scatters(case):
    x, y = case.layers()
    for name, (measure, truth) in FROM_SCATTERS.items():
        same(name, measure(x, y), truth(x, y), 1e-9)


@given(cases())
def test_kernels(case):
    x, y = case.layers()
    for bandwidth, debiased in itertools.product((0.3, 1.0), (True, False)):
        found = rbf(bandwidth, debiased=debiased)(x, y)
        same(bandwidth, found, oracle.cka(x, y, debiased=debiased, bandwidth=bandwidth), 1e-9)


@given(cases())
def test_canonical_correlations(case):
    x, y = case.layers()
    forced = oracle.rank(x) + oracle.rank(y) > case.rows - 1
    pairs = {
        "cca": (compare.cca, oracle.cca),
        "r2_cca": (r2_cca, lambda x, y: oracle.cca(x, y, squared=True)),
        "pwcca": (compare.pwcca, oracle.pwcca),
    }
    for name, (measure, truth) in pairs.items():
        if forced:  # some are 1 whatever the data, so there is no value
            assert np.isnan(measure(x, y)), name
        else:
            same(name, measure(x, y), truth(x, y), 1e-9)


@given(cases())
def test_leading_components(case):
    x, y = case.layers()
    for measure, of in ((compare.svcca, "variance"), (fewer, "singular values")):
        if oracle.kept(x, of=of) + oracle.kept(y, of=of) > case.rows - 1:
            assert np.isnan(measure(x, y))
        else:
            same(of, measure(x, y), oracle.svcca(x, y, of=of), 1e-9)


@given(cases())
def test_linear_maps(case):
    x, y = case.layers()
    for a, b in ((x, y), (y, x)):
        if oracle.rank(a) >= case.rows - 1:
            assert np.isnan(compare.linear_r2(a, b))
        else:
            same("linear_r2", compare.linear_r2(a, b), oracle.linear_r2(a, b), 1e-9)


@given(cases(dtypes=("float64", "float32")))
def test_ranks_of_dissimilarities(case):
    x, y = case.layers()
    same("spearman", spearman(x, y), oracle.rsa(x, y, comparison="spearman"), 1e-9)


@given(cases(dtypes=("int8", "int32"), units=(1, 6)))
def test_ranks_of_equal_dissimilarities(case):
    """Equal distances share their rank, however they were rounded."""
    x, y = case.layers()
    same("spearman", spearman(x, y), oracle.rsa(x, y, comparison="spearman"), 1e-9)


def test_distances_that_rounding_tells_apart_are_equal():
    """One in fifty such pairs of layers went wrong where distances were rounded to steps, and not grouped."""
    for seed in range(150):
        units = (seed % 11 + 1, seed % 7 + 1)
        x, y = Case(seed, 40, units, units, 0.1, ("int8", "int32"), 0.5).layers()
        same("spearman", spearman(x, y), oracle.rsa(x, y, comparison="spearman"), 1e-12)


@given(cases(dtypes=("float64", "float32")))
def test_neighbours(case):
    x, y = case.layers()
    for k in (1, 5, case.rows - 1):
        same(k, compare.mutual_knn.with_options(k=k)(x, y), oracle.mutual_knn(x, y, k=k), 1e-12)


@given(cases(dtypes=("int8", "bfloat16"), units=(1, 8)))
@settings(max_examples=30)
def test_neighbours_at_equal_distances(case):
    x, y = case.layers()
    low, high = oracle.mutual_knn_bounds(x, y, k=5)
    assert low - 1e-12 <= compare.mutual_knn.with_options(k=5)(x, y) <= high + 1e-12


@given(cases(dtypes=("float64", "float32")))
@settings(max_examples=30)
def test_uncentred_canonical_correlations(case):
    x, y = case.layers()
    measure = compare.cca.with_options(squared=True, centred=False)
    ranks = [oracle.basis(oracle.wide(v)).shape[1] for v in (x, y)]
    if sum(ranks) > case.rows:
        assert np.isnan(measure(x, y))
    else:
        same("r2_cca", measure(x, y), oracle.cca(x, y, squared=True, centre_first=False), 1e-8)
