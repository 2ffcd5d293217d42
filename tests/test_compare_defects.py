"""Mistakes that other programs for the same measures have made (see the names), each shown not to be ours."""

from __future__ import annotations

import compare_oracles as oracle
import numpy as np
import pytest

import actlens
from actlens import compare
from actlens.errors import CompareError

biased = compare.cka.with_options(debiased=False)


def recorded(path, layers, ids, order=None, batch=None):
    """Record rows in an order, in batches."""
    order = np.arange(len(ids)) if order is None else order
    batch = batch or len(order)
    with actlens.Recorder(path, durability="rename") as rec:
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            rec.write({name: x[rows] for name, x in layers.items()}, id=np.asarray(ids)[rows])
    return actlens.open(path)


@pytest.fixture
def layers(rng):
    x = rng.standard_normal((300, 12)) + 3
    return {"first": x, "second": np.maximum(x @ rng.standard_normal((12, 8)), 0)}


# B1: a shuffled loader pairs other samples


@pytest.mark.parametrize(
    "measure", [compare.cka, compare.cca, compare.mutual_knn, compare.ridge, compare.rsa]
)
def test_a_shuffled_loader_gives_the_same_to_the_bit(measure, layers, rng, tmp_path):
    ids = [f"image {number}" for number in range(300)]
    plain = recorded(tmp_path / "plain", layers, ids)
    shuffled = recorded(tmp_path / "shuffled", layers, ids, rng.permutation(300), batch=64)
    first = compare.matrix(plain, plain, measure=measure)
    again = compare.matrix(plain, shuffled, measure=measure)
    turned = compare.matrix(shuffled, shuffled, measure=measure)
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.values, turned.values)
    if measure is compare.cka:
        np.testing.assert_allclose(np.diag(again.values), 1, atol=1e-12)
        rows = rng.permutation(300)
        assert (
            abs(compare.cka(layers["first"], layers["first"][rows])) < 0.1
        )  # what the loader alone would give


def test_only_common_samples_are_compared_and_the_others_are_named(layers, tmp_path):
    ids = np.arange(300)
    a = recorded(tmp_path / "a", layers, ids, np.arange(0, 200))
    b = recorded(tmp_path / "b", layers, ids, np.arange(299, 49, -1))
    found = compare.matrix(a, b)
    assert (found.rows, found.only_a.tolist(), found.only_b.tolist()) == (
        150,
        list(range(50)),
        list(range(200, 300)),
    )
    assert found.values[0, 1] == pytest.approx(
        oracle.cka(layers["first"][50:200], layers["second"][50:200]), abs=1e-9
    )


def test_rows_that_nothing_can_pair_are_refused(layers, tmp_path):
    x = layers["first"]
    with pytest.raises(CompareError, match="different numbers of rows"):
        compare.cka(x, x[:-1])
    with pytest.raises(CompareError, match="have none, so nobody can say which belong together"):
        compare.matrix(recorded(tmp_path / "a", layers, np.arange(300)), {"x": x})
    with actlens.Recorder(tmp_path / "b", durability="rename") as rec:
        for step in (0, 1):
            rec.write(layers, id=np.arange(300), step=step)
    with pytest.raises(CompareError, match="300 ids stand more than once"):
        compare.matrix(actlens.open(tmp_path / "b"))


# B2: labels in the order of registration, rows in the order of the forward; outputs changed in place


def test_labels_are_of_the_layers_they_stand_at(tmp_path):
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.third = torch.nn.Linear(6, 4)
            self.first = torch.nn.Linear(8, 8)
            self.second = torch.nn.Linear(8, 6)

        def forward(self, x):
            return self.third(torch.tanh(self.second(torch.relu(self.first(x)))))

    torch.manual_seed(0)
    model, inputs = Model(), torch.randn(120, 8)
    run = actlens.record(model, inputs.split(50), tmp_path / "run", layers="*", progress=False)
    found = compare.matrix(run)
    assert found.layers_a == found.layers_b == ("first", "second", "third")
    with torch.no_grad():
        first = model.first(inputs)
        second = model.second(torch.relu(first))
        outputs = {"first": first, "second": second, "third": model.third(torch.tanh(second))}
    for i, a in enumerate(found.layers_a):
        for j, b in enumerate(found.layers_b):
            assert found.values[i, j] == pytest.approx(
                oracle.cka(outputs[a].numpy(), outputs[b].numpy()), abs=1e-6
            )


