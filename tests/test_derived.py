"""Results that lie with a recording: read where they are of the same values, computed again where not."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import shutil
import warnings

import msgspec
import numpy as np
import pytest
import upkeep_cases
import xxhash
from fake_layer import FakeLayer
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens import reduce
from actlens.derived import Kind, listed, remembered
from actlens.errors import BundleError, DerivedWarning, ReduceError
from actlens.format.bundle import read_bundle, write_bundle

SUMS = Kind("sums", 1, write=lambda sums: ({"unit": "1"}, {"sums": sums}), read=lambda b: b.arrays["sums"])


@pytest.fixture
def path(tmp_path):
    return record(tmp_path / "run")


def record(path, *, rows=24, **options):
    rng = np.random.default_rng(0)
    with actlens.Recorder(path, durability="rename", **options) as rec:
        rec.write(
            {"fc": rng.normal(size=(rows, 5)), "conv": rng.normal(size=(rows, 2, 3))},
            id=[f"é{i}" for i in range(rows)],
            label=np.arange(rows) % 3,
        )
    return path


def ragged(path):
    with actlens.Recorder(path, durability="rename") as rec:
        rec.write({"h": np.arange(96.0).reshape(8, 3, 4)}, lengths=[3, 1, 2, 3, 3, 0, 1, 3])
    return actlens.open(path)["h"]


class Counting:
    """Sums over samples, and how often they were computed."""

    def __init__(self, *layers, **options):
        self.layers, self.options, self.count = layers, options, 0

    def __call__(self, **changes):
        def compute():
            self.count += 1
            return sum(np.asarray(layer[:], np.float64).sum(axis=0) for layer in self.layers)

        options = {"parameters": {}, "packages": ["numpy"]} | self.options | changes
        return remembered(self.layers, SUMS, compute=compute, **options)


def files(path):
    return sorted(os.listdir(path / "derived")) if (path / "derived").exists() else []


def only(path):
    (name,) = files(path)
    return path / "derived" / name


class TestFingerprint:
    def test_two_opens_agree_and_a_copy_too(self, path, tmp_path):
        shutil.copytree(path, tmp_path / "copy")
        (tmp_path / "copy/manifest.json").unlink()  # the same is made from the shards
        prints = {actlens.open(at)["fc"].fingerprint() for at in (path, path, tmp_path / "copy")}
        assert len(prints) == 1
        assert all(len(one) == 32 and int(one, 16) for one in prints)

    def test_everything_else_differs(self, path, tmp_path):
        run, other = actlens.open(path), actlens.open(record(tmp_path / "other"))
        h = ragged(tmp_path / "ragged")
        conv = run["conv"]
        layers = [
            run["fc"],
            other["fc"],
            conv,
            conv.flatten(),
            conv.mean("axis1"),
            conv.mean("axis2"),
            conv.mean("axis1", "axis2"),
            conv.mean("axis1").flatten(),
            run["fc"].flatten(),
            run["fc"].mean(),
            run.take(slice(0, 8))["fc"],
            run.take(np.arange(24)[::-1])["fc"],
            run.take([0, 1])["fc"],
            run.take([1, 0])["fc"],
            run.take([])["fc"],
            run.sel(label=1)["fc"],
            h.tokens,
            h.mean(),
        ]
        assert len({layer.fingerprint() for layer in layers}) == len(layers)

    def test_all_rows_are_all_rows(self, path):
        run = actlens.open(path)
        assert run.take(slice(None))["fc"].fingerprint() == run["fc"].fingerprint()

    def test_one_more_shard_differs(self, path):
        before = actlens.open(path)["fc"].fingerprint()
        with actlens.Recorder(path, resume=True, durability="rename") as rec:
            rec.write({"fc": np.zeros((1, 5)), "conv": np.zeros((1, 2, 3))}, id=["new"], label=[0])
        assert actlens.open(path)["fc"].fingerprint() != before

    def test_which_duplicates_count_matters(self, tmp_path):
        """The same shards, and a manifest that drops other rows."""
        upkeep_cases.two_ranks(tmp_path / "run")
        shards = actlens.open(tmp_path / "run")._shards
        before = shards.fingerprint()
        assert any(entry.dropped for entry in shards.entries)
        shards.entries = tuple(msgspec.structs.replace(entry, dropped=()) for entry in shards.entries)
        assert shards.fingerprint() != before

    def test_no_data_is_read(self, path):
        layer = actlens.open(path)["fc"]
        for shard in path.glob("shards/*/*"):
            shard.unlink()
        assert layer.fingerprint()


class TestRemembered:
    def test_the_second_call_reads(self, path):
        first = Counting(actlens.open(path)["fc"])
        assert not (path / "derived").exists()
        expected = first()
        second = Counting(actlens.open(path)["fc"])
        np.testing.assert_array_equal(second(), expected)
        assert (first.count, second.count) == (1, 0)
        np.testing.assert_allclose(expected, actlens.open(path)["fc"][:].sum(axis=0))

    def test_what_makes_it_compute_again(self, path):
        run = actlens.open(path)
        layer = Counting(run["fc"])
        layer()
        calls = [
            Counting(run["fc"], parameters={"a": 1}),
            Counting(run["fc"], parameters={"a": 1.0}),
            Counting(run["fc"], parameters={"a": True}),
            Counting(run["fc"], parameters={"a": "1"}),
            Counting(run["fc"], parameters={"a": None}),
            Counting(run["fc"], parameters={"a": float("nan")}),
            Counting(run["fc"], parameters={"a": np.arange(3)}),
            Counting(run["fc"], parameters={"a": np.arange(4)}),
            Counting(run["fc"], parameters={"a": np.arange(3.0)}),
            Counting(run["fc"], packages=["numpy", "msgspec"]),
            Counting(run["fc"], run["fc"]),
            Counting(run.take([0, 3])["fc"]),
        ]
        for call in calls:
            call()
            call()
        assert [call.count for call in calls] == [1] * len(calls)
        assert len(files(path)) == len(calls) + 1

    def test_equal_parameters_are_the_same(self, path):
        layer = actlens.open(path)["fc"]
        Counting(layer, parameters={"a": 2, "b": [1.5, None], "c": np.arange(3, dtype="<i4")})()
        again = Counting(
            layer, parameters={"c": np.arange(3, dtype=">i4"), "b": (np.float64(1.5), None), "a": np.int8(2)}
        )
        again()
        assert again.count == 0

    @given(
        parameters=st.lists(
            st.recursive(
                st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=2),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner),
                max_leaves=4,
            ),
            min_size=2,
            max_size=2,
        )
    )
    def test_different_parameters_have_different_names(self, parameters):
        from actlens.derived.key import _named

        a, b = parameters
        assert (repr(_named(a)) == repr(_named(b))) == (repr(a) == repr(b))

    def test_another_version_of_what_computed_it(self, path, monkeypatch):
        Counting(actlens.open(path)["fc"])()
        monkeypatch.setattr("actlens.derived.key.version", lambda name: "99")
        again = Counting(actlens.open(path)["fc"])
        again()
        assert again.count == 1

    def test_another_format_of_the_kind(self, path):
        layer = actlens.open(path)["fc"]
        Counting(layer)()
        found = remembered(
            [layer],
            dataclasses.replace(SUMS, format=2),
            compute=lambda: np.full(5, 7.0),
            parameters={},
            packages=["numpy"],
        )
        assert found.tolist() == [7] * 5

    def test_a_recording_that_has_grown(self, path):
        Counting(actlens.open(path)["fc"])()
        with actlens.Recorder(path, resume=True, durability="rename") as rec:
            rec.write({"fc": np.ones((1, 5)), "conv": np.zeros((1, 2, 3))}, id=["new"], label=[0])
        again = Counting(actlens.open(path)["fc"])
        np.testing.assert_allclose(again(), actlens.open(path)["fc"][:].sum(axis=0))
        assert again.count == 1
        assert [one.current for one in actlens.open(path).derived()].count(True) == 1

    @pytest.mark.parametrize("option", [{"cache": False}, {"repeatable": False}])
    def test_neither_read_nor_written(self, path, option):
        call = Counting(actlens.open(path)["fc"], **option)
        call()
        assert files(path) == []
        call(repeatable=True, cache=True)
        call()
        assert call.count == 3

    def test_what_was_read_unchecked_is_not_kept(self, path):
        """A wrong number would otherwise be believed by those who ask for checks."""
        (shard,) = path.glob("shards/*/*.safetensors")
        whole = shard.read_bytes()
        spans, _ = upkeep_cases.layout(shard)
        upkeep_cases.flip(shard, spans["act:fc"][0] + 7)
        wrong = Counting(actlens.open(path, verify="none")["fc"])()
        assert files(path) == []
        with pytest.raises(actlens.errors.CorruptRecording, match="act:fc"):
            Counting(actlens.open(path)["fc"])()
        assert files(path) == []
        shard.write_bytes(whole)
        right = Counting(actlens.open(path)["fc"])()
        assert not np.array_equal(right, wrong)
        reads = Counting(actlens.open(path, verify="none")["fc"])
        np.testing.assert_array_equal(reads(), right)
        assert reads.count == 0

    @pytest.mark.parametrize("layer", [np.eye(3), FakeLayer.of(np.eye(3))])
    def test_what_is_no_layer_of_a_recording_is_computed(self, path, layer):
        call = Counting(layer)
        assert call().tolist() == [1, 1, 1]
        call()
        assert call.count == 2
        both = Counting(actlens.open(path)["fc"][:, :3], layer)
        both()
        assert files(path) == []

    def test_a_parameter_that_nothing_tells_apart(self, path):
        for parameter in (object(), print, {3}, np.array([object()]), {1: 2}, 1j):
            call = Counting(actlens.open(path)["fc"], parameters={"a": parameter})
            call()
            call()
            assert call.count == 2
        assert files(path) == []

    def test_a_package_that_is_missing_is_for_the_caller_to_say(self, path):
        call = Counting(actlens.open(path)["fc"], packages=["no-such-package-at-all"])
        call()
        assert (call.count, files(path)) == (1, [])

    def test_a_kind_that_is_no_name(self, path):
        with pytest.raises(BundleError, match="the kind of a bundle is '../x'"):
            remembered(
                [actlens.open(path)["fc"]],
                dataclasses.replace(SUMS, name="../x"),
                compute=list,
                parameters={},
                packages=[],
            )

    def test_what_the_file_says(self, path):
        layer = actlens.open(path)["conv"].flatten()
        Counting(layer, parameters={"a": np.arange(2, dtype="i2")})()
        bundle = read_bundle(only(path), "sums")
        said = bundle.about["derived"]
        assert only(path).name == f"sums-{said['key']}.safetensors"
        assert (said["kind"], said["layers"], said["bytes"]) == ("sums", ["conv"], 48)
        assert said["inputs"] == [layer.fingerprint()]
        assert said["recordings"] == [layer.recorded.fingerprint()]
        assert said["parameters"]["a"]["$array"][:2] == ["I16", [2]]
        assert said["versions"]["numpy"] == np.__version__
        assert said["created"].endswith("+00:00")
        assert bundle.about["result"] == {"unit": "1"}

    def test_no_name_of_a_user_becomes_a_path(self, tmp_path):
        with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
            rec.write({"../../x/y": np.eye(3)})
        Counting(actlens.open(tmp_path / "run")["../../x/y"], parameters={"../a": "../../b"})()
        assert only(tmp_path / "run").name.startswith("sums-")
        assert sorted(os.listdir(tmp_path)) == ["run"]


def claims(file):
    with file.open("r+b") as opened:
        opened.write((1 << 39).to_bytes(8, "little"))
        opened.truncate(1 << 40)


def deep(file):
    text = json.dumps({"bundle": "sums", "version": 1, "digests": {}, "about": "@"})
    text = text.replace('"@"', '{"a":' + "[" * 2_000_000 + "]" * 2_000_000 + "}")
    entries = {"__metadata__": {"digest": "0" * 32, "actlens": text}}
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw = len(raw).to_bytes(8, "little") + raw
    digest = xxhash.xxh3_128_hexdigest(raw).encode()
    file.write_bytes(raw[:35] + digest + raw[67:])


def damages():
    def flipped(file):
        raw = bytearray(file.read_bytes())
        raw[-3] ^= 1
        file.write_bytes(raw)

    def cut(file):
        os.truncate(file, 50)

    def empty(file):
        file.write_bytes(b"")

    def other(file):
        write_bundle(file, "stats", {}, {})

    def of_nothing(file):
        write_bundle(file, "sums", {}, {})

    def incomplete(file):
        about = read_bundle(file, "sums").about
        write_bundle(file, "sums", about, {"others": np.zeros(3)})

    def renamed(file):
        bundle = read_bundle(file, "sums")
        bundle.about["derived"]["key"] = "0" * 32
        write_bundle(file, "sums", bundle.about, bundle.arrays)

    def fifo(file):
        file.unlink()
        os.mkfifo(file)

    return {
        claims: "its header claims 549755813888 bytes, and 16777216 are possible",
        deep: "it has far more entries than what it describes",
        flipped: "the data of 'arr:sums' does not match its digest",
        cut: "its header claims",
        empty: "it is no file of results of actlens",
        other: "holds 'stats', not 'sums'",
        of_nothing: "it lacks what a result of this kind has",
        incomplete: "it lacks what a result of this kind has .'sums'",
        renamed: "it was renamed",
        fifo: "it is a folder, a FIFO or a device, not a file",
    }


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "message"), damages().items(), ids=lambda d: getattr(d, "__name__", "")
    )
    def test_it_is_said_computed_and_replaced(self, path, damage, message):
        expected = Counting(actlens.open(path)["fc"])()
        damage(only(path))
        again = Counting(actlens.open(path)["fc"])
        with pytest.warns(
            DerivedWarning, match=f"derived/sums-.* cannot be used: .*{message}.*computed again"
        ) as w:
            np.testing.assert_array_equal(again(), expected)
        assert len(w) == 1
        assert again.count == 1
        last = Counting(actlens.open(path)["fc"])
        np.testing.assert_array_equal(last(), expected)
        assert last.count == 0

    def test_a_link_is_not_followed_and_what_it_points_to_is_left(self, path, tmp_path):
        expected = Counting(actlens.open(path)["fc"])()
        file = only(path)
        file.rename(tmp_path / "elsewhere")
        before = (tmp_path / "elsewhere").read_bytes()
        file.symlink_to(tmp_path / "elsewhere")
        again = Counting(actlens.open(path)["fc"])
        with pytest.warns(DerivedWarning, match="it is a symbolic link, not a file"):
            np.testing.assert_array_equal(again(), expected)
        assert again.count == 1
        assert not only(path).is_symlink()
        assert (tmp_path / "elsewhere").read_bytes() == before

    def test_a_linked_folder_is_not_entered(self, path, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (path / "derived").symlink_to(tmp_path / "elsewhere")
        call = Counting(actlens.open(path)["fc"])
        call()
        call()
        assert call.count == 2
        assert os.listdir(tmp_path / "elsewhere") == []
        assert actlens.open(path).derived() == ()

    def test_a_folder_in_the_place_of_the_file(self, path):
        Counting(actlens.open(path)["fc"])()
        file = only(path)
        file.unlink()
        file.mkdir()
        call = Counting(actlens.open(path)["fc"])
        with pytest.warns(DerivedWarning) as said:
            call()
        assert "cannot be used" in str(said[0].message)
        assert "could not be kept" in str(said[1].message)
        assert call.count == 1

    def test_a_file_in_the_place_of_the_folder(self, path):
        (path / "derived").write_text("mine")
        call = Counting(actlens.open(path)["fc"])
        call()
        assert call.count == 1
        assert (path / "derived").read_text() == "mine"


class TestDisk:
    @pytest.mark.parametrize(("code", "text"), [(30, "Read-only file system"), (13, "Permission denied")])
    def test_a_folder_that_can_only_be_read(self, path, monkeypatch, code, text):
        """As root, permissions do not hold: the system's answer is put in its place."""

        def refused(*_, **__):
            raise OSError(code, text)

        monkeypatch.setattr("pathlib.Path.mkdir", refused)
        call = Counting(actlens.open(path)["fc"])
        call()
        call()
        assert call.count == 2
        assert files(path) == []

    def test_a_full_disk_is_said(self, path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwritev", full)
        call = Counting(actlens.open(path)["fc"])
        with pytest.warns(DerivedWarning, match=r"not be kept as .*: no space left on device\. It is"):
            expected = call()
        assert files(path) == []
        monkeypatch.undo()
        np.testing.assert_array_equal(call(), expected)
        assert (call.count, len(files(path))) == (2, 1)

    def test_a_result_that_cannot_be_stored(self, path):
        with pytest.warns(DerivedWarning, match="could not be kept .*array 'sums' has dtype complex128"):
            remembered(
                [actlens.open(path)["fc"]],
                SUMS,
                compute=lambda: np.zeros(3, complex),
                parameters={},
                packages=["numpy"],
            )
        assert files(path) == []

    def test_a_recording_at_an_address(self, path):
        pytest.importorskip("fsspec")
        run = actlens.open(f"file://{path}")
        call = Counting(run["fc"])
        np.testing.assert_allclose(call(), actlens.open(path)["fc"][:].sum(axis=0))
        call()
        assert (call.count, files(path), run.derived()) == (2, [], ())
        assert run["fc"].fingerprint() == actlens.open(path)["fc"].fingerprint()

    def test_a_file_of_another_user(self, path, monkeypatch):
        Counting(actlens.open(path)["fc"])()
        before, opened = only(path).read_bytes(), os.open

        def refused(name, *args, **kwargs):
            if "derived/sums" in str(name):
                raise PermissionError(13, "Permission denied")
            return opened(name, *args, **kwargs)

        monkeypatch.setattr(os, "open", refused)
        call = Counting(actlens.open(path)["fc"])
        call()
        assert call.count == 1
        assert only(path).read_bytes() == before

    def test_two_processes_at_once(self, path):
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            sums = pool.map(_compute_many, [str(path)] * 2)
        expected = actlens.open(path)["fc"][:].sum(axis=0)
        for found in sums:
            np.testing.assert_allclose(found, expected)
        assert len(files(path)) == 1  # and nothing temporary
        assert listed(path, None, whole=True)[0].problem == ""


def _compute_many(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            for file in os.scandir(f"{path}/derived") if os.path.isdir(f"{path}/derived") else ():
                if file.name.startswith("sums-"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(file.path)
            found = Counting(actlens.open(path)["fc"])()
    Counting(actlens.open(path)["fc"])()
    return found


class TestPca:
    def test_read_back_as_it_was_computed(self, path, monkeypatch):
        run = actlens.open(path)
        first = reduce.pca(run["fc"], n_components=np.int64(3), whiten=True)
        monkeypatch.setattr(importlib.import_module("actlens.reduce.pca"), "rows_of", None)
        again = reduce.pca(actlens.open(path)["fc"], n_components=3, whiten=True)
        monkeypatch.undo()
        for name in ("points", "ids", "components", "mean", "explained_variance", "explained_variance_ratio"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
            assert getattr(again, name).dtype == getattr(first, name).dtype
        assert again.parameters == first.parameters
        assert again.versions == first.versions
        assert again.columns.keys() == first.columns.keys()
        np.testing.assert_array_equal(again.columns["label"], first.columns["label"])
        np.testing.assert_array_equal(again.transform(run["fc"]).points, first.transform(run["fc"]).points)

    def test_it_is_what_numpy_says(self, path):
        reduce.pca(actlens.open(path)["fc"])
        z = reduce.pca(actlens.open(path)["fc"])
        x = actlens.open(path)["fc"][:]
        expected = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:2] ** 2 / (len(x) - 1)
        np.testing.assert_allclose(z.explained_variance, expected, rtol=1e-10)

    def test_without(self, path):
        reduce.pca(actlens.open(path)["fc"], cache=False)
        assert files(path) == []

    def test_errors_are_the_same_and_leave_nothing(self, path):
        for _ in range(2):
            with pytest.raises(ReduceError, match="n_components=99"):
                reduce.pca(actlens.open(path)["fc"], n_components=99)
            with pytest.raises(ReduceError, match="Choose what a feature is"):
                reduce.pca(actlens.open(path)["conv"])
        assert files(path) == []

    def test_of_tokens_and_averages(self, tmp_path):
        h = ragged(tmp_path / "run")
        for layer in (h.tokens, h.tokens):
            z = reduce.pca(layer, n_components=1)
            assert z.points.shape == (16, 1)
            assert z.columns["position"].tolist()[:3] == [0, 1, 2]
        assert len(files(tmp_path / "run")) == 1


class TestListing:
    def test_it_lists(self, path):
        run = actlens.open(path)
        assert run.derived() == ()
        reduce.pca(run["fc"], n_components=3)
        (one,) = run.derived()
        assert (one.kind, one.layers, one.current, one.problem, one.state) == (
            "embedding",
            ("fc",),
            True,
            "",
            "current",
        )
        assert one.summary == "method=pca, n_components=3, whiten=False, svd_solver=auto, …"
        assert one.bytes == (path / one.file).stat().st_size
        shorter = run.take([0, 1, 2])
        assert shorter.derived() == run.derived()

    def test_what_is_none_of_them(self, path, tmp_path):
        run = actlens.open(path)
        reduce.pca(run["fc"])
        file = only(path)
        (path / "derived/notes.txt").write_text("mine")
        (path / "derived/.tmp-0").write_text("")
        (path / f"derived/stats-{'0' * 32}.safetensors").symlink_to(file)
        (path / f"derived/stats-{'1' * 32}.safetensors").mkdir()
        (path / f"derived/stats-{'2' * 32}.safetensors").write_bytes(file.read_bytes())
        (path / f"derived/STATS-{'2' * 32}.safetensors").write_bytes(file.read_bytes())
        found = [one.problem for one in run.derived()]
        assert found[0] == ""
        assert found[1:] == [
            "damaged: it is a symbolic link, not a file",
            "damaged: it is a folder, a FIFO or a device, not a file",
            "damaged: it was renamed",
        ]

    def test_a_file_that_does_not_say_what_it_is_of(self, path):
        (path / "derived").mkdir()
        for number, about in enumerate([{}, {"derived": []}, {"derived": {"key": 3}}]):
            write_bundle(path / f"derived/stats-{number:032}.safetensors", "stats", about, {})
        for one in actlens.open(path).derived():
            assert one.problem.startswith("damaged: it does not say what it is of")
            assert (one.kind, one.state) == ("stats", one.problem)


class TestTheRecordingIsLeftAlone:
    def test_opening_resuming_and_ranks(self, path):
        reduce.pca(actlens.open(path)["fc"])
        (path / "manifest.json").unlink()
        assert actlens.open(path).rows == 24
        with actlens.Recorder(path, resume=True, durability="rename") as rec:
            rec.write({"fc": np.ones((1, 5)), "conv": np.zeros((1, 2, 3))}, id=["new"], label=[0])
        run = actlens.open(path)
        assert (run.rows, run.info["sealed"]) == (25, True)
        assert len(files(path)) == 1

    def test_a_new_recording_where_only_results_are_left(self, path):
        reduce.pca(actlens.open(path)["fc"])
        shutil.rmtree(path / "shards")
        (path / "manifest.json").unlink()
        record(path)
        run = actlens.open(path)
        assert [one.current for one in run.derived()] == [False]
        assert run.verify().ok

    def test_somebody_elses_folder_of_that_name(self, tmp_path):
        (tmp_path / "run/derived").mkdir(parents=True)
        (tmp_path / "run/derived/thesis.tex").write_text("mine")
        with pytest.raises(actlens.errors.RecordingExists, match="it holds derived"):
            record(tmp_path / "run")
