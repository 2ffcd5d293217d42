"""compare against programs that we did not write: rsatoolbox, SciPy, scikit-learn, calibrated-similarity."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from actlens import compare
from actlens.compare.folds import folds_of

pytestmark = pytest.mark.slow

SIZES = [(40, 12, 9), (300, 60, 45), (200, 30, 400), (600, 1, 5)]


@pytest.fixture(params=SIZES, ids=str)
def layers(request):
    rows, units_a, units_b = request.param
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, units_a)) * np.geomspace(3, 0.3, units_a) + 5
    y = x @ rng.standard_normal((units_a, units_b)) / 3 + rng.standard_normal((rows, units_b)) - 2
    return x, y


@pytest.fixture
def dissimilarities(layers):
    toolbox = pytest.importorskip("rsatoolbox")
    # rsatoolbox divides squared distances by the number of units, which no comparison of them sees.
    data = [toolbox.data.Dataset(v) for v in layers]
    return toolbox, [toolbox.rdm.calc_rdm(each, method="euclidean") for each in data]


BY_RSATOOLBOX = {
    "cosine_cov": (compare.cka.with_options(debiased=False), 1e-10),
    "corr": (compare.rsa, 1e-10),
    "cosine": (compare.rsa.with_options(comparison="cosine"), 1e-10),
    "spearman": (compare.rsa.with_options(comparison="spearman"), 1e-8),
    # It takes eigenvalues of Gram matrices and drops negative ones: its rounding, not ours.
    "bures": (compare.procrustes.with_options(form="fidelity"), 1e-6),
}


@pytest.mark.parametrize("method", BY_RSATOOLBOX)
def test_rsatoolbox(method, layers, dissimilarities):
    toolbox, rdms = dissimilarities
    measure, tight = BY_RSATOOLBOX[method]
    found = measure(*layers)
    truth = float(np.asarray(toolbox.rdm.compare(*rdms, method=method)).reshape(-1)[0])
    if method == "bures" and layers[0].shape[1] == 1:
        tight = 1e-5
    assert found == pytest.approx(truth, abs=tight)


def test_procrustes_of_scipy(layers):
    linalg, spatial = pytest.importorskip("scipy.linalg"), pytest.importorskip("scipy.spatial")
    x, y = (v - v.mean(axis=0) for v in layers)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    wider = max(x.shape[1], y.shape[1])
    padded = [np.pad(v, ((0, 0), (0, wider - v.shape[1]))) for v in (x, y)]
    turn, scale = linalg.orthogonal_procrustes(*padded)
    assert compare.procrustes.with_options(form="fidelity")(*layers) == pytest.approx(scale, abs=1e-12)
    left = np.square(padded[0] @ turn - padded[1]).sum()
    assert compare.procrustes(*layers) == pytest.approx(left, abs=1e-12)
    # SciPy's disparity lets the second be scaled too: 1 − f².
    _, _, disparity = spatial.procrustes(*padded)
    assert 1 - (1 - compare.procrustes(*layers) / 2) ** 2 == pytest.approx(disparity, abs=1e-12)


def test_linear_regression_of_scikit_learn(layers):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = layers
    for a, b in ((x, y), (y, x)):
        if a.shape[1] >= len(a) - 1:
            continue
        found = compare.linear_r2(a, b)
        assert found == pytest.approx(
            linear.LinearRegression().fit(a, b).score(a, b)
            if b.shape[1] == 1
            else _weighted_r2(linear.LinearRegression().fit(a, b), a, b),
            abs=1e-10,
        )


def _weighted_r2(model, a, b):
    from sklearn.metrics import r2_score

    return r2_score(b, model.predict(a), multioutput="variance_weighted")


@pytest.mark.parametrize(("folds", "alpha"), [(5, 0.01), (2, 1.0), (8, 1e-4)])
def test_ridge_of_scikit_learn(layers, folds, alpha):
    linear = pytest.importorskip("sklearn.linear_model")
    model_selection = pytest.importorskip("sklearn.model_selection")
    x, y = layers
    fold = folds_of(np.arange(len(x)), folds)
    lost = whole = 0.0
    for train, test in model_selection.PredefinedSplit(fold).split():
        penalty = alpha * len(train) * x[train].var(axis=0).mean()
        guess = linear.Ridge(alpha=penalty, solver="cholesky").fit(x[train], y[train]).predict(x[test])
        lost += np.square(y[test] - guess.reshape(y[test].shape)).sum()
        whole += np.square(y[test] - y[train].mean(axis=0)).sum()
    found = compare.ridge.with_options(folds=folds, alpha=alpha)(x, y)
    assert found == pytest.approx(1 - lost / whole, abs=1e-9)


def test_cca_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 5)) + 4
    y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((500, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = decomposition.CCA(3, max_iter=5000, tol=1e-12).fit_transform(x, y)
    rho = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    assert compare.cca(x, y) == pytest.approx(np.mean(rho), abs=1e-6)


def test_neighbours_of_scikit_learn(layers):
    neighbours = pytest.importorskip("sklearn.neighbors")
    found = [neighbours.NearestNeighbors(n_neighbors=10).fit(v).kneighbors()[1] for v in layers]
    truth = np.mean([len({*a} & {*b}) / 10 for a, b in zip(*found, strict=True)])
    assert compare.mutual_knn(*layers) == pytest.approx(truth, abs=1e-12)


def test_published_packages(layers):
    """ckatorch's cka_base is Kornblith's demo in torch; its median is numpy's where counts are odd."""
    torch = pytest.importorskip("torch")
    ckatorch = pytest.importorskip("ckatorch.core")
    layers = [v[:-1] for v in layers]
    x, y = (torch.from_numpy(v) for v in layers)
    for kernel, options in (("linear", {}), ("rbf", {"bandwidth": 0.5})):
        for debiased in (True, False):
            truth = ckatorch.cka_base(x, y, kernel, unbiased=debiased, threshold=0.5).item()
            measure = compare.cka.with_options(kernel=kernel, debiased=debiased, **options)
            assert measure(*layers) == pytest.approx(truth, abs=1e-9)


