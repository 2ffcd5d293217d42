"""Embedding: what it says, its file, reduce.fit, and that importing actlens.reduce loads numpy only."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_layer import FakeLayer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from actlens import reduce
from actlens.errors import MissingDependency, ReduceError
from actlens.reduce import Embedding, embedding_file, optional


def embedding(samples=4, **changes):
    base = Embedding(
        points=np.arange(2 * samples, dtype="f4").reshape(samples, 2),
        ids=np.arange(samples),
        columns={},
        layer="fc1",
        method="umap",
        parameters={"n_neighbors": 15, "random_state": None},
        versions={"actlens": "0"},
    )
    return dataclasses.replace(base, **changes)


def same(a, b):
    assert (a.layer, a.method, a.parameters, a.versions) == (b.layer, b.method, b.parameters, b.versions)
    assert list(a.columns) == list(b.columns)
    pairs = [(a.points, b.points), (a.ids, b.ids), *zip(a.columns.values(), b.columns.values(), strict=True)]
    pairs += [(getattr(a, name), getattr(b, name)) for name in embedding_file._OPTIONAL]
    for one, other in pairs:
        if one is None:
            assert other is None
        else:
            assert one.dtype.kind == other.dtype.kind
            np.testing.assert_array_equal(one, other)


def test_what_it_says():
    z = embedding(columns={"label": np.arange(4), "step": np.full(4, 3)})
    assert repr(z) == "Embedding(fc1 · umap · 4 samples × 2 · columns: label, step)"
    assert repr(embedding(layer="")) == "Embedding(umap · 4 samples × 2)"
    assert len(z) == 4
    assert np.asarray(z) is z.points
    assert np.array(z).dtype == np.float32
    with pytest.raises(dataclasses.FrozenInstanceError):
        z.layer = "other"


@pytest.mark.parametrize(
    ("steps", "step"), [(None, None), ([5, 5, 5, 5], 5), ([5, 5, 5, 6], None), (["a"] * 4, "a")]
)
def test_step(steps, step):
    found = embedding(columns={} if steps is None else {"step": np.array(steps)}).step
    assert found == step
    assert not isinstance(found, np.generic)
    assert embedding(0, columns={"step": np.zeros(0)}).step is None


def test_what_does_not_fit_together():
    with pytest.raises(ReduceError, match=r"points has shape \(4,\); expected \(samples, n_components\)"):
        embedding(points=np.zeros(4, "f4"))
    with pytest.raises(ReduceError, match=r"ids has shape \(3,\); expected \(4,\)"):
        embedding(ids=np.arange(3))
    with pytest.raises(ReduceError, match="column 'label' has 3 values for 4 samples"):
        embedding(columns={"label": np.arange(3)})


def test_to_pandas():
    pytest.importorskip("pandas")
    z = embedding(ids=np.array(list("abcd")), columns={"id": np.array(list("abcd")), "label": np.arange(4)})
    frame = z.to_pandas()
    assert list(frame.columns) == ["label", "umap1", "umap2"]
    assert frame.index.name == "id"
    assert frame.loc["b", "umap2"] == 3


def test_to_pandas_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependency, match="needs pandas, which is not installed: pip install pandas"):
        embedding().to_pandas()


class TestFile:
    def test_round_trip_of_a_pca(self, tmp_path):
        x = np.random.default_rng(0).standard_normal((30, 8)).astype("f4")
        layer = FakeLayer.of(
            x,
            name="encoder/layer.0@input[h]",
            ids=np.array([f"bild {i} äöü 猫" for i in range(30)]),
            columns={
                "label": np.arange(30) % 3,
                "text": np.array(["", "a\nb", "$x$"] * 10),
                "objects": np.array(["one", "two", "three"] * 10, dtype=object),
                "flag": np.arange(30) % 2 == 0,
                "half": np.arange(30, dtype="f2"),
                "big endian": np.arange(30, dtype=">i4"),
                "strided": np.arange(60)[::2],
            },
        )
        z = reduce.pca(layer, n_components=3)
        path = tmp_path / "z.safetensors"
        z.save(path)
        back = Embedding.load(path)
        assert back.columns["objects"].tolist() == layer.columns["objects"].tolist()
        columns = {key: value for key, value in z.columns.items() if key != "objects"}
        rest = {key: value for key, value in back.columns.items() if key != "objects"}
        same(dataclasses.replace(z, columns=columns), dataclasses.replace(back, columns=rest))
        np.testing.assert_array_equal(back.transform(layer).points, z.transform(layer).points)

    @given(
        points=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5)),
        data=st.data(),
    )
    def test_round_trip_of_anything(self, tmp_path_factory, points, data):
        n = len(points)
        texts = st.lists(st.text(max_size=5).filter(lambda t: not t.endswith("\0")), min_size=n, max_size=n)
        numbers = hnp.arrays(hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64)), n)
        column = data.draw(texts.map(lambda t: np.array(t, dtype=np.str_)) | numbers)
        name = data.draw(st.text(max_size=8))
        z = embedding(
            points=points, ids=np.array(data.draw(texts), dtype=np.str_), columns={name: column}, layer=name
        )
        path = tmp_path_factory.mktemp("z") / "z.safetensors"
        z.save(path)
        same(z, Embedding.load(path))

    def test_strided_points_are_written_right(self, tmp_path):
        points = np.asfortranarray(np.arange(12, dtype="f4").reshape(4, 3))[:, ::2]
        embedding(points=points).save(tmp_path / "z")
        np.testing.assert_array_equal(Embedding.load(tmp_path / "z").points, points)

    def test_parameters_are_plain(self, tmp_path):
        parameters = {
            "a": np.float32(0.5),
            "b": np.zeros((2, 3)),
            "c": [1, (2, None)],
            "d": {"e": abs},
            "f": 1j,
        }
        embedding(parameters=parameters).save(tmp_path / "z")
        assert Embedding.load(tmp_path / "z").parameters == {
            "a": 0.5,
            "b": "array(2, 3)",
            "c": [1, [2, None]],
            "d": {"e": "abs"},
            "f": "1j",
        }

    def test_the_mode_is_that_of_any_file(self, tmp_path):
        before = os.umask(0o027)
        try:
            embedding().save(tmp_path / "z")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "z").stat().st_mode) == 0o640

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / "z"
        embedding().save(path)

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            embedding(9).save(path)
        assert len(Embedding.load(path)) == 4
        assert os.listdir(tmp_path) == ["z"]

    def test_a_column_of_objects(self, tmp_path):
        with pytest.raises(
            ReduceError, match="column 'x' has dtype object; numbers, booleans and text can be"
        ):
            embedding(columns={"x": np.array([1, "a", None, 2], dtype=object)}).save(tmp_path / "z")
        assert not os.listdir(tmp_path)

    def test_other_files(self, tmp_path):
        from safetensors.numpy import save_file

        path = tmp_path / "z"
        with pytest.raises(ReduceError, match="z is not a saved Embedding: there is no such file"):
            Embedding.load(path)
        path.write_bytes(b"no safetensors")
        with pytest.raises(ReduceError, match="is not a saved Embedding: "):
            Embedding.load(path)
        save_file({"points": np.zeros((2, 2), "f4")}, path)
        with pytest.raises(ReduceError, match="a safetensors file without 'actlens_embedding' metadata"):
            Embedding.load(path)
        for text, message in [
            ("{", "Expecting property name"),
            ("[]", "its metadata is not an object with a format"),
            ('{"format": 2}', "has embedding format 2; this actlens reads 1. Upgrade"),
            ('{"format": 1}', "its metadata lacks 'layer'"),
        ]:
            save_file({"points": np.zeros((2, 2), "f4")}, path, metadata={"actlens_embedding": text})
            with pytest.raises(ReduceError, match=message):
                Embedding.load(path)

    def test_parts_that_do_not_fit(self, tmp_path):
        from safetensors.numpy import save_file

        about = {"format": 1, "layer": "", "method": "pca", "parameters": {}, "versions": {}, "columns": []}
        tensors = {"points": np.zeros((2, 2), "f4"), "ids": np.arange(3)}
        save_file(tensors, tmp_path / "z", metadata={"actlens_embedding": json.dumps(about)})
        with pytest.raises(ReduceError, match=r"is not a saved Embedding: ids has shape \(3,\)"):
            Embedding.load(tmp_path / "z")

    def test_any_truncation_is_refused(self, tmp_path):
        path = tmp_path / "z"
        embedding().save(path)
        whole = path.read_bytes()
        for size in range(0, len(whole), 7):
            path.write_bytes(whole[:size])
            with pytest.raises(ReduceError, match="is not a saved Embedding"):
                Embedding.load(path)

    @given(
        names=st.lists(
            st.text(max_size=4)
            | st.sampled_from(
                ["x", "x:utf8", "x:offsets", "utf8:x", ".utf8:x", ":x", "ids", "points", ":", ""]
            ),
            unique=True,
            max_size=6,
        ),
        data=st.data(),
    )
    def test_columns_of_any_names_keep_apart(self, tmp_path_factory, names, data):
        columns = {}
        for number, name in enumerate(names):
            text = data.draw(st.booleans())
            columns[name] = (
                np.array([f"{name}{number}{i}é" for i in range(4)]) if text else np.arange(4) + number
            )
        z = embedding(columns=columns, ids=np.array(list("abcd")))
        path = tmp_path_factory.mktemp("z") / "z.safetensors"
        z.save(path)
        same(z, Embedding.load(path))

    def test_a_text_column_and_one_named_like_its_tensors(self, tmp_path):
        columns = {
            "x": np.array(["aa", "bb", "cc", "dd"]),
            "x:utf8": np.frombuffer(b"ZZZZ", np.uint8),
            "x:offsets": np.arange(4),
        }
        z = embedding(columns=columns)
        z.save(tmp_path / "z")
        same(z, Embedding.load(tmp_path / "z"))

    def test_paths_that_cannot_be_written(self, tmp_path):
        for path, message in [
            (
                tmp_path / "no" / "z",
                r"cannot be saved to '.*/no/z': there is no folder '.*/no': make it first",
            ),
            (tmp_path, "it is a folder: give the name of a file in it"),
            (tmp_path / ("n" * 300), "n': file name too long"),
            (None, r"Embedding.save takes the path of a file, a str or pathlib.Path; got NoneType"),
            ("", "got ''"),
        ]:
            with pytest.raises(ReduceError, match=message) as caught:
                embedding().save(path)
            assert ".part" not in str(caught.value)
        assert not os.listdir(tmp_path)
        embedding().save(tmp_path / ("n" * 250))
        assert len(Embedding.load(str(tmp_path / ("n" * 250)))) == 4

    def test_parameters_too_long_to_be_read(self, tmp_path):
        with pytest.raises(
            ReduceError, match=r"parameters and column names take [\d,]+ characters; 1,048,576"
        ):
            embedding(parameters={"a": "x" * (1 << 20)}).save(tmp_path / "z")
        assert not os.listdir(tmp_path)

    @pytest.mark.parametrize("changes", [{"layer": "\ud800"}, {"columns": {"\ud800": np.arange(4)}}])
    def test_half_a_character(self, tmp_path, changes):
        with pytest.raises(ReduceError, match="a name or parameter is no valid Unicode"):
            embedding(**changes).save(tmp_path / "z")
        assert not os.listdir(tmp_path)

    @pytest.mark.parametrize("path", [None, 3, b"z", "", "a\0b", ["z"]])
    def test_no_path(self, path):
        with pytest.raises(
            ReduceError, match="Embedding.load takes the path of a file, a str or pathlib.Path"
        ):
            Embedding.load(path)

    def test_a_folder_is_no_embedding(self, tmp_path):
        with pytest.raises(ReduceError, match="is not a saved Embedding: "):
            Embedding.load(tmp_path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": True}, "not an object with a format"),
            ({"format": 0}, "not an object with a format"),
            ({"layer": 3}, "'layer' in its metadata is int; it must be str"),
            ({"method": None}, "'method' in its metadata is NoneType; it must be str"),
            ({"parameters": []}, "'parameters' in its metadata is list; it must be dict"),
            ({"versions": "1"}, "'versions' in its metadata is str; it must be dict"),
            ({"versions": {"a": 1}}, "its column names and versions must be text"),
            ({"columns": {"x": 1}}, "'columns' in its metadata is dict; it must be list"),
            ({"columns": [["x"]]}, "its column names and versions must be text"),
            ({"columns": ["t", "t"]}, "each name once"),
            ({"columns": ["gone"]}, "it lacks 'column.utf8:gone'"),
            ({"points": np.zeros((2, 2), "i4")}, "'points' has dtype int32; it must be of floats"),
            ({"points": np.zeros(2, "f4")}, r"points has shape \(2,\)"),
            (
                {"column:n": np.zeros((2, 2)), "columns": ["n"]},
                r"column 'n' has shape \(2, 2\); it takes one value",
            ),
            ({"column:n": np.float64(3), "columns": ["n"]}, r"column 'n' has shape \(\)"),
            (
                {"column.offsets:t": np.array([0, 3, 1])},
                "column 't' has offsets that do not rise from 0 to its 2",
            ),
            ({"column.offsets:t": np.array([0, 3, 2])}, "column 't' has offsets that do not rise"),
            ({"column.offsets:t": np.array([0, -1, 2])}, "column 't' has offsets that do not rise"),
            ({"column.offsets:t": np.array([1, 1, 2])}, "column 't' has offsets that do not rise"),
            ({"column.offsets:t": np.array([0, 1, 1])}, "column 't' has offsets that do not rise"),
            ({"column.offsets:t": np.zeros(0, "i8")}, "column 't' has offsets that do not rise"),
            ({"column.offsets:t": np.array([0.0, 1, 2])}, "column 't' has text that is not uint8 with int64"),
            ({"column.utf8:t": np.array([200, 200], "u1")}, "is not a saved Embedding: 'utf-8' codec"),
            ({"components": np.zeros((3, 5))}, r"components has shape \(3, 5\); expected \(2, features\)"),
            ({"components": np.zeros(5)}, r"components has shape \(5,\)"),
            (
                {"components": np.zeros((2, 5)), "mean": np.zeros(4)},
                r"mean has shape \(4,\); expected \(5,\)",
            ),
            ({"mean": np.zeros((2, 2))}, r"mean has shape \(2, 2\); expected \(features,\)"),
            ({"explained_variance": np.zeros(3)}, r"explained_variance has shape \(3,\); expected \(2,\)"),
            ({"explained_variance_ratio": np.zeros((2, 1))}, r"explained_variance_ratio has shape \(2, 1\)"),
        ],
    )
    def test_hostile_files(self, tmp_path, changes, message):
        from safetensors.numpy import save_file

        about = {
            "format": 1,
            "layer": "",
            "method": "pca",
            "parameters": {},
            "versions": {},
            "columns": ["t"],
        }
        tensors = {
            "points": np.zeros((2, 2), "f4"),
            "ids": np.arange(2),
            "column.utf8:t": np.frombuffer(b"ab", np.uint8),
            "column.offsets:t": np.arange(3),
        }
        tensors |= {
            key: np.asarray(v) for key, v in changes.items() if isinstance(v, (np.ndarray, np.generic))
        }
        about |= {key: value for key, value in changes.items() if key in about}
        save_file(tensors, tmp_path / "z", metadata={"actlens_embedding": json.dumps(about)})
        with pytest.raises(ReduceError, match=f"is not a saved Embedding: .*{message.split(': ')[-1]}"):
            Embedding.load(tmp_path / "z")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                '{"format": 1, "parameters": ' + "[" * 200_000 + "]" * 200_000 + "}",
                "is not a saved Embedding: ",
            ),
            ("[" * 200_000, "is not a saved Embedding: "),
            ('{"format": ' + "9" * 5000 + "}", "is not a saved Embedding: "),
            ('{"format": 1, "layer": "' + "x" * (1 << 20) + '"}', "characters; at most 1,048,576 are read"),
        ],
        ids=["nested", "open", "digits", "long"],
    )
    def test_hostile_metadata(self, tmp_path, text, message):
        from safetensors.numpy import save_file

        save_file({"points": np.zeros((2, 2), "f4")}, tmp_path / "z", metadata={"actlens_embedding": text})
        with pytest.raises(ReduceError, match=message):
            Embedding.load(tmp_path / "z")


class TestFormats:
    """Format 2 is a bundle; what format 1 wrote loads for ever."""

    GOLDEN = Path(__file__).parent / "golden/embedding-1.safetensors"

    def test_a_file_of_format_1(self, tmp_path):
        """What stands in it, by the formula that it was made by."""
        z = Embedding.load(self.GOLDEN)
        n = np.arange(8)
        x = np.arange(40).reshape(8, 5) % 7 - 3 + n[:, None] / 8
        assert (z.layer, z.method) == ("encoder/layer.0@input[h]", "pca")
        assert z.parameters == {"n_components": 2, "whiten": True, "random_state": None}
        assert z.ids.tolist() == [f"bild {i} ä猫" for i in range(8)]
        assert list(z.columns) == ["label", "text", "flag", "half", "x:utf8"]
        assert z.columns["label"].tolist() == (n % 3).tolist()
        assert z.columns["text"].tolist() == ["", "a\nb", "$x$", "ü"] * 2
        assert z.columns["flag"].tolist() == (n % 2 == 0).tolist()
        assert z.columns["half"].dtype == np.float16
        assert z.columns["x:utf8"].tolist() == n.tolist()
        assert z.points.shape == (8, 2)
        np.testing.assert_allclose(z.mean, x.mean(axis=0))
        np.testing.assert_allclose(z.inverse(z.points).mean(axis=0), x.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(z.transform(x).points, z.points, atol=1e-5)
        z.save(tmp_path / "z")
        same(z, Embedding.load(tmp_path / "z"))

    def test_it_is_a_bundle(self, tmp_path):
        from actlens.format.bundle import read_bundle

        embedding(columns={"a": np.arange(4), "t": np.array(list("abcd"))}).save(tmp_path / "z")
        bundle = read_bundle(tmp_path / "z", "embedding")
        assert bundle.about["format"] == 2
        assert bundle.about["columns"] == ["a", "t"]
        assert sorted(bundle.arrays) == ["column:0", "column:1", "ids", "points"]

    @pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
    def test_any_changed_byte_is_seen(self, tmp_path, step):
        path = tmp_path / "z"
        embedding().save(path)
        whole = path.read_bytes()
        for at in range(len(whole) - 1, -1, -step):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(ReduceError, match="is not a saved Embedding"):
                Embedding.load(path)

    def test_a_later_format_and_another_kind(self, tmp_path):
        from actlens.format.bundle import write_bundle

        about, arrays = embedding_file.packed(embedding())
        write_bundle(tmp_path / "z", "embedding", about | {"format": 3}, arrays)
        with pytest.raises(ReduceError, match="has embedding format 3; this actlens reads 2. Upgrade"):
            Embedding.load(tmp_path / "z")
        write_bundle(tmp_path / "z", "stats", about, arrays)
        with pytest.raises(ReduceError, match="is not a saved Embedding: .* holds 'stats', not 'embedding'"):
            Embedding.load(tmp_path / "z")

    @pytest.mark.parametrize(
        ("about", "arrays", "message"),
        [
            ({"format": 1}, {}, "not an object with a format"),
            ({"layer": 3}, {}, "'layer' in its metadata is int; it must be str"),
            ({"versions": {"a": 1}}, {}, "its column names and versions must be text"),
            ({"columns": ["gone"]}, {}, "it lacks 'column:0'"),
            ({}, {"points": np.zeros((4, 2), "i4")}, "'points' has dtype int32; it must be of floats"),
            ({}, {"ids": np.arange(3)}, r"ids has shape \(3,\)"),
            ({}, {"components": np.zeros((3, 5))}, r"components has shape \(3, 5\)"),
        ],
    )
    def test_parts_that_do_not_fit(self, tmp_path, about, arrays, message):
        from actlens.format.bundle import write_bundle

        good = embedding_file.packed(embedding())
        write_bundle(tmp_path / "z", "embedding", good[0] | about, good[1] | arrays)
        with pytest.raises(ReduceError, match=f"is not a saved Embedding: .*{message}"):
            Embedding.load(tmp_path / "z")

    def test_what_a_later_field_adds_is_left_out(self, tmp_path):
        from actlens.format.bundle import write_bundle

        about, arrays = embedding_file.packed(embedding())
        write_bundle(tmp_path / "z", "embedding", about | {"novelty": [1]}, arrays | {"news": np.zeros(2)})
        same(Embedding.load(tmp_path / "z"), embedding())

    def test_numbers_that_json_has_not(self, tmp_path):
        embedding(parameters={"a": np.nan, "b": [np.inf]}).save(tmp_path / "z")
        assert Embedding.load(tmp_path / "z").parameters == {"a": "nan", "b": ["inf"]}


class FirstColumns:
    """The least that reduce.fit takes."""

    def fit_transform(self, x):
        return x[:, :2]


class TestFit:
    def test_anything_with_fit_transform(self):
        x = np.random.default_rng(0).standard_normal((20, 5))
        z = reduce.fit(FirstColumns(), FakeLayer.of(x, columns={"label": np.arange(20)}))
        np.testing.assert_allclose(z.points, x[:, :2].astype("f4"))
        assert (z.method, z.layer, z.parameters) == ("FirstColumns", "fc1", {})
        assert z.columns["label"].tolist() == list(range(20))

    def test_an_estimator_of_scikit_learn(self):
        decomposition = pytest.importorskip("sklearn.decomposition")
        z = reduce.fit(decomposition.TruncatedSVD(2, random_state=0), np.eye(6))
        assert z.method == "TruncatedSVD"
        assert z.parameters["n_components"] == 2

    def test_what_it_refuses(self):
        with pytest.raises(ReduceError, match=r"takes an object with fit_transform\(x\), .*; got str"):
            reduce.fit("pca", np.eye(3))
        with pytest.raises(ReduceError, match="got FirstColumns. It is a class: pass an instance"):
            reduce.fit(FirstColumns, np.eye(3))

        class Wrong:
            def fit_transform(self, x):
                return x[1:]

        with pytest.raises(
            ReduceError, match=r"the result of Wrong has shape \(2, 3\); expected \(3, n_comp"
        ):
            reduce.fit(Wrong(), np.eye(3))


def test_it_goes_to_another_process_without_its_model():
    pytest.importorskip("openTSNE")
    x = np.random.default_rng(0).standard_normal((30, 5))
    z = reduce.tsne(x, perplexity=3, max_iter=250, random_state=0)
    z.quality(k=3)
    back = pickle.loads(pickle.dumps(z))  # noqa: S301  our own
    same(back, z)
    assert (back.fitted, back.rows, back.quality_) == (None, None, z.quality_)
    assert z.fitted is not None
    assert z.rows is not None


class TestTransformOfAnEstimator:
    def test_new_rows(self):
        decomposition = pytest.importorskip("sklearn.decomposition")
        x = np.random.default_rng(0).standard_normal((40, 5))
        model = decomposition.PCA(2, svd_solver="full")
        z = reduce.fit(model, x[:30])
        layer = FakeLayer.of(x[30:], columns={"label": np.arange(10)})
        placed = z.transform(layer)
        np.testing.assert_allclose(placed.points, model.transform(x[30:]), rtol=1e-5)
        assert (placed.method, placed.layer, placed.ids[0]) == ("PCA", "fc1", 1000)
        assert placed.columns["label"].tolist() == list(range(10))
        assert placed.rows.shape == (10, 5)
        with pytest.raises(ReduceError, match="was fitted on 5 features; the new rows have 4"):
            z.transform(x[:, :4])

    def test_none_there(self, tmp_path):
        x = np.eye(6)
        z = reduce.fit(FirstColumns(), x)
        with pytest.raises(
            ReduceError, match=r"by FirstColumns has no transform\(\): its estimator has no method"
        ):
            z.transform(x)
        with pytest.raises(ReduceError, match=r"has no inverse\(\): only the axes of a reduce.pca"):
            z.inverse(z.points)
        z.save(tmp_path / "z")
        back = Embedding.load(tmp_path / "z")
        assert (back.fitted, back.rows, back.quality_) == (None, None, None)
        with pytest.raises(
            ReduceError, match="by FirstColumns that was loaded from a file does not hold the fit"
        ):
            back.transform(x)

    def test_an_estimator_that_gives_something_else(self):
        class Short(FirstColumns):
            def transform(self, x):
                return x[1:, :2]

        with pytest.raises(
            ReduceError, match=r"the result of transform has shape \(5, 2\); expected \(6, n_comp"
        ):
            reduce.fit(Short(), np.eye(6)).transform(np.eye(6))

    def test_new_rows_of_a_pca_are_its_own(self):
        x = np.random.default_rng(0).standard_normal((40, 5))
        placed = reduce.pca(x[:30]).transform(x[30:])
        assert placed.rows.shape == (10, 5)  # not those of the fit, which have the same ids


class TestImports:
    def test_only_numpy(self):
        code = (
            "import sys, actlens.reduce, actlens.plot\n"
            "heavy = ('scipy', 'sklearn', 'umap', 'openTSNE', 'numba', 'pandas', 'matplotlib')\n"
            "assert not [name for name in heavy if name in sys.modules]\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

    def test_functions_are_not_clobbered_by_their_modules(self):
        from actlens import plot

        for package, names in ((reduce, reduce.__all__), (plot, plot.__all__)):
            for name in names:
                try:
                    importlib.import_module(f"{package.__name__}.{name}")
                except ModuleNotFoundError:
                    continue
                assert callable(getattr(package, name)), name
        import actlens.reduce.pca  # noqa: F401

        assert callable(reduce.pca)

    def test_absent_and_broken(self, monkeypatch, tmp_path):
        with pytest.raises(MissingDependency, match=r"f needs no-such, .*: pip install 'actlens\[x\]'"):
            optional.need("no_such_package_", feature="f", package="no-such", extra="x")
        for name, body in (
            ("broken_one_", "import no_such_package_"),
            ("broken_two_", "raise OSError('libx.so')"),
        ):
            (tmp_path / f"{name}.py").write_text(body)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(MissingDependency, match="fails to import: No module named 'no_such_package_'"):
            optional.need("broken_one_", feature="f", package="p", extra="x")
        with pytest.raises(MissingDependency, match=r"fails to import: libx.so"):
            optional.need("broken_two_", feature="f", package="p", extra="x")
        assert optional.has("numpy")
        assert not optional.has("no_such_package_")


def test_an_estimator_that_fails_says_on_what():
    class Fails:
        def fit_transform(self, x):
            raise ArithmeticError("negative values\nand more")

    with pytest.raises(
        ReduceError, match=r"reduce.fit: Fails failed on 5 samples × 3 features: negative values$"
    ):
        reduce.fit(Fails(), np.eye(5, 3))