def test_a_layer_that_the_next_changes_in_place_is_what_it_was(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(inplace=True))
    inputs = torch.randn(120, 8)
    run = actlens.record(model, [inputs], tmp_path / "run", layers="*", progress=False)
    with torch.no_grad():
        before = model[0](inputs).clone()
        truth = oracle.cka(before.numpy(), torch.relu(before).numpy())
    assert compare.matrix(run).values[0, 1] == pytest.approx(truth, abs=1e-6)
    assert truth < 0.99


# B2c: a last batch of one, two or three rows; B3: the last batch alone


@pytest.mark.parametrize("rows", [1025, 1026, 1027])
@pytest.mark.parametrize("batch", [128, 1024, 1])
def test_the_size_of_a_batch_plays_no_part(rows, batch, tmp_path):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, 5))
    y = x[:, :3] + rng.standard_normal((rows, 3))
    truth = oracle.cka(x, y)
    sums = compare.Moments()
    for at in range(0, rows, batch):
        sums.update({"x": x[at : at + batch]}, {"y": y[at : at + batch]})
    assert sums.matrix().values[0, 0] == pytest.approx(truth, abs=1e-12)
    assert oracle.cka(x[-128:], y[-128:]) != pytest.approx(truth, abs=1e-4)
    if batch > 1:
        run = recorded(tmp_path / "run", {"x": x, "y": y}, np.arange(rows), batch=batch)
        assert compare.matrix(run).values[0, 1] == pytest.approx(truth, abs=1e-9)


# B4: SVCCA that keeps one component where the variance is above 1


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_svcca_keeps_what_reaches_the_share(scale, rng):
    x = rng.standard_normal((400, 30)) * np.linspace(2, 0.2, 30)
    y = x @ rng.standard_normal((30, 30)) + 0.5 * rng.standard_normal((400, 30))
    assert 15 < oracle.kept(x) < 30
    found = compare.svcca(scale * x, y)
    assert found == pytest.approx(oracle.svcca(x, y), abs=1e-10)
    first = oracle.cca(*(v @ np.linalg.svd(oracle.centred(v))[2][:1].T for v in (x, y)))
    assert abs(found - first) > 0.05  # what one component alone gives


def test_svcca_says_of_what_it_keeps_a_share(rng):
    x = rng.standard_normal((400, 30)) * np.geomspace(2, 0.02, 30)
    y = x @ rng.standard_normal((30, 30)) + 0.5 * rng.standard_normal((400, 30))
    by_values = compare.svcca.with_options(of="singular values")
    assert oracle.kept(x) < oracle.kept(x, of="singular values")
    assert by_values(x, y) == pytest.approx(oracle.svcca(x, y, of="singular values"), abs=1e-10)
    for share in (0.5, 0.9, 1.0):
        found = compare.svcca.with_options(variance=share)(x, y)
        assert found == pytest.approx(oracle.svcca(x, y, variance=share), abs=1e-10)
    assert compare.svcca.with_options(variance=1.0)(x, y) == pytest.approx(compare.cca(x, y), abs=1e-10)


# B5: PWCCA that fails where a has more units, or weighs with a's rows as they are


@pytest.mark.parametrize("units", [(20, 7), (7, 20), (9, 9)])
def test_pwcca_with_more_units_on_either_side(units, rng):
    x = rng.standard_normal((200, units[0])) * np.geomspace(5, 0.1, units[0]) + 10
    y = x[:, :5] @ rng.standard_normal((5, units[1])) + rng.standard_normal((200, units[1])) - 3
    assert compare.pwcca(x, y) == pytest.approx(oracle.pwcca(x, y), abs=1e-12)
    assert compare.pwcca(y, x) == pytest.approx(oracle.pwcca(y, x), abs=1e-12)
    assert compare.pwcca(x, y) != pytest.approx(compare.pwcca(y, x), abs=1e-4)


# B6: layers of one name, channels taken for samples; a diagonal by another rule