# Significance


@pytest.fixture(scope="module")
def two_models():
    """Three layers a model, 200 samples, faintly related: a p-value that is neither 0 nor 1."""
    rng = np.random.default_rng(11)
    shared = rng.standard_normal((200, 3))
    a = [rng.standard_normal((200, 20)) + 0.55 * shared @ rng.standard_normal((3, 20)) for _ in range(3)]
    b = [rng.standard_normal((200, 15)) + 0.25 * shared @ rng.standard_normal((3, 15)) for _ in range(3)]
    unrelated = [rng.standard_normal((200, 15)) @ np.diag(np.geomspace(9, 0.1, 15)) for _ in range(3)]
    return a, b, unrelated


def _named(layers):
    return {f"layer {number}": layer for number, layer in enumerate(layers)}


@pytest.mark.parametrize("debiased", [True, False])
def test_the_null_of_calibrated_similarity(two_models, debiased):
    """The best of 3 × 3 pairs under the same permutations: the same null, number for number."""
    torch = pytest.importorskip("torch")
    calibrated = pytest.importorskip("calibrated_similarity")
    core = pytest.importorskip("ckatorch.core")
    a, b, _ = two_models
    measure = compare.cka.with_options(debiased=debiased)
    found = compare.matrix(_named(a), _named(b), measure=measure).pvalue(200, random_state=4)
    random = np.random.default_rng(4)  # what Comparison.pvalue draws from
    drawn = [torch.from_numpy(random.permutation(200)) for _ in range(200)]
    orders = iter(drawn)
    similar = lambda x, y: core.cka_base(x, y, unbiased=debiased)  # noqa: E731
    sides = [[torch.from_numpy(layer) for layer in side] for side in (a, b)]
    _, p, tau = calibrated.calibrate_layers(*sides, similar, K=200, perm_fn=lambda n, device: next(orders))
    best = np.nanmin(found.values)
    assert best == pytest.approx(float(p), abs=1e-6)
    every = np.sort([*found.null, np.max(compare.matrix(_named(a), _named(b), measure=measure).values)])
    assert every[int(np.ceil(0.95 * 201)) - 1] == pytest.approx(float(tau), abs=1e-6)


def test_the_null_of_calibrated_similarity_with_its_own_permutations(two_models):
    torch = pytest.importorskip("torch")
    calibrated = pytest.importorskip("calibrated_similarity")
    core = pytest.importorskip("ckatorch.core")
    a, _, unrelated = two_models
    found = compare.matrix(_named(a), _named(unrelated)).pvalue(400, random_state=0)
    sides = [[torch.from_numpy(layer) for layer in side] for side in (a, unrelated)]
    _, p, tau = calibrated.calibrate_layers(
        *sides,
        lambda x, y: core.cka_base(x, y, unbiased=True),
        K=400,
        generator=torch.Generator().manual_seed(0),
    )
    ours = np.nanmin(found.values)
    deviation = np.sqrt(ours * (1 - ours) / 400)
    assert abs(ours - float(p)) < 4 * np.sqrt(2) * deviation + 2 / 401
    half = np.quantile(found.null, [0.92, 0.98])
    assert half[0] < float(tau) < half[1]
    assert ours > 0.01  # they are unrelated


def test_p_values_of_unrelated_layers_are_uniform():
    """The share below each level is at most the level, within the sampling error of 150 trials."""
    best, alone = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        a = {str(i): rng.standard_normal((24, 4)) for i in range(2)}
        b = {str(i): rng.standard_normal((24, 3)) for i in range(2)}
        found = compare.matrix(a, b).pvalue(60, random_state=seed)
        best.append(np.nanmin(found.values))
        alone.append(found.uncorrected[0, 0])
    for level in (0.1, 0.3, 0.5):
        error = 4 * np.sqrt(level * (1 - level) / 150)
        assert abs(np.mean(np.array(best) <= level) - level) < error + 1 / 61
        assert abs(np.mean(np.array(alone) <= level) - level) < error + 1 / 61
