"""reduce.pca against float64 numpy and scikit-learn, and what it refuses."""

from __future__ import annotations

import itertools
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from fake_layer import FakeLayer
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.errors import InputError, ReduceError
from actlens.reduce import pca, source
from actlens.reduce.components import eigen, moments
from actlens.streaming.fold import fold
from actlens.streaming.part import Part
from actlens.streaming.reader import ArrayReader


def truth(x, k):
    """Float64, two passes: variances, shares, components with the largest loading positive, points."""
    x = x.astype(np.float64)
    centred = x - x.mean(axis=0)
    _, s, v = np.linalg.svd(centred, full_matrices=False)
    variance = s**2 / (len(x) - 1)
    v = v * np.where(v[np.arange(len(v)), np.abs(v).argmax(axis=1)] < 0, -1, 1)[:, None]
    return variance[:k], (variance / variance.sum())[:k], v[:k], centred @ v[:k].T


def spread(samples, features, seed=0, dtype="f4"):
    """Rows whose variances are well apart, so that each component is known."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** -np.arange(features).clip(max=20)
    turn = np.linalg.qr(rng.standard_normal((features, features)))[0]
    return (rng.standard_normal((samples, features)) * scale @ turn).astype(dtype)


@pytest.fixture(params=["small", "chunks"])
def precision(request, monkeypatch):
    """The second way is that of large inputs: in several chunks."""
    if request.param != "small":
        monkeypatch.setattr(source, "_SMALL", 0)
        monkeypatch.setattr(source, "_CHUNK_BYTES", 2000)
        monkeypatch.setattr(source, "_TALL", 1)
    return request.param


@pytest.mark.parametrize("shape", [(200, 12), (40, 12), (12, 40), (13, 13), (2, 5), (300, 1)])
def test_equal_to_float64(precision, shape):
    x = spread(*shape)
    k = min(shape[0] - 1, shape[1], 5)
    z = pca(x, n_components=k)
    variance, ratio, components, points = truth(x, k)
    tight = 1e-9 if z.solution.precision == "float64" else 1e-5
    assert z.points.shape == (shape[0], k)
    assert z.points.dtype == np.float32
    np.testing.assert_allclose(z.explained_variance, variance, rtol=tight, atol=tight * variance[0])
    np.testing.assert_allclose(z.explained_variance_ratio, ratio, rtol=tight, atol=tight)
    np.testing.assert_allclose(z.components, components, atol=1e-4)
    np.testing.assert_allclose(z.points, points, atol=1e-4 * np.abs(points).max())
    np.testing.assert_allclose(z.mean, x.mean(axis=0, dtype="f8"), atol=1e-6)


def test_equal_to_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = spread(500, 20, dtype="f8")
    reference = decomposition.PCA(8, svd_solver="full").fit(x)
    z = pca(x, n_components=8)
    np.testing.assert_allclose(z.explained_variance_ratio, reference.explained_variance_ratio_, atol=1e-12)
    np.testing.assert_allclose(np.abs(z.components), np.abs(reference.components_), atol=1e-5)
    np.testing.assert_allclose(np.abs(z.points), np.abs(reference.transform(x)), atol=1e-5)
    whitened = decomposition.PCA(8, svd_solver="full", whiten=True).fit_transform(x)
    np.testing.assert_allclose(
        np.abs(pca(x, n_components=8, whiten=True).points), np.abs(whitened), atol=1e-4
    )
    for share in (0.5, 0.9, 0.999):
        kept = decomposition.PCA(share, svd_solver="full").fit(x).n_components_
        assert pca(x, n_components=share).points.shape[1] == kept


def test_right_where_the_mean_is_a_thousand_times_the_spread(precision):
    x = (spread(4000, 16, dtype="f8") + 1000 * np.linspace(-1, 1, 16)).astype("f4")
    z = pca(x, n_components=4)
    variance, _, components, points = truth(x, 4)
    np.testing.assert_allclose(z.explained_variance, variance, rtol=1e-5)
    np.testing.assert_allclose(z.components, components, atol=1e-4)
    np.testing.assert_allclose(z.points, points, atol=1e-4 * np.abs(points).max())
    # Without the shift the same sums are wrong: this is what the test would catch.
    naive = x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))
    assert abs(np.linalg.eigvalsh(naive.astype("f8") / (len(x) - 1))[-1] / variance[0] - 1) > 0.01


@pytest.mark.parametrize("dtype", ["f2", ml_dtypes.bfloat16, "i1", "u1", "i4", "i8", "?", ">f4", "f8"])
def test_every_dtype_of_real_numbers(precision, dtype):
    x = np.random.default_rng(0).standard_normal((60, 6)) * [9, 7, 5, 4, 3, 2]
    x = (x > [-9, -5, -3, -1, 0, 1] if dtype == "?" else abs(x)).astype(dtype)
    z = pca(x, n_components=3)
    variance, _, _, points = truth(x, 3)
    np.testing.assert_allclose(z.explained_variance, variance, rtol=1e-4)
    np.testing.assert_allclose(z.points, points, atol=1e-3)


@pytest.mark.parametrize("order", ["one after the other", "shuffled"])
def test_two_clusters_far_apart(order):
    """In float32 products the second variance would come out as 1.9, and be 1.03 in truth."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((140_000, 32)).astype("f4")
    x[70_000:] += 1000
    x = rng.permutation(x) if order == "shuffled" else x
    expected = np.linalg.eigvalsh(np.cov(x.astype("f8").T))[::-1]
    z = pca(x, n_components=5)
    np.testing.assert_allclose(z.explained_variance, expected[:5], rtol=1e-6)
    np.testing.assert_allclose(z.explained_variance_ratio, expected[:5] / expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(z.points.var(axis=0, ddof=1, dtype="f8"), expected[:5], rtol=1e-5)


def test_a_small_component_of_a_wide_layer_beside_a_large_one(precision):
    x = np.random.default_rng(0).standard_normal((60, 200)).astype("f4")
    x[30:] += 1000
    z = pca(x, n_components=4)
    np.testing.assert_allclose(z.explained_variance, truth(x, 4)[0], rtol=1e-6)


def test_half_precision_does_not_overflow(precision):
    x = np.full((3000, 3), 60000, "f2")
    x[::2, 0] = 50000
    assert np.isclose(pca(x, n_components=1).explained_variance[0], x[:, 0].astype("f8").var(ddof=1))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_squares_beyond_float32(precision, scale):
    x = spread(80, 5) * np.float32(scale)
    z = pca(x, n_components=3)
    np.testing.assert_allclose(z.explained_variance_ratio, truth(x, 3)[1], rtol=1e-4)
    np.testing.assert_allclose(z.components, truth(x, 3)[2], atol=1e-4)


def test_all_components_give_the_input_back():
    for shape in ((50, 8), (8, 50)):
        x = spread(*shape) + 100
        for whiten in (False, True):
            z = pca(x, n_components=None, whiten=whiten)
            rank = min(shape[0] - 1, shape[1])
            assert z.points.shape[1] == rank
            np.testing.assert_allclose(z.inverse(z.points), x, atol=1e-4)
            np.testing.assert_allclose(z.components @ z.components.T, np.eye(rank), atol=1e-10)


def test_new_rows_in_the_same_axes():
    x = spread(100, 6) + 5
    for whiten in (False, True):
        z = pca(x, n_components=3, whiten=whiten)
        layer = FakeLayer.of(x[:10], name="later", columns={"label": np.arange(10)})
        new = z.transform(layer)
        np.testing.assert_allclose(new.points, z.points[:10], atol=1e-5)
        assert (new.layer, new.method, new.parameters) == ("later", "pca", z.parameters)
        assert new.ids.tolist() == list(range(1000, 1010))
        assert new.columns["label"].tolist() == list(range(10))
        assert new.explained_variance_ratio is z.explained_variance_ratio
    with pytest.raises(ReduceError, match="fitted on 6 features; the new rows have 5. They must come from"):
        z.transform(x[:, :5])
    with pytest.raises(ReduceError, match=r"points has shape \(4, 2\); expected \(samples, 3\)"):
        z.inverse(np.zeros((4, 2)))


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(source, "_CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(source, "_TALL", 1)
    monkeypatch.setattr(source, "_SMALL", 0)

    def peak(rows):
        block = np.random.default_rng(0).standard_normal((4096, 64)).astype("f4")
        layer = FakeLayer(lambda a, b: block[a % 1024 : a % 1024 + b - a], (rows, 64), ids=np.arange(rows))
        tracemalloc.start()
        try:
            points = pca(layer, n_components=2).points
            return tracemalloc.get_traced_memory()[1] - points.nbytes, layer.largest_read
        finally:
            tracemalloc.stop()

    peak(5_000)  # what is imported on the way is not counted
    (few, read_few), (many, read_many) = peak(20_000), peak(320_000)
    assert read_few == read_many == 512  # 82 MB in 640 chunks
    assert many < few + 200_000
    assert many < 4_000_000


def test_wide_layers_are_read_in_blocks(precision):
    x = spread(30, 200)
    layer = FakeLayer.of(x)
    z = pca(layer, n_components=4)
    if precision != "small":
        assert layer.largest_read <= 2
    np.testing.assert_allclose(np.abs(z.points), np.abs(truth(x, 4)[3]), atol=1e-3)


@given(
    st.integers(2, 40),
    st.integers(1, 12),
    st.integers(0, 2**16),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_what_must_be_true_of_any_input(samples, features, seed, scale, shift):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, features))
    k = min(samples - 1, features)
    z = pca(x, n_components=k)
    assert (np.diff(z.explained_variance) <= 1e-12).all()
    assert np.isclose(z.explained_variance.sum(), x.var(axis=0, ddof=1).sum())
    assert np.isclose(z.explained_variance_ratio.sum(), 1)
    np.testing.assert_allclose(z.components @ z.components.T, np.eye(k), atol=1e-9)
    np.testing.assert_allclose(z.points.mean(axis=0), 0, atol=1e-5)
    # A rotation, a shift and a scale of the input change the points by the scale alone (up to signs).
    turn = np.linalg.qr(rng.standard_normal((features, features)))[0]
    moved = pca(scale * x @ turn + shift, n_components=k)
    np.testing.assert_allclose(
        moved.explained_variance, scale**2 * z.explained_variance, rtol=1e-6, atol=1e-9
    )


@given(st.integers(1, 50), st.integers(1, 6), st.lists(st.integers(0, 50), max_size=4), st.integers(0, 99))
def test_sums_of_parts_are_the_sum_of_the_whole(samples, features, cuts, seed):
    x = np.random.default_rng(seed).standard_normal((samples, features))
    borders = sorted({0, samples, *(min(c, samples) for c in cuts)})
    parts = [Part(ArrayReader(x), a, b, 7) for a, b in itertools.pairwise(borders)]
    task = moments.SumMoments(moments.first_mean(x), x.dtype)
    sums = fold(task, parts, moments.join)
    assert (sums.count, len(sums.bad)) == (samples, 0)
    mean, covariance = sums.finish()
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-12)
    expected = np.cov(x, rowvar=False).reshape(features, features) if samples > 1 else 0
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