def test_equal_names_play_no_part(layers):
    x, y = layers.values()
    named = compare.matrix({"fc": x}, {"fc": y})
    assert named.values[0, 0] == compare.matrix({"a": x}, {"b": y}).values[0, 0]


def test_the_diagonal_is_computed_by_the_same_rule(layers):
    for measure in (compare.cka, compare.procrustes, compare.linear_r2, compare.rsa, compare.mutual_knn):
        itself = compare.matrix(layers, measure=measure)
        both = compare.matrix(layers, dict(layers), measure=measure)
        np.testing.assert_allclose(itself.values, both.values, atol=1e-12)
        assert (itself.same, both.same) == (True, False)


def test_channels_are_not_samples(rng):
    x = rng.standard_normal((40, 3, 4, 5))
    permuted = x[:, [2, 0, 1]]
    for positions in ("mean", "flatten", "samples"):
        rows = {"mean": (40, 3), "flatten": (40, 60), "samples": (800, 3)}[positions]
        given = [v.transpose(0, 2, 3, 1) for v in (x, permuted)]
        found = compare.matrix({"a": given[0]}, {"a": given[1]}, positions=positions)
        assert found.values[0, 0] == pytest.approx(1, abs=1e-9)
        assert found.rows == rows[0]
    with pytest.raises(CompareError, match="positions='flatten' makes every value a feature"):
        compare.matrix({"a": x})


# B7: an angle near 0, of float32


def test_a_layer_is_no_distance_from_itself(layers):
    for x in layers.values():
        for dtype in ("f4", "f8"):
            own = x.astype(dtype)
            assert abs(compare.procrustes(own, own)) < 1e-12
            assert compare.cka(own, own) == pytest.approx(1, abs=1e-12)
            assert compare.rsa(own, own) == pytest.approx(1, abs=1e-12)


# B8: "unbiased" that leaves out the diagonal after centring


def test_debiased_is_the_estimate_of_song(rng):
    x, y = rng.standard_normal((2, 50, 500))
    gram = [oracle.centre(oracle.linear_gram(v)) for v in (x, y)]
    masked = [k - np.diag(np.diag(k)) for k in gram]
    lange = (masked[0] * masked[1]).sum() / np.prod([np.linalg.norm(k) for k in masked])
    assert lange > 0.1
    assert compare.cka(x, y) == pytest.approx(oracle.hsic_cka(x, y), abs=1e-10)
    assert abs(compare.cka(x, y)) < 4 * np.sqrt(2 / (50 * 47))
    assert biased(x, y) > 0.85


# B9: positions that a stride leaves out


def test_no_position_is_left_out(rng):
    """5,184 positions: where others take each second, or the same pixels of each image."""
    x = rng.standard_normal((36, 12, 12, 3))
    y = np.tanh(x) + 0.5 * rng.standard_normal(x.shape)
    found = compare.matrix({"x": x}, {"y": y}, positions="samples")
    assert (found.rows, found.samples) == (5184, 36)
    rows = [v.reshape(-1, 3) for v in (x, y)]
    inner = [v - v.mean(axis=0) for v in rows]
    norms = [np.linalg.norm(v.T @ v) for v in inner]
    truth = np.linalg.norm(inner[0].T @ inner[1]) ** 2 / np.prod(norms)
    every = compare.matrix({"x": x}, {"y": y}, positions="samples", measure=biased)
    assert every.values[0, 0] == pytest.approx(truth, abs=1e-10)


# B10: a neighbour left out for the row itself


def test_equal_rows_are_neighbours_of_each_other(rng):
    x = np.repeat(rng.standard_normal((30, 4)), 2, axis=0)
    y = np.repeat(rng.standard_normal((30, 6)), 2, axis=0)
    nearest = compare.mutual_knn.with_options(k=1)
    assert nearest(x, y) == 1  # the nearest of each is its copy, in both
    low, high = oracle.mutual_knn_bounds(x, y, k=3)
    assert low <= compare.mutual_knn.with_options(k=3)(x, y) <= high
    many = np.repeat(rng.standard_normal((3, 4)), 20, axis=0)
    assert compare.mutual_knn.with_options(k=19)(many, many[:, :2]) == 1
