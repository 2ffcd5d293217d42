"""Frames in one picture: Procrustes, what a warm start invents, joins by id, files, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from fake_layer import FakeLayer

import actlens
from actlens import reduce
from actlens.errors import AlignmentError, ArgumentError, MissingDependency, ReduceError
from actlens.reduce import optional
from actlens.reduce.aligning.aligned import jittered
from actlens.reduce.aligning.aligned_tsne import _beginning
from actlens.reduce.aligning.aligned_umap import _shared_last
from actlens.reduce.aligning.alignment import Alignment
from actlens.reduce.aligning.picked import Picked
from actlens.reduce.aligning.procrustes import motion, similarity

pytest.importorskip("sklearn.manifold")
SAMPLES = 90


def clusters(samples=SAMPLES, features=12):
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((5, features)) * 4
    return centres[np.arange(samples) % 5] + rng.standard_normal((samples, features))


def still(frames=3, **about):
    """A layer in which nothing changes but 2 % of jitter."""
    rng = np.random.default_rng(4)
    base = clusters()
    x = np.concatenate(
        [base + 0.02 * base.std(axis=0) * rng.standard_normal(base.shape) for _ in range(frames)]
    )
    steps = np.repeat(np.arange(frames) * 10, SAMPLES)
    return FakeLayer.of(x, columns={"step": steps, **about}, ids=np.tile(np.arange(SAMPLES), frames))


def picked(layer, rows):
    columns = {name: values[rows] for name, values in layer.columns.items()}
    return FakeLayer.of(layer[rows], columns=columns, ids=layer.ids[rows], name=layer.name)


def tsne(layer, **options):
    return reduce.tsne(
        layer, **{"by": "step", "perplexity": 10, "random_state": 0, "n_jobs": 1, "max_iter": 300} | options
    )


class TestProcrustes:
    def test_it_undoes_a_similarity(self):
        rng = np.random.default_rng(0)
        for k in (1, 2, 3):
            fixed = rng.standard_normal((40, k))
            turn = np.linalg.qr(rng.standard_normal((k, k)))[0]  # it may mirror
            moving = 3.5 * fixed @ turn + rng.standard_normal(k)
            np.testing.assert_allclose(similarity(moving, fixed)(moving), fixed, atol=1e-6)

    def test_against_scipy(self):
        linalg, spatial = pytest.importorskip("scipy.linalg"), pytest.importorskip("scipy.spatial")
        rng = np.random.default_rng(1)
        fixed = rng.standard_normal((50, 2)) @ np.diag([3.0, 1.0])
        moving = fixed @ np.array([[0.0, 2.0], [2.0, 0.0]]) + rng.standard_normal((50, 2)) + 7
        found = similarity(moving, fixed)
        a, b = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
        np.testing.assert_allclose(found.rotation, linalg.orthogonal_procrustes(a, b)[0], atol=1e-12)
        # scipy's scale is that of least squares, ours keeps the size: one factor is between them.
        _, turned, disparity = spatial.procrustes(fixed, moving)
        ours = (found(moving) - fixed.mean(axis=0)) / np.linalg.norm(b)
        np.testing.assert_allclose(ours * np.sqrt(1 - disparity), turned, atol=1e-6)

    def test_frames_that_do_not_agree_keep_their_size(self):
        rng = np.random.default_rng(2)
        moving, fixed = rng.standard_normal((2, 60, 2))
        moved = similarity(moving, fixed)(moving)
        np.testing.assert_allclose(
            np.linalg.norm(moved - moved.mean(axis=0)), np.linalg.norm(fixed - fixed.mean(axis=0)), rtol=1e-5
        )

    def test_points_in_one_place(self):
        fixed = np.random.default_rng(0).standard_normal((5, 2))
        np.testing.assert_allclose(
            similarity(np.ones((5, 2)), fixed)(np.ones((5, 2))), [fixed.mean(axis=0)] * 5
        )
        assert motion(np.ones((5, 2)), np.ones((5, 2))) == 0.0

    def test_motion(self):
        square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
        assert motion(square, square + np.array([0.3, 0.4])) == pytest.approx(0.5 / np.sqrt(2))


class TestTsne:
    @pytest.mark.parametrize("engine", ["scikit-learn", "openTSNE"])
    def test_a_warm_start_invents_little(self, engine, caplog):
        if engine == "openTSNE":
            pytest.importorskip("openTSNE")
        layer = still()
        warm = tsne(layer, align=True, engine=engine, max_iter=None).alignment
        apart = tsne(layer, align=False, engine=engine, max_iter=None, init="random").alignment
        turned = tsne(layer, align="procrustes", engine=engine, max_iter=None, init="random").alignment
        assert (warm.by, warm.frames, warm.method) == ("step", (0, 10, 20), "warm")
        assert (apart.method, turned.method) == ("none", "procrustes")
        assert 5 * max(warm.residual_motion) < min(turned.residual_motion) <= max(apart.residual_motion)
        assert 0 < warm.noise_floor < 0.5 * turned.noise_floor
        assert not caplog.records  # openTSNE warns of a start of full size, which is meant here

    def test_the_motion_is_that_of_the_points(self):
        layer = still()
        z = tsne(layer, align=True)
        frames = [z.points[z.columns["step"] == step].astype("f8") for step in (0, 10, 20)]
        for number in range(2):
            a, b = frames[number : number + 2]
            size = np.sqrt((a.var(axis=0).sum() + b.var(axis=0).sum()) / 2)
            moved = np.median(np.linalg.norm(a - b, axis=1)) / size
            assert z.alignment.residual_motion[number] == pytest.approx(moved)

    def test_what_is_recorded(self):
        z = tsne(still(label=np.tile(np.arange(SAMPLES) % 5, 3)), align=True)
        assert (z.layer, z.method, len(z)) == ("fc1", "tsne", 3 * SAMPLES)
        assert list(z.columns) == ["step", "label"]
        np.testing.assert_array_equal(z.ids, np.tile(np.arange(SAMPLES), 3))
        said = {
            "by": "step",
            "align": "warm",
            "max_iter": 300,
            "pca_components": None,
            "early_exaggeration": 12.0,
        }
        assert z.parameters.items() >= said.items()
        assert repr(z.alignment).startswith("Alignment(step 0 … 20 · 3 frames · warm · motion ")

    @pytest.mark.parametrize("align", [True, "joint"])
    def test_the_order_of_rows_changes_nothing(self, align):
        layer = still()
        order = np.random.default_rng(5).permutation(len(layer))
        z, other = (
            tsne(layer, align=align),
            tsne(picked(layer, order), align=align),
        )
        np.testing.assert_array_equal(z.points[order], other.points)
        np.testing.assert_array_equal(layer.ids[order], other.ids)
        assert z.alignment == other.alignment

    def test_a_joint_fit_is_one_fit_of_all_rows(self):
        layer = still()
        z = tsne(layer, align="joint")
        alone = reduce.tsne(layer[:], perplexity=10, random_state=0, n_jobs=1, max_iter=300)
        np.testing.assert_array_equal(z.points, alone.points)

    def test_apart_is_each_by_itself(self):
        layer = still()
        z = tsne(layer, align=False)
        alone = reduce.tsne(layer[:SAMPLES], perplexity=10, random_state=0, n_jobs=1, max_iter=300)
        np.testing.assert_array_equal(z.points[:SAMPLES], alone.points)

    def test_reference_places_the_others_on_the_map_of_the_last(self):
        pytest.importorskip("openTSNE")
        layer = still()
        z = tsne(layer, align="reference")
        alone = reduce.tsne(layer[2 * SAMPLES :], perplexity=10, random_state=0, n_jobs=1, max_iter=300)
        np.testing.assert_array_equal(z.points[2 * SAMPLES :], alone.points)
        near = np.linalg.norm(z.points[:SAMPLES, None] - alone.points[None], axis=-1).argmin(axis=1)
        assert (near % 5 == np.arange(SAMPLES) % 5).mean() > 0.95  # in its own cluster

    def test_reference_needs_opentsne(self, monkeypatch):
        monkeypatch.setattr(optional, "_absent", lambda module: True)
        monkeypatch.setitem(sys.modules, "openTSNE", None)
        with pytest.raises(MissingDependency, match=r"reduce.tsne\(align='reference'\) needs openTSNE"):
            tsne(still(), align="reference")

    def test_samples_that_come_and_go(self):
        layer = still()
        keep = np.ones(len(layer), bool)
        keep[:20] = False  # the first twenty are not in step 0
        keep[-20:] = False  # and the last twenty not in step 20
        part = picked(layer, np.flatnonzero(keep))
        z = tsne(part, align=True)
        assert np.isfinite(z.points).all()
        # a new sample lies in its cluster as the old ones do
        first = z.columns["step"] == 10
        points, cluster = z.points[first], z.ids[first] % 5
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(
            np.full(len(points), np.inf)
        )
        assert (cluster[distances.argmin(axis=1)] == cluster).mean() > 0.95
        assert max(z.alignment.residual_motion) < 0.2

    def test_where_new_samples_begin(self):
        x = np.random.default_rng(6).standard_normal((30, 4))
        known = np.sort(np.random.default_rng(7).choice(30, 20, replace=False))
        places = np.random.default_rng(8).standard_normal((20, 2)).astype("f4")
        start = _beginning(x, known, places)
        np.testing.assert_array_equal(start[known], places)
        for row in np.setdiff1d(np.arange(30), known):
            near = np.argsort(np.linalg.norm(x[known] - x[row], axis=1))[:5]
            np.testing.assert_allclose(start[row], places[near].mean(axis=0), rtol=1e-5)

    def test_layers_of_other_widths(self):
        x = clusters(features=70)
        ids = np.arange(SAMPLES)[::-1].copy()
        first = FakeLayer.of(x, ids=ids, columns={"label": ids % 5, "only": ids})
        second = FakeLayer.of(x[:, :8], ids=ids, columns={"label": ids % 5}, name="fc2")
        z = tsne({"fc1": first, "fc2": second}, by="layer", align=True)
        assert (z.layer, z.alignment.frames, z.alignment.method) == ("", ("fc1", "fc2"), "warm")
        np.testing.assert_array_equal(z.columns["layer"], np.repeat(["fc1", "fc2"], SAMPLES))
        np.testing.assert_array_equal(z.ids, np.tile(ids, 2))
        np.testing.assert_array_equal(z.columns["label"], z.ids % 5)
        assert set(z.columns) == {"layer", "label"}
        assert z.alignment.residual_motion[0] < 0.3
        arrays = {"fc1": x[::-1], "fc2": x[::-1, :8]}  # the same, in the order of the ids
        np.testing.assert_array_equal(
            tsne(arrays, by="layer", align=True).points[:SAMPLES], z.points[:SAMPLES][::-1]
        )


class TestPca:
    def test_joint_is_one_pca(self):
        layer = still()
        z, alone = reduce.pca(layer, by="step", align=True), reduce.pca(layer)
        np.testing.assert_allclose(z.points, alone.points, atol=1e-5)
        np.testing.assert_allclose(z.components, alone.components, atol=1e-9)
        assert z.alignment.method == "joint"
        new = z.transform(layer[:4])
        np.testing.assert_allclose(new.points, z.points[:4], atol=1e-5)
        assert new.alignment is None

    def test_reference_is_the_last_and_transform(self):
        layer = still()
        z = reduce.pca(layer, by="step", align="reference")
        last = reduce.pca(layer[2 * SAMPLES :])
        np.testing.assert_allclose(z.points, last.transform(layer[:]).points, atol=1e-5)
        assert z.alignment.method == "reference"

    def test_axes_that_were_turned_are_not_kept(self):
        rng = np.random.default_rng(0)
        base = rng.standard_normal((60, 6)) * [6, 3, 1, 1, 1, 1]
        turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        z = reduce.pca({"a": base, "b": base @ turn}, by="layer", align="procrustes")
        assert z.components is z.mean is z.explained_variance is z.explained_variance_ratio is None
        assert z.alignment.residual_motion[0] < 1e-5
        assert z.alignment.noise_floor < 0.05
        apart = reduce.pca({"a": base, "b": base @ turn}, by="layer", align=False)
        assert apart.alignment.method == "none"

    def test_layers_share_no_axes(self):
        with pytest.raises(
            AlignmentError, match="by='layer' has no align='joint'.*Choose one of: procrustes"
        ):
            reduce.pca({"a": clusters(), "b": clusters()}, by="layer", align=True)

    def test_a_share_of_variance(self):
        assert reduce.pca(still(), by="step", align=True, n_components=0.9).points.shape[1] > 1
        with pytest.raises(
            ReduceError, match="n_components=0.9; it takes a whole number with align='procrustes'"
        ):
            reduce.pca(still(), by="step", align="procrustes", n_components=0.9)


class TestFrames:
    def test_numbers_rise_and_texts_come_as_they_come(self):
        x = clusters(60)
        ids = np.tile(np.arange(20), 3)
        steps = np.repeat([10, 9, 100], 20)
        z = reduce.pca(FakeLayer.of(x, columns={"step": steps}, ids=ids), by="step", align=True)
        assert z.alignment.frames == (9, 10, 100)
        np.testing.assert_array_equal(z.columns["step"], steps)
        names = np.repeat(["start", "middle", "end"], 20)
        z = reduce.pca(FakeLayer.of(x, columns={"when": names}, ids=ids), by="when", align=True)
        assert z.alignment.frames == ("start", "middle", "end")
        assert type(z.alignment.frames[0]) is str

    def test_a_recording(self, tmp_path):
        layer = still()
        with actlens.Recorder(tmp_path / "run", shard_bytes=4096) as rec:
            for step in range(3):
                rows = np.arange(SAMPLES) + step * SAMPLES
                rec.write({"fc1": layer[rows], "fc2": layer[rows][:, :5]}, id=layer.ids[rows], step=step * 10)
        run = actlens.open(tmp_path / "run")
        z, other = (tsne(each, align=True) for each in (run["fc1"], layer))
        np.testing.assert_array_equal(z.points, other.points)
        layers = tsne(run.sel(step=0), by="layer", align=True)
        assert layers.alignment.frames == ("fc1", "fc2")
        with pytest.raises(AlignmentError, match="layer fc1: these ids stand twice: 0, 1, 2.*run.sel"):
            tsne(run, by="layer", align=True)
        with pytest.raises(
            ReduceError, match=r"reduce.tsne takes one layer; got fc1, fc2. Pass run\[layer\]"
        ):
            reduce.tsne(run)

    def test_take(self, tmp_path):
        x = clusters(30)
        with actlens.Recorder(tmp_path / "run", shard_bytes=1024) as rec:
            rec.write({"fc1": x})
        layer = actlens.open(tmp_path / "run").take(slice(5, None))["fc1"]
        rows = np.array([7, 0, 7, 24])
        some = layer.take(rows)
        np.testing.assert_array_equal(some[:], x[5:][rows])
        np.testing.assert_array_equal(some.ids, layer.ids[rows])
        np.testing.assert_array_equal(np.concatenate([*some.chunks(3)]), x[5:][rows])
        np.testing.assert_array_equal(layer.take(np.arange(25) % 2 == 0)[:], x[5:][::2])
        with pytest.raises(ArgumentError, match="one list of row numbers"):
            layer.take(0)

    def test_picked_rows_of_another_kind_of_layer(self):
        x = clusters(40)
        some = Picked(FakeLayer.of(x, columns={"label": np.arange(40)}), np.arange(39, -1, -3))
        np.testing.assert_array_equal(np.concatenate([*some.chunks(4)]), x[::-3])
        np.testing.assert_array_equal(np.concatenate([*some.chunks()]), x[::-3])
        assert (some.shape, some.axes, some.name, len(some)) == ((14, 12), ("sample", "unit"), "fc1", 14)
        np.testing.assert_array_equal(some.columns["label"], some.ids - 1000)

    def test_jitter(self):
        x = clusters() * np.arange(1, 13)
        moved = jittered(x) - x
        np.testing.assert_allclose(moved.std(axis=0) / x.std(axis=0), 0.02, rtol=0.3)
        np.testing.assert_array_equal(jittered(x), jittered(x))


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                {"align": None},
                "by='step' needs align=. It takes True, False, or one of: warm, joint, reference",
            ),
            ({"align": "warmer"}, "align='warmer'. It takes True, False, or one of: warm, joint"),
            ({"align": 1}, "align=1. It takes True"),
            ({"by": None, "align": True}, "align= needs by=, the column"),
            ({"by": "epoch", "align": True}, "no column 'epoch'. The columns: step"),
            ({"by": "layer", "align": True}, "by='layer' takes a recording or a dict of layers"),
            ({"align": True, "init": np.zeros((SAMPLES, 2))}, "with by=, init takes 'pca' or 'random'"),
            (
                {"align": True, "perplexity": 60},
                "step 20: reduce.tsne: perplexity=60 is too large for 90 samples",
            ),
        ],
    )
    def test_arguments(self, options, said):
        with pytest.raises(ReduceError, match=said):
            tsne(still(), **options)

    def test_what_has_no_frames(self):
        x = clusters()
        with pytest.raises(
            AlignmentError, match="by='step' takes a layer of a recording, whose rows carry columns"
        ):
            tsne(x, align=True)
        with pytest.raises(AlignmentError, match="by='layer' takes a recording or a dict"):
            tsne(x, by="layer", align=True)
        with pytest.raises(AlignmentError, match=r"by='step' takes one layer; got a, b. Pass run\[layer\]"):
            tsne({"a": x, "b": x}, align=True)
        with pytest.raises(AlignmentError, match="at least two frames; there is 0"):
            tsne(picked(still(), np.arange(SAMPLES)), align=True)
        with pytest.raises(AlignmentError, match="at least two frames; there is a"):
            tsne({"a": x}, by="layer", align=True)
        layer = FakeLayer.of(x, columns={"step": np.where(np.arange(SAMPLES) < 9, np.nan, 1.0)})
        with pytest.raises(AlignmentError, match="column 'step' is NaN in 9 rows"):
            tsne(layer, align=True)

    def test_layers_with_that_column(self):
        layer = FakeLayer.of(clusters(), columns={"layer": np.zeros(SAMPLES)})
        with pytest.raises(AlignmentError, match="a column 'layer' of their own"):
            tsne({"a": layer, "b": layer}, by="layer", align=True)

    def test_a_layer_of_many_axes_is_named(self):
        with pytest.raises(
            AlignmentError, match=r"layer conv: .*takes \(samples, features\).*Choose what a feature is"
        ):
            tsne({"fc": clusters(), "conv": np.zeros((SAMPLES, 2, 3, 3))}, by="layer", align=True)

    def test_a_dead_layer_is_named(self):
        with pytest.raises(AlignmentError, match="layer dead: .*are all equal"):
            tsne({"dead": np.zeros((SAMPLES, 4)), "fc": clusters()}, by="layer", align=True)

    def test_a_sample_twice(self):
        layer = still()
        ids = layer.ids.copy()
        ids[[3, 100, 104]] = [2, 11, 11]
        again = FakeLayer.of(layer[:], columns=layer.columns, ids=ids)
        with pytest.raises(AlignmentError, match="step 0: these ids stand twice: 2. Frames are joined by id"):
            tsne(again, align=True)

    def test_too_few_in_common(self):
        layer = still(2)
        ids = np.concatenate([np.arange(SAMPLES), np.arange(SAMPLES) + SAMPLES - 2])
        apart = FakeLayer.of(layer[:], columns=layer.columns, ids=ids)
        with pytest.raises(
            AlignmentError,
            match="neighbouring frames of 'step' need at least 3 ids in common; they have 0 → 10: 2",
        ):
            tsne(apart, align=True)
        texts = {"a": FakeLayer.of(layer[:SAMPLES], ids=np.arange(SAMPLES).astype(str)), "b": layer[SAMPLES:]}
        with pytest.raises(AlignmentError, match="a → b: 0"):
            tsne(texts, by="layer", align=True)

    def test_too_few_in_a_frame(self):
        layer = picked(still(2), np.r_[:SAMPLES, SAMPLES : SAMPLES + 3])
        with pytest.raises(
            AlignmentError, match="step 10: reduce.tsne needs at least 4 samples; there are 3"
        ):
            tsne(layer, align=True)


class TestFile:
    def test_round_trip(self, tmp_path):
        z = reduce.pca(still(), by="step", align=True)
        z.save(tmp_path / "z.safetensors")
        again = reduce.Embedding.load(tmp_path / "z.safetensors")
        assert again.alignment == z.alignment
        dataclasses.replace(z, alignment=None).save(tmp_path / "z.safetensors")
        assert reduce.Embedding.load(tmp_path / "z.safetensors").alignment is None

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"by": 3}, "alignment: by is int; expected text"),
            ({"frames": "ab"}, "alignment: frames is something else; expected a list"),
            ({"frames": [1, None]}, "alignment: frames is something else"),
            ({"frames": [1]}, "alignment: residual_motion is of 1 values; expected 0"),
            ({"residual_motion": []}, "at least one motion"),
            ({"residual_motion": [float("nan")]}, "finite numbers ≥ 0"),
            ({"noise_floor": -1.0}, "finite numbers ≥ 0"),
            ({"more": 1}, "alignment: it is no such object; expected one with by, frames"),
        ],
    )
    def test_what_another_program_wrote(self, changes, said):
        plain = dataclasses.asdict(Alignment("step", (0, 1), "warm", (0.5,), 0.01))
        assert Alignment.from_plain(json.loads(json.dumps(plain))) == Alignment(
            "step", (0, 1), "warm", (0.5,), 0.01
        )
        with pytest.raises(AlignmentError, match=said):
            Alignment.from_plain(json.loads(json.dumps(plain | changes)))

    def test_a_file_with_such_an_alignment_is_refused(self, tmp_path):
        z = reduce.pca(still(), by="step", align=True)
        object.__setattr__(z.alignment, "by", 3)
        z.save(tmp_path / "z.safetensors")
        with pytest.raises(ReduceError, match="is not a saved Embedding: alignment: by is int"):
            reduce.Embedding.load(tmp_path / "z.safetensors")

    def test_a_solution_of_other_types_is_refused(self, tmp_path):
        z = reduce.pca(still())
        reduce.Embedding.load(_saved(z, tmp_path))
        object.__setattr__(z.solution, "passes", "two")
        with pytest.raises(ReduceError, match="is not a saved Embedding: Expected `int`, got `str`"):
            reduce.Embedding.load(_saved(z, tmp_path))


def _saved(z, folder):
    z.save(folder / "z.safetensors")
    return folder / "z.safetensors"


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    reduce.pca(still(), by="step", align="procrustes")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    reduce.pca(still(), by="step", align="procrustes")
    assert "reduce.pca" in capsys.readouterr().err


class TestUmap:
    def test_shared_rows_stand_last(self):
        order = _shared_last(5, 1, [(np.array([0]), np.array([1])), (np.array([3, 0]), np.array([1, 2]))])
        assert order.tolist() == [2, 4, 0, 1, 3]

    @pytest.mark.slow
    def test_aligned_umap(self):
        pytest.importorskip("umap")
        layer = still()
        options = {"by": "step", "random_state": 0, "n_neighbors": 10}
        z = reduce.umap(layer, align=True, **options)
        assert (z.method, z.alignment.method, z.parameters["align"]) == (
            "umap",
            "aligned-umap",
            "aligned-umap",
        )
        turned = reduce.umap(layer, align="procrustes", **options)
        assert 2 * max(z.alignment.residual_motion) < max(turned.alignment.residual_motion)
        order = np.random.default_rng(5).permutation(len(layer))
        np.testing.assert_array_equal(
            reduce.umap(picked(layer, order), align=True, **options).points, z.points[order]
        )
        joint = reduce.umap(layer, align="joint", **options)
        np.testing.assert_array_equal(
            joint.points, reduce.umap(layer[:], random_state=0, n_neighbors=10).points
        )
        # the last rows of a frame are in no other: umap-learn itself would read beyond its tables
        part = picked(layer, np.r_[:60, SAMPLES : 2 * SAMPLES, 2 * SAMPLES : 2 * SAMPLES + 60])
        partly = reduce.umap(part, align=True, **options)
        assert max(partly.alignment.residual_motion) < 0.5
        cluster, points = partly.ids[60:150] % 5, partly.points[60:150]
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(np.full(90, np.inf))
        assert (cluster[distances.argmin(axis=1)] == cluster).mean() > 0.9

    @pytest.mark.slow
    def test_what_it_refuses(self):
        pytest.importorskip("umap")
        with pytest.raises(
            AlignmentError, match="step 0: reduce.umap: n_neighbors=90 needs more than 90 samples"
        ):
            reduce.umap(still(), by="step", align=True, n_neighbors=90)
        with pytest.raises(
            AlignmentError, match="step 10: reduce.umap needs at least 5 samples; there are 4"
        ):
            reduce.umap(picked(still(), np.r_[:90, 90:94, 180:270]), by="step", align=True, n_neighbors=3)
        with pytest.raises(ReduceError, match="metric='none' cannot be used"):
            reduce.umap(still(), by="step", align=True, metric="none")
        with pytest.raises(AlignmentError, match="or one of: aligned-umap, joint, procrustes"):
            reduce.umap(still(), by="step", align="warm")
