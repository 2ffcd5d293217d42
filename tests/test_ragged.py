"""Ragged rows: only the positions that count are stored; each comes back with its sample and its place."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import actlens
from actlens import plot, reduce
from actlens.activations import Activations
from actlens.errors import (
    ArgumentError,
    ColumnError,
    CorruptRecording,
    MaskError,
    NotFound,
    PlotError,
    RecordingError,
    ReduceError,
    RowsError,
)
from actlens.recorder import Recorder

RNG = np.random.default_rng(0)
H = RNG.normal(size=(5, 4, 3)).astype("f4")
MASK = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]])


def _written(path, acts, **given):
    with Recorder(path) as rec:
        rec.write(acts, **given)
    return actlens.open(path)


@pytest.fixture
def run(tmp_path):
    return _written(tmp_path / "r", {"h": H}, mask=MASK, id=[10, 11, 12, 13, 14], label=list("abcde"))


def test_rows_are_the_positions_that_count(run):
    h = run["h"]
    assert h.lengths.tolist() == [4, 1, 0, 2, 2]
    for row in range(5):
        assert (h.row(row) == H[row][MASK[row] == 1]).all()
    assert [len(row) for row in h] == [4, 1, 0, 2, 2]
    assert (h.row(-1) == h.row(4)).all()
    assert (len(h), h.shape, h.axes, h.dtype) == (5, (5, None, 3), ("sample", "token", "axis2"), np.float32)
    assert repr(h) == "<RaggedArray h: 5×(0 to 4)×3 float32 (sample, token, axis2)>"
    assert h.ids.tolist() == [10, 11, 12, 13, 14]


def test_the_flat_view_knows_sample_and_position(run):
    tokens = run["h"].tokens
    rows, places = np.nonzero(MASK)
    assert tokens.shape == (9, 3)
    assert tokens.axes == ("sample", "axis2")
    assert (tokens[:] == H[rows, places]).all()
    assert (tokens[[8, 0, 3]] == H[rows, places][[8, 0, 3]]).all()
    assert tokens.columns["sample"].tolist() == (rows + 10).tolist()
    assert tokens.columns["position"].tolist() == places.tolist()
    assert tokens.columns["label"].tolist() == [*"aaaabddee"]
    assert tokens.ids.tolist() == [f"{row + 10}:{place}" for row, place in zip(rows, places, strict=True)]
    assert (np.concatenate([*tokens.chunks(2)]) == H[rows, places]).all()


def test_rows_that_were_selected(run):
    some = run.take([4, 1, 3])["h"]
    assert some.lengths.tolist() == [2, 1, 2]
    assert (some.row(0) == H[4, [0, 2]]).all()
    assert some.tokens.ids.tolist() == ["14:0", "14:2", "11:0", "13:1", "13:2"]
    assert (some.tokens[:] == np.concatenate([H[4, [0, 2]], H[1, [0]], H[3, [1, 2]]])).all()
    assert (some.mean()[:] == np.stack([H[4, [0, 2]].mean(0), H[1, 0], H[3, [1, 2]].mean(0)])).all()
    one = run.sel(label="d")["h"]
    assert (one.padded() == H[3:4, [1, 2]]).all()


def test_padded_and_its_mask(run):
    h = run["h"]
    padded, valid = h.padded(), h.mask()
    assert padded.shape == (5, 4, 3)
    assert np.isnan(padded[~valid]).all()
    assert (padded[valid] == H[MASK == 1]).all()
    assert (h.padded(fill=-1)[~valid] == -1).all()


def test_the_average_of_each_sample(run):
    mean = run["h"].mean()
    assert (mean.shape, mean.axes, mean.dtype) == ((5, 3), ("sample", "axis2"), np.float32)
    wanted = np.stack([H[i][MASK[i] == 1].mean(0) if MASK[i].any() else np.full(3, np.nan) for i in range(5)])
    np.testing.assert_allclose(mean[:], wanted, rtol=1e-6, atol=1e-7)
    assert np.isnan(mean[2]).all()
    assert (run["h"].mean("token")[[3, 0]] == mean[:][[3, 0]]).all()
    assert mean.ids.tolist() == run.ids.tolist()
    with pytest.raises(NotFound, match="layer 'h' has no axis 'unit' to average over. Its axes: token"):
        run["h"].mean("unit")


def test_what_lies_on_the_disk(run):
    """Offsets from 0, positions only where they are not 0, 1, 2 …; read by the safetensors library."""
    (shard,) = (run.path / "shards").rglob("*.safetensors")
    tensors = load_file(shard)
    assert tensors["idx:token"].tolist() == [0, 4, 5, 5, 7, 9]
    assert tensors["pos:token"].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 2]
    assert (tensors["act:h"] == H[MASK == 1]).all()
    listed = json.loads((run.path / "manifest.json").read_text())
    assert listed["requires"] == ["ragged"]
    assert listed["shards"][0]["positions"] == {"token": 9}


def test_padding_at_the_end_needs_no_positions(tmp_path):
    run = _written(tmp_path / "r", {"h": H}, lengths=[4, 0, 1, 2, 3])
    (shard,) = (run.path / "shards").rglob("*.safetensors")
    assert "pos:token" not in load_file(shard)
    assert run["h"].tokens.columns["position"].tolist() == [0, 1, 2, 3, 0, 0, 1, 0, 1, 2]


def test_layers_beside_ragged_ones_are_stored_whole(tmp_path):
    acts = Activations(
        {"h": H, "pooled": H[:, 0], "conv": np.zeros((5, 4, 2, 2), "f4"), "rnn": H.astype("f8")},
        {"h": ("sample", "token", "unit"), "conv": ("sample", "channel", "height", "width")}
        | {"pooled": ("sample", "unit"), "rnn": ("sample", "time", "unit")},
    )
    run = _written(tmp_path / "r", acts, mask=MASK)
    assert run["pooled"].shape == (5, 3)
    assert run["conv"].shape == (5, 4, 2, 2)
    assert run["rnn"].axes == ("sample", "time", "unit")
    assert (run["rnn"].tokens[:] == H[MASK == 1]).all()


def test_layers_with_masks_of_their_own(tmp_path):
    other = RNG.normal(size=(5, 2, 3))
    lengths = np.array([2, 1, 0, 2, 1])
    run = _written(
        tmp_path / "r", {"e": H, "d": other, "x": H}, mask={"e": MASK, "d": np.arange(2) < lengths[:, None]}
    )
    assert (run["e"].tokens[:] == H[MASK == 1]).all()
    assert run["d"].lengths.tolist() == lengths.tolist()
    assert (run["d"].row(3) == other[3]).all()
    assert (run["x"][:] == H).all()
    run = _written(tmp_path / "s", {"e": H, "d": other}, lengths={"d": lengths})
    assert (run["e"][:] == H).all()
    assert run["d"].tokens.shape == (6, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batches_any_masks_any_shards(tmp_path_factory, data):
    """Whatever the lengths and the sizes of batches and shards: every position in its sample, in order."""
    path = tmp_path_factory.mktemp("ragged") / "r"
    shard_bytes = data.draw(st.sampled_from([1, 60, 400, 1 << 20]))
    rows, values, masks = 0, [], []
    sample = data.draw(st.sampled_from([1.0, 0.5]))
    with Recorder(path, shard_bytes=shard_bytes, durability="rename", sample=sample, dtype="float32") as rec:
        for _ in range(data.draw(st.integers(1, 5))):
            count, size = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 5))
            mask = data.draw(
                st.lists(
                    st.lists(st.booleans(), min_size=size, max_size=size), min_size=count, max_size=count
                )
            )
            mask = np.array(mask, bool).reshape(count, size)
            value = RNG.normal(size=(count, size, 2))
            rec.write({"h": value, "flat": value.sum((1, 2))}, mask={"h": mask}, id=range(rows, rows + count))
            values += [*value]
            masks += [*mask]
            rows += count
        if rec.rows == 0:
            rec.write(
                {"h": np.zeros((50, 0, 2)), "flat": np.zeros(50)},
                mask={"h": np.zeros((50, 0))},
                id=range(rows, rows + 50),
            )
            values += [np.zeros((0, 2))] * 50
            masks += [np.zeros(0, bool)] * 50
    for verify in ("stream", "all"):
        run = actlens.open(path, verify=verify)
        h = run["h"]
        for row, ident in enumerate(run.ids.tolist()):
            assert (h.row(row) == values[ident][masks[ident]].astype("f4")).all()
        places = [place for ident in run.ids.tolist() for place in np.flatnonzero(masks[ident])]
        assert h.tokens.columns["position"].tolist() == places
        wanted = [values[ident][masks[ident]] for ident in run.ids.tolist()]
        assert (h.tokens[:] == np.concatenate([np.zeros((0, 2)), *wanted]).astype("f4")).all()


def test_resuming_and_several_ranks(tmp_path):
    for rank in range(2):
        for until in (2, 5):
            with Recorder(tmp_path / "r", rank=rank, ranks=2, resume=True) as rec:
                ids = np.arange(rank, 10, 2)
                for at in range(until):
                    rec.write({"h": H[at : at + 1]}, mask=MASK[at : at + 1], id=ids[at : at + 1])
    run = actlens.open(tmp_path / "r")
    assert run.ids.tolist() == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert (run["h"].tokens[:] == np.concatenate([H[MASK == 1]] * 2)).all()
    assert run["h"].tokens.columns["position"].tolist() == np.nonzero(MASK)[1].tolist() * 2
    with pytest.raises(
        RowsError, match="layer 'h' was recorded with mask= or lengths= so far, and this batch"
    ):
        with Recorder(tmp_path / "r", rank=0, ranks=2, resume=True) as rec:
            rec.write({"h": H}, id=range(20, 25))


def test_reduce_and_plot_take_the_flat_view(run, tmp_path):
    tokens = run["h"].tokens
    z = reduce.pca(tokens, n_components=2)
    centred = H[MASK == 1] - H[MASK == 1].mean(0)
    _, _, axes = np.linalg.svd(centred.astype("f8"), full_matrices=False)
    np.testing.assert_allclose(np.abs(z.points), np.abs(centred @ axes[:2].T), atol=1e-5)
    assert z.ids.tolist() == tokens.ids.tolist()
    assert z.columns["sample"].tolist() == tokens.columns["sample"].tolist()
    plot.scatter(z, color="position")
    plot.heatmap(tokens, color="sample")
    with pytest.raises(ReduceError, match="different number of positions.*layer.tokens"):
        reduce.pca(run["h"])
    with pytest.raises(PlotError, match="different number of positions.*layer.tokens"):
        plot.heatmap(run["h"])
    whole = _written(tmp_path / "w", {"h": H}, lengths=[4, 1, 3, 2, 2])
    assert reduce.pca(whole["h"].mean(), n_components=2).points.shape == (5, 2)


def test_no_one_array(run):
    for use in (lambda h: h[0], np.asarray, lambda h: h[:]):
        with pytest.raises(ArgumentError, match="different number of positions .axis 'token'.*layer.tokens"):
            use(run["h"])
    for row in (5, -6, 1.0, "a", True, slice(0, 2)):
        with pytest.raises(NotFound, match="layer 'h' has no row .* It has 5 rows, 0 to 4"):
            run["h"].row(row)


def test_integers_have_no_nan_to_pad_with(tmp_path):
    run = _written(tmp_path / "r", {"h": np.ones((2, 2, 1), "i4")}, lengths=[1, 2])
    with pytest.raises(ArgumentError, match="of dtype int32, which has no NaN to pad with.*fill=0"):
        run["h"].padded()
    for fill in (1 << 40, "a", [1, 2]):
        with pytest.raises(
            ArgumentError, match="fill= is .*, which int32, the dtype of layer 'h', does not hold"
        ):
            run["h"].padded(fill=fill)
    assert run["h"].padded(fill=0).tolist() == [[[1], [0]], [[1], [1]]]
    assert run["h"].mean()[:].tolist() == [[1.0], [1.0]]


FOUR = np.ones((5, 4))


@pytest.mark.parametrize(
    ("acts", "given", "text"),
    [
        ({"h": H}, {"mask": MASK, "lengths": [1] * 5}, "mask= and lengths= were both given"),
        (
            {"h": H},
            {"mask": MASK[:3]},
            r"mask= holds an array of shape \(3, 4\); it takes an array \(5, positions\)",
        ),
        ({"h": H}, {"mask": MASK[0]}, r"mask= holds an array of shape \(4,\)"),
        ({"h": H}, {"mask": MASK * 2}, "mask= holds values that are neither true and false nor 0 and 1"),
        ({"h": H}, {"mask": np.where(MASK, 0.0, -np.inf)}, "neither true and false nor 0 and 1"),
        ({"h": H}, {"mask": [[1], [1, 0]]}, "mask= holds rows of different lengths"),
        (
            {"h": H},
            {"lengths": [5, 1, 1, 1, 1]},
            "lengths= holds numbers that are not whole or not from 0 to 4",
        ),
        ({"h": H}, {"lengths": [-1, 1, 1, 1, 1]}, "not from 0 to 4"),
        ({"h": H}, {"lengths": [0.5] * 5}, "not whole"),
        (
            {"h": H},
            {"lengths": [[1] * 5]},
            r"lengths= holds an array of shape \(1, 5\); it takes one whole number",
        ),
        ({"h": H}, {"mask": np.ones((5, 3))}, "layer 'h' has shape .5, 4, 3., and nothing tells whether"),
        (
            {"h": FOUR},
            {"mask": MASK},
            "layer 'h' has shape .5, 4., and nothing tells whether its second axis is the 4",
        ),
        (
            {"h": H, "c": np.ones((5, 7, 2))},
            {"mask": MASK},
            "layer 'c' has shape .5, 7, 2., and nothing tells",
        ),
        (
            {"h": H, "c": np.ones((5, 7, 2))},
            {"lengths": [1] * 5},
            "layer 'c' has shape .5, 7, 2., and nothing tells",
        ),
        ({"h": np.ones((5, 3))}, {"mask": MASK}, "mask= fits no layer of the batch. Its layers: h"),
        ({"h": np.ones(5)}, {"lengths": [1] * 5}, "lengths= fits no layer of the batch"),
        ({"h": H}, {"mask": {"x": MASK}}, "mask= names x, which is not in the batch. Its layers: h"),
        ({"h": H}, {"mask": {}}, "mask= fits no layer"),
        ({"h": H}, {"mask": {"h": np.ones((5, 3))}}, "layer 'h' has 4 positions, and mask= is for 3"),
        ({"h": np.ones(5)}, {"mask": {"h": MASK}}, "layer 'h' of shape .5,. has no axis of positions"),
        ({"h": H}, {"mask": MASK, "position": 3}, "position cannot be a column beside ragged rows"),
        (
            Activations({"h": H}, {"h": ("sample", "token", "unit")}),
            {"mask": np.ones((5, 6))},
            "layer 'h' has 4 positions, and mask= is for 6",
        ),
    ],
)
def test_masks_that_cannot_be_used_change_nothing(tmp_path, acts, given, text):
    with Recorder(tmp_path / "r") as rec:
        with pytest.raises(RowsError, match=text):
            rec.write(acts, **given)
        rec.write({"h": H}, mask=MASK)
    assert (actlens.open(tmp_path / "r")["h"].tokens[:] == H[MASK == 1]).all()


def test_masks_may_not_come_and_go(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write({"h": H})
        with pytest.raises(
            RowsError, match="mask= is one array for all layers, and the rows recorded so far had none"
        ):
            rec.write({"h": H}, mask=MASK)
        with pytest.raises(
            RecordingError, match="layer 'h' was stored whole .* and is stored with a mask of its own"
        ):
            rec.write({"h": H}, mask={"h": MASK})
    with Recorder(tmp_path / "s") as rec:
        rec.write({"h": H}, mask=MASK)
        with pytest.raises(RowsError, match="this batch has neither"):
            rec.write({"h": H})
        with pytest.raises(
            RecordingError, match="was stored with a mask that layers share .* is stored with a mask of its"
        ):
            rec.write({"h": H}, mask={"h": MASK})
        with pytest.raises(
            RecordingError, match="a row of layer 'h' was F32 of shape .3,. .* and is F32 of shape .2,."
        ):
            rec.write({"h": H[..., :2]}, mask=MASK)
        rec.write({"h": np.repeat(H, 3, axis=1)}, mask=np.ones((5, 12)))  # another longest length
    assert actlens.open(tmp_path / "s")["h"].lengths.tolist() == [4, 1, 0, 2, 2, *[12] * 5]


def test_a_budget_counts_what_is_stored(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write({"h": np.zeros((10, 100, 8), "f4")}, lengths=[1] * 10)
        assert rec.row_bytes == 8 * 4 + 8 + 8  # one position, the id, the offset


def test_offsets_that_do_not_fit_are_damage(tmp_path, monkeypatch):
    """A writer that stores falling offsets, digests and all: noticed when they are read."""
    from actlens.writing import buffer

    real = buffer._offsets

    def falling(index, lengths, places):
        tensors = real(index, lengths, places)
        tensors["idx:token"][0][1:3] = [5, 4]
        return tensors

    monkeypatch.setattr(buffer, "_offsets", falling)
    run = _written(tmp_path / "r", {"h": H}, mask=MASK)
    with pytest.raises(CorruptRecording, match="the offsets of 'token' do not fit its data"):
        run["h"].row(0)


def test_record_takes_the_mask_from_the_batch(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2))
    x, mask = torch.tensor(H), torch.tensor(MASK)
    batches = [{"x": x[:3], "attention_mask": mask[:3]}, {"x": x[3:], "attention_mask": mask[3:]}]
    run = actlens.record(layer, batches, tmp_path / "d", layers="0", inputs="x", mask="attention_mask")
    with torch.no_grad():
        wanted = layer(x).numpy()[MASK == 1]
    assert (run["0"].tokens[:] == wanted).all()
    assert [*run.columns] == ["id"]
    pairs = [(x[:3], mask[:3], [0, 1, 2]), (x[3:], mask[3:], [3, 4])]
    again = actlens.record(
        layer, pairs, tmp_path / "t", layers="0", columns=["m", "id"], mask="m", budget="1MB"
    )
    assert (again["0"].tokens[:] == wanted).all()
    with pytest.raises(ColumnError, match="mask= is 'w', and columns= names m, id. Where batches are tuples"):
        actlens.record(layer, pairs, tmp_path / "e", layers="0", columns=["m", "id"], mask="w")
    with pytest.raises(ColumnError, match="the batch has no w. Its keys: x, attention_mask"):
        actlens.record(layer, batches, tmp_path / "e", layers="0", inputs="x", mask="w")


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16])
def test_a_mask_of_narrow_floats(tmp_path, dtype):
    mask = np.array([[1, 1, 0], [1, 0, 0]]).astype(dtype)
    with Recorder(tmp_path / "r") as rec:
        rec.write({"h": np.ones((2, 3, 4))}, mask=mask)
    assert actlens.open(tmp_path / "r")["h"].lengths.tolist() == [2, 1]


def test_as_many_heads_as_positions_are_unclear(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        with pytest.raises(MaskError, match="nothing tells whether its second axis"):
            rec.write({"attention": np.ones((2, 3, 3, 3))}, mask=np.ones((2, 3)))
        rec.write({"attention": np.ones((2, 3, 3, 3))}, mask={"attention": np.ones((2, 3))})


def test_a_column_may_have_any_name(tmp_path):
    """Lengths and positions are kept beside the columns, not among them."""
    given = {"lengths token": [7] * 5, "places token": [8] * 5}
    run = _written(tmp_path / "r", {"h": H}, mask=MASK, **given)
    assert run.columns["lengths token"].tolist() == [7] * 5
    assert run["h"].lengths.tolist() == [4, 1, 0, 2, 2]
    assert run["h"].tokens.columns["places token"].tolist() == [8] * 9
    assert run["h"].tokens.columns["position"].tolist() == np.nonzero(MASK)[1].tolist()
