"""Rows are joined by id and axes by name; what cannot be joined is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import actlens
from actlens import compare
from actlens.activations import Activations
from actlens.compare.axes import feature_axis, in_one_order
from actlens.compare.joining import join
from actlens.errors import CompareError, SelectionError

NCHW = ("sample", "channel", "height", "width")
NHWC = ("sample", "height", "width", "channel")


def record(path, layers, ids, axes=None, **options):
    """Write arrays with named axes into a recording."""
    named = {name: (axes or {}).get(name) for name in layers}
    with actlens.Recorder(path) as rec:
        rec.write(Activations(layers, axes={k: v for k, v in named.items() if v}), id=ids, **options)
    return actlens.open(path)


def rows(joined, layer):
    return np.concatenate(list(layer.reader.blocks(0, joined.rows, 7)))


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(40, 3, 4, 5)).astype(np.float32)


@pytest.fixture
def conv(images, tmp_path):
    """The same layer as torch stores it, and as flax does, with other samples in another order."""
    order = np.random.default_rng(1).permutation(40)[:30]
    torch = record(tmp_path / "torch", {"conv": images}, range(40), {"conv": NCHW})
    flax = record(tmp_path / "flax", {"conv": images.transpose(0, 2, 3, 1)[order]}, order, {"conv": NHWC})
    return torch, flax, np.sort(order)


@pytest.mark.parametrize("positions", ["flatten", "mean", "samples"])
def test_nchw_meets_nhwc_and_rows_meet_by_id(conv, images, positions):
    torch, flax, shared = conv
    joined = join(torch, flax, "compare.matrix", positions=positions)
    moved = images.transpose(0, 2, 3, 1)[shared]
    expected = {
        "flatten": moved.reshape(30, -1),
        "mean": moved.mean(axis=(1, 2)),
        "samples": moved.reshape(-1, 3),
    }[positions]
    for layer in joined.layers:
        assert layer.features == expected.shape[1]
        np.testing.assert_allclose(rows(joined, layer), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(rows(joined, joined.a[0]), rows(joined, joined.b[0]))
    each = 20 if positions == "samples" else 1
    np.testing.assert_array_equal(joined.samples, np.repeat(shared, each))
    assert sorted(joined.only_a) == sorted(set(range(40)) - set(shared.tolist()))
    assert len(joined.only_b) == 0


@pytest.mark.parametrize("positions", ["flatten", "mean", "samples"])
def test_a_part_that_was_sent_reads_the_same_rows(conv, positions):
    joined = join(*conv[:2], "compare.matrix", positions=positions)
    for layer in joined.layers:
        sent = pickle.loads(pickle.dumps(layer.reader.part(11, 29)))  # noqa: S301
        got = np.concatenate(list(sent.blocks(11, 29, 7)))
        np.testing.assert_array_equal(got, rows(joined, layer)[11:29])


@pytest.mark.parametrize("measure", [compare.cka, compare.rsa, compare.procrustes, compare.mutual_knn])
def test_a_shuffled_loader_gives_the_same_result_to_the_bit(tmp_path, measure):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 8)), random.normal(size=(300, 6))
    order = random.permutation(300)
    a = record(tmp_path / "a", {"x": x}, range(300))
    b = record(tmp_path / "b", {"y": y}, range(300))
    shuffled = record(tmp_path / "s", {"y": y[order]}, order)
    expected = compare.matrix(a, b, measure=measure).values
    np.testing.assert_array_equal(compare.matrix(a, shuffled, measure=measure).values, expected)
    both = record(tmp_path / "t", {"x": x[order[::-1]]}, order[::-1])
    np.testing.assert_array_equal(compare.matrix(both, shuffled, measure=measure).values, expected)


def test_texts_are_ids_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3))
    a = record(tmp_path / "a", {"x": x}, list("abcdef"))
    b = record(tmp_path / "b", {"x": x[::-1]}, list("fedcba"))
    assert compare.matrix(a, b).values[0, 0] == pytest.approx(1, abs=1e-12)


@pytest.fixture
def texts(tmp_path):
    """Sequences of different lengths, recorded on one side as such, on the other in full."""
    x = np.random.default_rng(0).normal(size=(10, 4, 3))
    lengths = [4, 1, 2, 3, 4, 4, 2, 1, 3, 4]
    axes = {"h": ("sample", "token", "unit")}
    ragged = record(tmp_path / "ragged", {"h": x}, range(10), axes, lengths=lengths)
    order = np.arange(10)[::-1]
    full = record(tmp_path / "full", {"h": x[order]}, order, axes)
    return ragged, full, x, lengths


def test_tokens_are_joined_by_sample_and_position(texts):
    ragged, full, x, lengths = texts
    joined = join(ragged, full, "compare.matrix", positions="samples")
    expected = np.concatenate([x[i, :length] for i, length in enumerate(lengths)])
    for layer in joined.layers:
        np.testing.assert_array_equal(rows(joined, layer), expected)
    np.testing.assert_array_equal(joined.samples, np.repeat(np.arange(10), lengths))
    np.testing.assert_array_equal(joined.position[:7], [0, 1, 2, 3, 0, 0, 1])


def test_samples_of_other_lengths_are_averaged_over_what_they_have(texts):
    ragged, _, x, lengths = texts
    joined = join(ragged, None, "compare.matrix", positions="mean")
    expected = [x[i, :length].mean(axis=0) for i, length in enumerate(lengths)]
    np.testing.assert_allclose(rows(joined, joined.a[0]), expected, rtol=1e-12)


def test_the_flat_view_of_tokens_needs_no_choice(texts):
    ragged, _, _, lengths = texts
    joined = join({"h": ragged["h"].tokens}, None, "compare.matrix")
    assert joined.rows == sum(lengths)
    assert joined.position is not None


def test_columns_come_in_the_order_of_the_join(tmp_path):
    order = np.array([3, 1, 4, 0, 2])
    run = record(tmp_path / "a", {"x": np.eye(5)[order]}, order, label=order * 10)
    joined = join(run, None, "compare.matrix")
    np.testing.assert_array_equal(joined.column("label"), np.arange(5) * 10)
    assert joined.column("none") is None


REFUSED = [
    (
        lambda c, x: join(c[0], c[1], "compare.matrix"),
        r"layer 'conv' has shape \(40, 3, 4, 5\) \(sample, channel",
    ),
    (
        lambda c, x: join(c[0], None, "compare.matrix", positions="pixels"),
        "positions='pixels'; it takes 'flatten', 'mean'",
    ),
    (lambda c, x: join(x, None, "compare.matrix"), "takes a Recording, or a dict of layers.*got ndarray"),
    (lambda c, x: join({}, None, "compare.matrix"), "a has no layers"),
    (lambda c, x: join({"x": x}, {}, "compare.matrix"), "b has no layers"),
    (
        lambda c, x: join({"x": x}, {"x": x}, "compare.matrix", layers="y"),
        r"layers='y' matches none of a's layers: x",
    ),
    (
        lambda c, x: join({"x": x}, {"x": x[:10]}, "compare.matrix"),
        "a's x: 40, b's x: 10. Nothing is cut off",
    ),
    (
        lambda c, x: join({"x": x}, c[0], "compare.matrix", positions="mean"),
        "'conv' have ids, those of 'x' .an array",
    ),
    (lambda c, x: join({"x": x[:3]}, None, "compare.matrix"), "3 rows in common; measures need at least 4"),
    (
        lambda c, x: join({"x": x[:, 0]}, None, "compare.matrix"),
        r"layer 'x' has shape \(40,\); it needs rows and at least",
    ),
    (lambda c, x: join({"x": x[:, :0]}, None, "compare.matrix"), r"has shape \(40, 0\)"),
    (lambda c, x: join({"x": x.astype(str)}, None, "compare.matrix"), "is of <U.*measures take real numbers"),
    (lambda c, x: join({"x": x.astype(complex)}, None, "compare.matrix"), "is of complex128"),
    (lambda c, x: join({"x": [[1, 2], [3]]}, None, "compare.matrix"), "cannot be read as an array"),
    (lambda c, x: join({"x": np.ma.array(x)}, None, "compare.matrix"), "'x' is a masked array"),
    (lambda c, x: join({"x": object()}, None, "compare.matrix"), "is of object"),
    (lambda c, x: join({1: x, "1": x}, None, "compare.matrix"), "two layers are called '1'"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text[:30] for _, text in REFUSED])
def test_what_cannot_be_joined_is_refused(conv, call, text):
    with pytest.raises(CompareError, match=text):
        call(conv, np.random.default_rng(0).normal(size=(40, 6)))


def test_a_pattern_must_be_one():
    with pytest.raises(SelectionError):
        join({"x": np.eye(5)}, None, "compare.matrix", layers=3)


def test_a_tensor_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(CompareError, match=r"tensor.detach\(\).cpu\(\).numpy\(\)"):
        join({"x": torch.eye(5)}, None, "compare.matrix")


def test_samples_that_stand_twice_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3))
    with actlens.Recorder(tmp_path / "run") as rec:
        for step in (0, 1):
            rec.write({"x": x}, id=range(6), step=step)
    run = actlens.open(tmp_path / "run")
    with pytest.raises(CompareError, match=r"6 ids stand more than once: 0, 1, 2.*run.sel\(step=0\)"):
        compare.matrix(run)
    early, late = run.sel(step=0), run.sel(step=1)
    assert compare.matrix(early, late).values[0, 0] == pytest.approx(1, abs=1e-12)


def test_without_common_ids_nothing_is_compared(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3))
    a = record(tmp_path / "a", {"x": x}, range(6))
    b = record(tmp_path / "b", {"x": x}, range(10, 16))
    text = record(tmp_path / "c", {"x": x}, [str(i) for i in range(6)])
    for other in (b, text):  # the text "1" is not the number 1
        with pytest.raises(CompareError, match=r"a's x and b's x have no id in common \(e.g. 0 and "):
            compare.matrix(a, other)


def test_few_common_ids_say_how_many_were_left_out(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3))
    a = record(tmp_path / "a", {"x": x}, range(6))
    b = record(tmp_path / "b", {"x": x}, range(3, 9))
    with pytest.raises(CompareError, match=r"3 rows in common \(3 ids are only in a, 3 only in b\)"):
        compare.matrix(a, b)


def test_partial_overlap_is_reported_with_counts(tmp_path):
    x = np.random.default_rng(0).normal(size=(9, 3))
    a = record(tmp_path / "a", {"x": x[:6]}, range(6))
    b = record(tmp_path / "b", {"x": x[1:]}, range(1, 9))
    c = compare.matrix(a, b)
    assert (c.rows, c.only_a.tolist(), c.only_b.tolist()) == (5, [0], [6, 7, 8])
    assert "left out: 1 ids only in a, 3 only in b" in str(c)
    assert c.values[0, 0] == pytest.approx(compare.cka(x[1:6], x[1:6]), abs=1e-12)


def test_other_grids_are_refused_and_named(tmp_path):
    random = np.random.default_rng(0)
    layers = {
        "a": random.normal(size=(8, 2, 3, 3)),
        "b": random.normal(size=(8, 2, 4, 4)),
        "c": random.normal(size=(8, 5)),
    }
    run = record(tmp_path / "a", layers, range(8), {"a": NCHW, "b": NCHW})
    with pytest.raises(
        CompareError, match="a's a: {'height': 3, 'width': 3}, a's b: {'height': 4.*a's c: one row a sample"
    ):
        compare.matrix(run, positions="samples")
    assert compare.matrix(run, positions="mean").values.shape == (3, 3)


def test_lengths_cannot_be_flattened(texts):
    with pytest.raises(CompareError, match="differ in length, so that they cannot be flattened"):
        compare.matrix(texts[0], positions="flatten")
    with pytest.raises(CompareError, match=r"layer 'h' has shape \(10, None, 3\)"):
        compare.matrix(texts[0])


def test_axes_have_one_order():
    assert in_one_order(NCHW) == in_one_order(NHWC) == ("height", "width", "channel")
    assert in_one_order(("sample", "head", "query", "key")) == in_one_order(
        ("sample", "key", "head", "query")
    )
    assert in_one_order(("sample", "axis1", "axis2")) == ("axis1", "axis2")
    assert feature_axis(("sample", "token", "unit")) == "unit"


def test_layers_are_chosen_by_pattern_and_stay_in_order():
    x = np.random.default_rng(0).normal(size=(8, 3))
    names = ["block.1", "block.0", "head"]
    joined = join(dict.fromkeys(names, x), None, "compare.matrix", layers=["block.*"])
    assert [layer.name for layer in joined.a] == ["block.1", "block.0"]
    joined = join(dict.fromkeys(names, x), None, "compare.matrix", layers=["head", "block.1"])
    assert [layer.name for layer in joined.a] == ["block.1", "head"]
    joined = join(dict.fromkeys(names, x), None, "compare.matrix", layers=lambda name: name == "head")
    assert [layer.name for layer in joined.a] == ["head"]