@pytest.mark.parametrize(("side", "count"), [(600, 5), (600, 200), (600, 600), (20, 3)])
@pytest.mark.parametrize("rank", [3, None])
def test_eigen_solvers_agree(side, count, rank):
    half = np.random.default_rng(0).standard_normal((side, rank or side))
    matrix = half @ half.T
    values, vectors = eigen.largest(matrix, count)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1][:count], atol=1e-8 * values[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-8)


def test_eigen_without_scipy(monkeypatch):
    monkeypatch.setattr(eigen, "has", lambda _name: False)
    matrix = np.diag(np.arange(600.0))
    assert eigen.largest(matrix, 2)[0].tolist() == [599, 598]


def test_eigen_of_nothing():
    values, vectors = eigen.largest(np.zeros((600, 600)), 3)
    assert values.tolist() == [0, 0, 0]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)


def test_the_same_bits_again():
    x = spread(2000, 600)
    a, b = pca(x, n_components=10), pca(x, n_components=10, random_state=7)
    assert np.array_equal(a.points, b.points)
    peaks = np.abs(a.components).argmax(axis=1)
    assert (a.components[np.arange(10), peaks] > 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("n_components", [2, None, 0.9])
@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
def test_a_dead_layer_has_no_components(value, n_components, shape):
    with pytest.raises(
        ReduceError, match=f"the {shape[0]} rows of the array are all equal, so there is nothing"
    ):
        pca(np.full(shape, value), n_components=n_components)


def test_components_beyond_the_rank_are_refused(precision):
    x = spread(60, 3) @ np.random.default_rng(1).integers(-3, 4, (3, 8))
    x[:, 4] = 7
    with pytest.raises(
        ReduceError, match="n_components=5, and the array .60 samples × 8 features. varies in 3 dir.*=3"
    ):
        pca(x, n_components=5)
    assert pca(x, n_components=None).points.shape == (60, 3)
    with pytest.raises(ReduceError, match="varies in 1 direction only"):
        pca(np.array([[1.0, 2], [3, 4]]), n_components=2)


def test_a_recorded_layer(two_steps):
    path, truth_of, _ = two_steps
    run = actlens.open(path)
    z = pca(run["fc"], n_components=2)
    np.testing.assert_allclose(np.abs(z.points), np.abs(truth(truth_of["fc"], 2)[3]), atol=1e-5)
    assert z.layer == "fc"
    assert z.step is None
    assert z.columns["label"].tolist() == list(run.columns["label"])
    late = pca(run.sel(step=1)["conv"].flatten(), n_components=3)
    assert (late.step, late.points.shape) == (1, (100, 3))
    pooled = pca(run["conv"].mean("axis2", "axis3"), n_components=2)
    expected = truth(truth_of["conv"].mean(axis=(2, 3)), 2)[3]
    np.testing.assert_allclose(np.abs(pooled.points), np.abs(expected), atol=1e-5)
    with pytest.raises(ReduceError, match=r"layer 'conv' has shape \(200, 3, 4, 2\) \(sample, "):
        pca(run["conv"])


class TestRefusals:
    def test_many_axes_of_an_array(self):
        with pytest.raises(
            ReduceError,
            match=r"the array has shape \(4, 3, 2, 2\)\. .* x.reshape\(len\(x\), -1\) keeps every",
        ):
            pca(np.zeros((4, 3, 2, 2)))
        with pytest.raises(
            ReduceError, match=r"x.mean\(axis=\(2, 3\)\) \(channels first; axis=\(1, 2\) where"
        ):
            pca(np.zeros((4, 3, 2, 2)))
        with pytest.raises(ReduceError, match=r"x.mean\(axis=1\) averages the positions"):
            pca(np.zeros((4, 3, 2)))
        with pytest.raises(ReduceError, match=r"x.mean\(axis=\(1, 2, 3\)\) averages"):
            pca(np.zeros((4, 3, 2, 2, 2)))

    @pytest.mark.parametrize(
        ("axes", "remedy"),
        [
            (("sample", "channel", "height", "width"), r"layer.mean\('height', 'width'\)"),
            (("sample", "height", "width", "channel"), r"layer.mean\('height', 'width'\)"),
            (("sample", "axis1", "axis2", "axis3"), r"layer.mean\('axis1', 'axis2'\)"),
        ],
    )
    def test_many_axes_of_a_layer(self, axes, remedy):
        layer = FakeLayer.of(np.zeros((4, 3, 2, 2)), name="conv1", axes=axes)
        with pytest.raises(ReduceError, match=rf"layer 'conv1' .*layer.flatten\(\) .*; {remedy} averages"):
            pca(layer)

    def test_few_axes(self):
        with pytest.raises(ReduceError, match=r"has shape \(4,\). One value a sample is x.reshape\(-1, 1\)"):
            pca(np.zeros(4))
        with pytest.raises(ReduceError, match=r"has shape \(\)"):
            pca(3.0)

    def test_nothing(self):
        with pytest.raises(ReduceError, match=r"nothing to reduce: the array has shape \(0, 4\)"):
            pca(np.zeros((0, 4)))
        with pytest.raises(ReduceError, match=r"shape \(4, 0\)"):
            pca(np.zeros((4, 0)))
        with pytest.raises(ReduceError, match="reduce.pca needs at least 2 samples; there are 1"):
            pca(np.zeros((1, 4)))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, bad):
        x = np.ones((50, 3), "f4")
        x[[3, 7], 1] = bad
        layer = FakeLayer.of(x, ids=np.array([f"img{i}" for i in range(50)]))
        with pytest.raises(
            ReduceError, match=r"'fc1' has NaN or inf in 2 rows \(ids: img3, img7\).*leave those"
        ):
            pca(layer)
        with pytest.raises(ReduceError, match=r"in 1 row \(ids: 3\)"):
            pca(x[:7])
        x[:] = bad
        with pytest.raises(ReduceError, match="and 38 more"):
            pca(x)

    @pytest.mark.parametrize("dtype", ["U3", "O", "c8", "M8[s]", [("a", "f4")]])
    def test_no_real_numbers(self, dtype):
        with pytest.raises(ReduceError, match="reduce.pca takes real numbers; the array has dtype"):
            pca(np.zeros((4, 3), dtype=dtype))

    @pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
    @pytest.mark.parametrize("scale", [1e60, 1e100, 1e200, 1e307])
    def test_values_too_large(self, shape, scale):
        x = np.random.default_rng(0).standard_normal(shape)
        layer = FakeLayer.of(x * scale)
        with pytest.raises(
            ReduceError, match=r"values of layer 'fc1' are too large: .*Scale the layer first, e"
        ):
            pca(layer, n_components=3)
        with pytest.raises(ReduceError, match="Embedding.transform: the values of the array are too large"):
            pca(x, n_components=3).transform(x * scale)

    def test_tensors_of_torch(self):
        torch = pytest.importorskip("torch")
        for tensor in (
            torch.ones(4, 3).bfloat16(),
            torch.rand(4, 3, requires_grad=True),
            torch.nn.Parameter(torch.rand(4, 3)),
            torch.rand(4, 3, device="meta"),
        ):
            with pytest.raises(
                ReduceError,
                match=r"reduce.pca takes a layer of a recording or a numpy array; got .*tensor.detach\(\)",
            ):
                pca(tensor)

    def test_what_numpy_cannot_read(self):
        with pytest.raises(ReduceError, match="reduce.pca takes .*numpy cannot read the list as an array: "):
            pca([[1, 2], [3]])

    def test_masked(self):
        with pytest.raises(ReduceError, match="does not read masks"):
            pca(np.ma.zeros((4, 3)))

    @pytest.mark.parametrize("bad", [0, -1, 4, 1.0, 0.0, 1.5, "mle", True, np.nan])
    def test_components(self, bad):
        with pytest.raises(
            ReduceError, match=r"n_components=.*; it takes 1 to 3 \(min\(samples, features\)\), a"
        ):
            pca(np.random.default_rng(0).standard_normal((5, 3)), n_components=bad)

    def test_too_wide(self, monkeypatch):
        module = sys.modules["actlens.reduce.pca"]
        monkeypatch.setattr(module, "_LIMIT_BYTES", 1024)
        with pytest.raises(ReduceError, match=r"needs a 12 × 12 matrix \(1.12 KiB; the limit is 1 KiB\)"):
            pca(np.zeros((30, 12)), svd_solver="covariance_eigh")
        with pytest.raises(ReduceError, match=r"needs a 30 × 30 matrix"):
            pca(np.zeros((30, 12)), svd_solver="gram")

    def test_a_share_of_the_variance_of_a_layer_too_wide(self, monkeypatch):
        monkeypatch.setattr(sys.modules["actlens.reduce.pca"], "_WIDEST", 5)
        with pytest.raises(
            ReduceError, match=r"n_components=0.9 is a share .* 30 samples × 12 features .* a number"
        ):
            pca(np.random.default_rng(0).standard_normal((30, 12)), n_components=0.9)

    def test_solvers(self):
        with pytest.raises(
            ReduceError, match="svd_solver='full'; it takes 'auto' or 'covariance_eigh' or 'gram' or"
        ):
            pca(np.eye(3), svd_solver="full")

    def test_nan(self):
        with pytest.raises(ReduceError, match="nan='ignore'; it takes 'raise' or 'drop'"):
            pca(np.eye(3), nan="ignore")
        with pytest.raises(
            ReduceError, match="all 3 rows of the array have NaN or inf, so nan='drop' leaves none"
        ):
            pca(np.full((3, 2), np.nan), nan="drop")

    def test_a_layer_that_lies_about_its_rows(self):
        layer = FakeLayer.of(np.zeros((9, 3)))
        layer._shape = (12, 3)
        layer._ids = np.arange(12)
        with pytest.raises(ReduceError, match="layer 'fc1' announces 12 rows and gave 9 when read"):
            pca(layer)

    def test_they_are_input_errors(self):
        assert issubclass(ReduceError, InputError)
        assert issubclass(ReduceError, ValueError)
