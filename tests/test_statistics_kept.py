"""Statistics in files, and beside the recording that they are of: the same to the bit, or an error."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from fake_layer import FakeLayer
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.errors import DerivedWarning, StatisticsError
from actlens.format.bundle import Bundle, write_bundle
from actlens.format.bundle_reader import read_bundle
from actlens.statistics import Stats, measuring
from actlens.statistics.packing import packed, unpacked

NOT_STATE = {"_least", "_waiting", "_pending"}  # of TopSamples: what only rows that are still to come need


def parts(thing):
    """The fields of an object of ours, by name; None for anything else."""
    if not type(thing).__module__.startswith("actlens"):
        return None
    if dataclasses.is_dataclass(thing):
        return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    return {name: value for name, value in vars(thing).items() if name not in NOT_STATE}


def identical(a, b, where=""):
    """Two objects, whatever is in them: of the same types, and equal to the bit."""
    if isinstance(a, Stats):
        assert list(a) == list(b), where
        assert a._columns == b._columns, where
        assert [(type(value), value) for value in a.groups] == [(type(value), value) for value in b.groups]
        for name in a:
            identical(a[name].name, b[name].name, where)
            identical(a[name].row, b[name].row, where)
            identical(a[name]._state, b[name]._state, f"{where}/{name}")
        for mine, other in zip(a.groups.values(), b.groups.values(), strict=True):
            identical(mine, other, f"{where}/group")
    elif isinstance(a, np.ndarray):
        assert (a.shape, a.dtype.kind) == (b.shape, b.dtype.kind), where
        if a.dtype.kind in "UTO":
            assert a.tolist() == b.tolist(), where
        else:
            assert a.dtype == b.dtype, where
            assert a.tobytes() == b.tobytes(), where
    elif isinstance(a, (list, tuple)):
        assert (type(a), len(a)) == (type(b), len(b)), where
        for number, (mine, other) in enumerate(zip(a, b, strict=True)):
            identical(mine, other, f"{where}[{number}]")
    elif (mine := parts(a)) is not None:
        assert type(a) is type(b), where
        for name, value in mine.items():
            identical(value, parts(b)[name], f"{where}.{name}")
    else:
        assert float(a).hex() == float(b).hex() if isinstance(a, float) else a == b, where


def figures(stats):
    """All that a person reads of it."""
    layers = [layer for some in (stats, *stats.groups.values()) for layer in some.values()]
    return (
        str(stats),
        repr(stats),
        stats.to_pandas().to_dict("list"),
        [(layer.quantile([0, 0.1, 0.5, 1]).tolist(), layer.effective_rank) for layer in layers],
        [(layer.top_ids.tolist(), layer.top_values.tolist(), layer.bad_ids.tolist()) for layer in layers],
        [layer.correlated() for layer in layers if layer.rank_every],
        [(layer.class_means.tolist(), layer.classes.tolist()) for layer in layers if layer.labelled],
        [layer.histogram()[1].tolist() for layer in layers],
    )


def values_of(rng, dtype, shape):
    x = np.round(rng.normal(size=shape) * 2, 1)
    if np.dtype(dtype).kind in "fV":
        x[rng.random(shape) < 0.05] = -0.0
        x[rng.random(shape) < 0.03] = np.nan
        x[rng.random(shape) < 0.02] = -np.inf
    with np.errstate(invalid="ignore"):
        return np.abs(x).astype(dtype) if np.dtype(dtype).kind in "bu" else x.astype(dtype)


KEYS = st.sampled_from(
    [
        None,
        np.array([7, -3, 2**62]),
        np.array([2**64 - 1, 0, 5], "u8"),
        np.array(["é", "", "1"]),
        np.array([0.1, -np.inf, -0.0]),
        np.array([0.1, 2, 3], "f4"),
        np.array([True, False, True]),
    ]
)
DTYPES = st.sampled_from(["f4", "f8", "f2", ml_dtypes.bfloat16, "i1", "u8", "?"])
SHAPES = st.sampled_from([(), (1,), (4,), (2, 3), (20,)])


@st.composite
def arguments(draw):
    """The arguments of two calls, of other rows of the same layers."""
    names = draw(st.lists(st.sampled_from(["fc", "a/b[0]", "ü\n", ""]), min_size=1, max_size=2, unique=True))
    about = [(draw(DTYPES), draw(SHAPES)) for _ in names]
    keys, classes, text = draw(KEYS), draw(KEYS), draw(st.booleans())
    options = {"top": draw(st.integers(0, 4)), "correlation": draw(st.booleans())}
    options["bounds"] = draw(st.sampled_from([[], [(None, 2.5)], [(-1, 1), (0, np.inf)]]))
    options["every"] = draw(st.sampled_from([None, 3]))
    calls = []
    for rows in draw(st.tuples(st.integers(1, 40), st.integers(1, 40))):
        rng = np.random.default_rng(draw(st.integers(0, 10**6)))
        ids = np.array([f"é{i}" for i in range(rows)]) if text else np.arange(rows) * 2**40
        layers = {
            name: FakeLayer.of(
                values_of(rng, dtype, (rows, *shape)),
                ids=ids,
                axes=("sample", *(f"axis {i}" for i in range(len(shape)))),
            )
            for name, (dtype, shape) in zip(names, about, strict=True)
        }
        chosen = {"by": keys, "labels": classes}
        chosen = {
            what: None if some is None else some[rng.integers(0, 3, rows)] for what, some in chosen.items()
        }
        calls.append((layers, options | chosen))
    return calls


def round_trip(folder, calls):
    """Save and load what two calls give; merge what was loaded; save and load that, and merge again."""
    saved = [actlens.stats(layers, **options) for layers, options in calls]
    loaded = []
    for number, stats in enumerate(saved):
        stats.save(folder / str(number))
        loaded.append(Stats.load(folder / str(number)))
        identical(loaded[-1], stats)
    assert repr(figures(loaded[0])) == repr(figures(saved[0]))
    merged = loaded[0].merge(loaded[1])
    identical(merged, saved[0].merge(saved[1]))
    merged.save(folder / "merged")
    again = Stats.load(folder / "merged")
    identical(again, merged)
    identical(again.merge(loaded[0]), merged.merge(saved[0]))


@pytest.mark.slow
@given(arguments())
def test_round_trip_to_the_bit(tmp_path_factory, calls):
    round_trip(tmp_path_factory.mktemp("s"), calls)


@pytest.mark.parametrize("correlation", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_round_trip_of_all_at_once(tmp_path, rng, correlation, text):
    calls = []
    for rows in (40, 23):
        ids = np.array([f"é{i}" for i in range(rows)]) if text else np.arange(rows) * 2**40
        layers = {
            str(dtype): FakeLayer.of(values_of(rng, dtype, (rows, 6)), ids=ids)
            for dtype in ("f4", "f8", ml_dtypes.bfloat16, "u1")
        }
        axes = ("sample", "channel", "height")  # whose sample of rows has one position in three
        layers["conv"] = FakeLayer.of(values_of(rng, "f4", (rows, 3, 40)), ids=ids, axes=axes)
        columns = {"by": rng.normal(size=3)[rng.integers(0, 3, rows)], "labels": ids % 4 if not text else ids}
        calls.append((layers, {"correlation": correlation, "top": 3, **columns}))
    round_trip(tmp_path, calls)


def test_figures_after_loading_are_those_of_numpy(tmp_path, rng):
    x = rng.normal(size=(90, 5))
    labels = np.arange(90) % 3
    actlens.stats({"x": x}, labels=labels, by=labels, correlation=True).save(tmp_path / "s")
    layer = Stats.load(str(tmp_path / "s"))["x"]
    np.testing.assert_allclose(layer.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.variance, x.var(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(layer.top_ids, np.argsort(-x, axis=0, kind="stable")[:10].T)
    np.testing.assert_allclose(layer.class_means[1], x[1::3].mean(axis=0), rtol=1e-12)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    assert layer.effective_rank == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-9)


def test_texts_of_any_length(tmp_path):
    names = np.array(
        ["x" * 2_000_000, *map(str, range(40))]
    )  # what numpy would pad to 300 MB is held otherwise
    layer = FakeLayer.of(np.arange(41.0)[:, None], ids=names.astype(np.dtypes.StringDType()))
    stats = actlens.stats({"x": layer}, top=41)
    stats.save(tmp_path / "s")
    back = Stats.load(tmp_path / "s")
    assert back["x"].top_ids.tolist() == stats["x"].top_ids.tolist()
    assert back.merge(back)["x"].top_ids.tolist() == stats.merge(stats)["x"].top_ids.tolist()


def test_classes_of_any_length(tmp_path):
    for number, letter in enumerate("xy"):
        labels = np.array([letter * 1_000_000, *map(str, range(40))])
        stats = actlens.stats({"x": np.arange(41.0)[:, None]}, labels=labels)
        stats.save(tmp_path / f"{number}")
    x, y = (Stats.load(tmp_path / name) for name in "01")
    both = Stats({"x": x["x"], "y": y["x"]})
    both.save(tmp_path / "both")
    back = Stats.load(tmp_path / "both")
    for layer, letter in zip(back.values(), "xy", strict=True):
        assert layer.classes.tolist() == [*sorted(map(str, range(40))), letter * 1_000_000]
        assert layer.best_class.tolist() == ["39"]
    merged = back.merge(back)["y"]
    np.testing.assert_array_equal(merged.class_means, stats.merge(stats)["x"].class_means)


def test_layers_of_many_groups_are_few_arrays_and_share_their_samples(tmp_path, rng):
    stats = actlens.stats({str(i): rng.normal(size=(400, 3)) for i in range(2)}, by=np.arange(400) // 4)
    stats.save(tmp_path / "s")
    assert len(read_bundle(tmp_path / "s", "stats").arrays) < 80
    back = Stats.load(tmp_path / "s")
    identical(back, stats)
    assert back["0"]._state.sample.pieces[7] is back.groups[7]["0"]._state.sample.pieces[0]


class TestFile:
    @pytest.fixture
    def stats(self):
        return actlens.stats({"x": np.array([[1.0, 2], [0, np.nan]])}, by=["a", "b"], labels=[1, 2], top=1)

    @pytest.mark.slow
    def test_any_byte_that_is_another(self, tmp_path, stats):
        path = tmp_path / "s"
        stats.save(path)
        whole = bytearray(path.read_bytes())
        for at in range(len(whole)):
            whole[at] ^= 0x10
            path.write_bytes(whole)
            with pytest.raises(StatisticsError, match="s is not saved statistics: |of format"):
                Stats.load(path)
            whole[at] ^= 0x10
        path.write_bytes(whole)
        identical(Stats.load(path), stats)

    def test_any_byte_of_some_and_any_end(self, tmp_path, stats):
        path = tmp_path / "s"
        stats.save(path)
        whole = path.read_bytes()
        for at in range(0, len(whole), 61):
            for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
                path.write_bytes(damaged)
                with pytest.raises(StatisticsError, match="s is not saved statistics: "):
                    Stats.load(path)

    def test_other_files(self, tmp_path, stats):
        path = tmp_path / "s"
        with pytest.raises(StatisticsError, match="s is not saved statistics: there is no such file"):
            Stats.load(path)
        path.write_bytes(b"no safetensors")
        with pytest.raises(StatisticsError, match="s is not saved statistics: it is no file of results"):
            Stats.load(path)
        with pytest.raises(StatisticsError, match="is not saved statistics: it is a folder"):
            Stats.load(tmp_path)
        actlens.reduce.pca(np.eye(4)).save(path)
        with pytest.raises(
            StatisticsError, match="holds 'embedding', not 'stats': give the file that was meant"
        ):
            Stats.load(path)
        stats.save(path)
        (tmp_path / "link").symlink_to(path)
        identical(Stats.load(tmp_path / "link"), stats)

    def test_a_later_format(self, tmp_path, stats):
        about, arrays = packed(stats)
        write_bundle(tmp_path / "s", "stats", about | {"format": 3}, arrays)
        with pytest.raises(
            StatisticsError, match=r"s has statistics of format 3; this actlens reads 2. Upgrade: pip install"
        ):
            Stats.load(tmp_path / "s")

    def test_paths_that_cannot_be_written(self, tmp_path, stats):
        for path, message in [
            (
                tmp_path / "no" / "s",
                r"cannot be saved to '.*/no/s': there is no folder '.*/no': make it first",
            ),
            (tmp_path, "it is a folder: give the name of a file in it"),
            (tmp_path / ("n" * 300), "n': file name too long"),
            (None, r"Stats.save takes the path of a file, a str or pathlib.Path; got NoneType"),
            ("", "got ''"),
        ]:
            with pytest.raises(StatisticsError, match=message) as caught:
                stats.save(path)
            assert ".part" not in str(caught.value)
        assert not os.listdir(tmp_path)
        with pytest.raises(StatisticsError, match="Stats.load takes the path of a file"):
            Stats.load(3)

    def test_a_full_disk_leaves_the_old_file(self, tmp_path, stats, monkeypatch):
        stats.save(tmp_path / "s")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            stats.merge(stats).save(tmp_path / "s")
        assert os.listdir(tmp_path) == ["s"]
        identical(Stats.load(tmp_path / "s"), stats)

    def test_what_no_file_holds(self, tmp_path):
        odd = FakeLayer.of(np.eye(2), ids=np.array([1, None], object))
        with pytest.raises(StatisticsError, match="ids of dtype object; integers, floats up to 64 bits"):
            actlens.stats({"x": odd}).save(tmp_path / "s")
        with pytest.raises(
            StatisticsError, match="have a group .* of type longdouble; bool, int, float and str"
        ):
            actlens.stats({"x": np.eye(2)}, by=np.array([1, 2], np.longdouble)).save(tmp_path / "s")
        with pytest.raises(
            StatisticsError, match="cannot be saved to .*: array 'labels:0' has dtype longdouble|float128"
        ):
            actlens.stats({"x": np.eye(2)}, labels=np.array([1, 2], np.longdouble)).save(tmp_path / "s")
        with pytest.raises(StatisticsError, match="cannot be saved to .*: the metadata of a bundle must be"):
            actlens.stats({"\ud800": np.eye(2)}).save(tmp_path / "s")
        assert not os.listdir(tmp_path)


def hostile_metadata():
    plan = {"count": [0, -1, 3, 1 << 60, "2", True], "before": [0, 2, 1 << 48], "after": [1.5, 1 << 48]}
    plan |= {"axes": [[], ["a", "b"], [1], "ab", ["a"] * 70], "sizes": [[3], [2, 2], [], [-2]]}
    plan |= {"dtype": ["int8", "object", None], "precise": ["V2"], "tolerance": [0.5, -1, "0"]}
    plan |= {"top": [-1, 0, 0.5], "every": [0, 1 << 62], "sampling": [[1], [1, 0], [-1, 1], None]}
    plan |= {"bounds": [[[1, 1]], [[None, None]], [[2, 1], [0, 1], [0, 1]], [[0]], 3], "row": [None, 3]}
    for name, values in plan.items():
        for value in values:
            yield (
                f"{name}={str(value)[:20]}",
                lambda about, _, n=name, v=value: about["plans"][0].update({n: v}),
            )
    whole = {"format": [0, True, "1", None, []], "layers": [[], ["x", "x"], ["x", "y"], [3], "x", {}]}
    whole |= {"plans": [[], {}, [[]], [{}], None], "labels": [0, 2, -1, 1 << 62, "1"]}
    for name, values in whole.items():
        for value in values:
            yield f"{name}={value}", lambda about, _, n=name, v=value: about.update({n: v})
        yield f"no {name}", lambda about, _, n=name: about.pop(n)
    yield "more", lambda about, _: about.update(more=1)
    yield "more in a plan", lambda about, _: about["plans"][0].update(more=1)


def hostile_arrays():
    def put(name, at, value):
        def change(_, arrays):
            if np.array_equal(arrays[name][at], value):
                raise IndexError(at)
            arrays[name] = arrays[name].copy()
            arrays[name][at] = value

        return f"{name}[{at}]={value}", change

    for name in sorted(an_example()[1].keys() | an_example(correlation=True)[1].keys()):
        yield f"no {name}", lambda _, arrays, n=name: arrays.pop(n)
        yield (
            f"longer {name}",
            lambda _, arrays, n=name: arrays.update({n: np.append(arrays[n], arrays[n][-1:])}),
        )
        yield f"shorter {name}", lambda _, arrays, n=name: arrays.update({n: arrays[n][:-1]})
        yield f"flat {name}", lambda _, arrays, n=name: arrays.update({n: arrays[n][:, None]})
        yield f"complex {name}", lambda _, arrays, n=name: arrays.update({n: np.zeros(len(arrays[n]), "c8")})
    yield "more", lambda _, arrays: arrays.update(more=np.zeros(3))
    huge = 1 << 62
    for name in ("group", "layer", "plan", "shift", "labels", "classes"):
        yield from (put(f"state.{name}", 0, value) for value in (-2, 7, huge, -huge))
        yield from (put(f"state.{name}", 1, value) for value in (-2, 7))
    for name in ("state.rows", "state.bad_rows", "powers.count", "unit.zeros", "unit.nan", "unit.infinite"):
        yield from (put(name, 0, value) for value in (-1, 1000, huge))
    for name in (
        "top.size",
        "bad.size",
        "norms.histogram.used",
        "histogram.used",
        "sample.size",
        "piece.rows",
    ):
        yield from (put(name, 0, value) for value in (-1, 1000, huge, -huge))
    for name in ("piece.units", "shift.units", "bounds.near", "bounds.at_extremes", "norms.count"):
        yield from (put(name, 0, value) for value in (-1, 1000, huge))
    for name in ("classes.columns", "classes.count", "top.unit", "top.row", "bad.kind", "top.kind"):
        yield from (put(name, 0, value) for value in (-2, -huge))
    yield from (put(name, 0, huge) for name in ("classes.columns", "classes.count", "top.unit", "bad.kind"))
    yield from (put("unit.low", 0, value) for value in (99.0, np.nan, -np.inf))
    yield from (
        put(name, 0, np.nan) for name in ("unit.high", "top.value", "bounds.extremes", "norms.extremes")
    )
    yield from (put("sample.pieces", 0, value) for value in (-1, 99))
    yield from (
        put(name, 0, -1) for name in ("sample.every", "sample.positions", "spread.count", "spread.every")
    )
    yield put("histogram.bins", 0, 0x7FFF)
    yield put("histogram.bins", 1, 0)
    yield from (put("histogram.counts", 0, value) for value in (0, -1, huge))
    yield put("histogram.counts", slice(None), 1 << 60)
    yield put("top.value", 1, 1e9)
    yield put("piece.wide", 0, value=False)
    yield put("spread.known", 0, value=False)
    yield put("bounds.kept", 0, value=False)
    yield put("group.kind", 0, 9)
    yield from (put("group.kind", slice(None), kind) for kind in (0, 1))
    yield (
        "no number",
        lambda _, arrays: arrays.update(
            {"group.text": np.array(["x y", "0x1p0"]), "group.kind": np.array([2, 2], "u1")}
        ),
    )
    yield (
        "no finite number",
        lambda _, arrays: arrays.update(
            {"group.text": np.array(["0x1p99999", "0x1p0"]), "group.kind": np.array([2, 2], "u1")}
        ),
    )
    yield put("group.text", 0, "b")
    yield (
        "NaN",
        lambda _, arrays: arrays.update(
            {"group.text": np.array(["nan", "0x1p0"]), "group.kind": np.array([2, 2], "u1")}
        ),
    )
    yield put("labels:0", 0, 9)
    yield "NaN as a class", lambda _, arrays: arrays.update({"labels:0": np.array([0, np.nan])})
    yield "one class, of NaN", lambda _, arrays: arrays.update({"labels:0": np.array([np.nan])})
    yield "axes of classes", lambda _, arrays: arrays.update({"labels:0": np.eye(2)})
    yield "classes of complex", lambda _, arrays: arrays.update({"labels:0": np.array([1, 2j], "c8")})


def an_example(*, correlation=False):
    about, arrays = _packed_example(correlation)
    return copy.deepcopy(about), dict(arrays)


@functools.cache
def _packed_example(correlation):
    x = np.random.default_rng(0).normal(size=(8, 2))
    x[3, 1] = np.nan
    about, arrays = packed(
        actlens.stats(
            {"x": FakeLayer.of(x, ids=np.array(list("abcdefgh")))},
            by=["a", "b"] * 4,
            labels=[1, 2] * 4,
            top=2,
            correlation=correlation,
            bounds=[(-99, 99)],
        )
    )
    return about, {name: array for name, array in arrays.items() if len(array)}


@pytest.mark.parametrize(
    "change",
    [pytest.param(change, id=name) for name, change in itertools.chain(hostile_metadata(), hostile_arrays())],
)
def test_hostile_files_are_refused(tmp_path, change):
    refused = 0
    for correlation in (False, True):  # one has a sample of rows, the other a shift and a covariance
        about, arrays = an_example(correlation=correlation)
        try:
            change(about, arrays)
        except (KeyError, IndexError):  # it has no such array
            continue
        refused += 1
        write_bundle(tmp_path / "s", "stats", about, arrays)
        with pytest.raises(StatisticsError, match="s is not saved statistics: .{8}"):
            Stats.load(tmp_path / "s")
    assert refused


def test_more_states_than_memory_holds(monkeypatch):
    about, arrays = an_example()
    monkeypatch.setattr(os, "sysconf", lambda _: 1024)
    with pytest.raises(StatisticsError, match="its 3 states take more memory than this machine has"):
        unpacked(Bundle(about, arrays), "s")


def test_metadata_that_is_no_object():
    with pytest.raises(
        StatisticsError, match="s is not saved statistics: its metadata is not an object with a"
    ):
        unpacked(Bundle([], {}), "s")


def record(path, *, rows=24, label=None, seed=0, **options):
    rng = np.random.default_rng(seed)
    with actlens.Recorder(path, durability="rename", **options) as rec:
        rec.write(
            {"fc": rng.normal(size=(rows, 5)), "conv": rng.normal(size=(rows, 2, 3))},
            id=[f"é{i}" for i in range(rows)],
            label=np.arange(rows) % 3 if label is None else label,
        )
    return path


def ragged(path):
    with actlens.Recorder(path, durability="rename") as rec:
        rec.write({"h": np.arange(96.0).reshape(8, 3, 4)}, lengths=[3, 1, 2, 3, 3, 0, 1, 3])
    return actlens.open(path)


def files(path):
    return sorted(os.listdir(path / "derived")) if (path / "derived").exists() else []


class TestBesideTheRecording:
    @pytest.fixture
    def path(self, tmp_path):
        return record(tmp_path / "run")

    @pytest.fixture
    def computed(self, monkeypatch):
        """How often statistics were computed."""
        calls = []
        real = measuring._computed
        monkeypatch.setattr(measuring, "_computed", lambda *given: calls.append(1) or real(*given))
        return calls

    def test_the_second_time_it_is_read(self, path, computed):
        first = actlens.stats(actlens.open(path), by="label", labels="label", correlation=True)
        again = actlens.stats(actlens.open(path), by="label", labels="label", correlation=True)
        assert len(computed) == len(files(path)) == 1
        identical(again, first)
        plain = actlens.stats(actlens.open(path), by="label", labels="label", correlation=True, cache=False)
        identical(again, plain)
        assert len(computed) == 2

    def test_what_says_the_same_is_the_same(self, path, computed):
        run, x = actlens.open(path), np.arange(24) % 2
        actlens.stats(run, by=x, bounds=[(0, np.inf)], tolerance=0, top=np.array([3]).tolist()[0])
        actlens.stats(run, ["conv", "fc"], by=x.tolist(), bounds=[(0.0, None)], tolerance=0.0, top=3)
        with ThreadPoolExecutor(2) as pool:
            actlens.stats(dict(run), by=x, bounds=[(0.0, None)], tolerance=0.0, top=3, executor=pool)
        two = {"fc": run["fc"], "conv": actlens.open(path)["conv"]}
        actlens.stats(two, by=x, bounds=[(0.0, None)], tolerance=0.0, top=3)
        assert len(computed) == len(files(path)) == 1

    def test_whatever_changes_the_numbers_is_computed(self, path, computed):
        run, x = actlens.open(path), np.arange(24) % 2
        fc = run["fc"]
        calls = [
            (run, {}), (run, {"by": "label"}), (run, {"labels": "label"}), (run, {"by": x}),
            (run, {"by": 1 - x}), (run, {"labels": x}), (run, {"by": x.astype(str)}),
            (run, {"by": x.astype(bool)}), (run, {"layers": "fc"}), (run, {"unit": "value"}),
            (run, {"top": 3}), (run, {"correlation": True}), (run, {"bounds": []}),
            (run, {"tolerance": 0.1}), (run, {"every": 2}), (run.take([1, 0]), {}),
            ({"fc": fc}, {"top": 9}), ({"of another name": fc}, {"top": 9}), ({"fc": fc.take([1])}, {}),
            ({"a": fc, "b": fc}, {}), ({"conv": run["conv"].flatten()}, {}),
            ({"conv": run["conv"].mean(run["conv"].axes[1])}, {}),
        ]  # fmt: skip
        found = [actlens.stats(layers, **options) for layers, options in calls]
        assert len(computed) == len(files(path)) == len(calls)
        for (layers, options), first in zip(calls, found, strict=True):
            identical(actlens.stats(layers, **options), first)
        assert len(computed) == len(calls)

    def test_tokens_and_their_samples_are_not_the_same(self, tmp_path, computed):
        run = ragged(tmp_path / "run")
        h = run["h"]
        for _ in range(2):
            samples, tokens = actlens.stats(run), actlens.stats({"h": h.tokens})
            some, averages = actlens.stats(run.take([3, 0])), actlens.stats({"h": h.mean()})
        assert len(computed) == 4
        assert (samples["h"].row, tokens["h"].row) == (h.axes[1], "sample")
        assert (samples["h"].rows, some["h"].rows) == (16, 6)
        assert averages["h"].rows == 8

    def test_columns_are_covered_by_the_layers(self, tmp_path, computed):
        one, other = (record(tmp_path / name, label=np.arange(24) % k) for name, k in (("a", 2), ("b", 4)))
        actlens.stats(actlens.open(one), by="label")
        os.makedirs(other / "derived")
        for name in files(one):
            (other / "derived" / name).write_bytes((one / "derived" / name).read_bytes())
        assert list(actlens.stats(actlens.open(other), by="label").groups) == [0, 1, 2, 3]
        assert (len(computed), len(files(other))) == (2, 2)

    def test_one_more_shard(self, tmp_path, computed):
        path = tmp_path / "run"
        rng = np.random.default_rng(0)
        with actlens.Recorder(path, durability="rename") as rec:
            rec.write({"fc": rng.normal(size=(5, 2))}, id=np.arange(5))
            rec.flush()
            assert actlens.stats(actlens.open(path))["fc"].rows == 5
            rec.write({"fc": rng.normal(size=(5, 2))}, id=np.arange(5, 10))
        assert actlens.stats(actlens.open(path))["fc"].rows == 10
        assert [one.state for one in sorted(actlens.open(path).derived(), key=lambda one: one.state)] == [
            "current",
            "stale",
        ]
        assert len(computed) == 2

    def test_where_nothing_is_kept(self, path, computed, rng):
        run = actlens.open(path)
        for layers, options in [
            (run, {"cache": False}),
            (run, {"layers": lambda name: name == "fc"}),
            ({"fc": run["fc"], "x": rng.normal(size=(24, 2))}, {}),
            ({"fc": run["fc"], "x": FakeLayer.of(rng.normal(size=(24, 2)))}, {}),
            ({"x": rng.normal(size=(24, 2)), "fc": run["fc"]}, {}),
            ({"fc": run["fc"], "other": actlens.open(record(path.parent / "2", seed=1))["fc"]}, {}),
            (actlens.open(path, verify="none"), {}),
        ]:
            actlens.stats(layers, **options)
        assert files(path) == []
        assert len(computed) == 7

    def test_errors_are_the_same_and_leave_nothing(self, path):
        run = actlens.open(path)
        for _ in range(2):
            with pytest.raises(StatisticsError, match="there is no such column"):
                actlens.stats(run, by="epoch")
            with pytest.raises(StatisticsError, match="takes numbers, booleans or text; got dtype object"):
                actlens.stats(run, labels=np.array([None] * 24))
            with pytest.raises(StatisticsError, match="unit='height'"):
                actlens.stats(run, unit="height")
        assert files(path) == []

    def test_it_is_listed(self, path):
        run = actlens.open(path)
        actlens.stats(run, by="label")
        (one,) = run.derived()
        assert (one.kind, one.layers, one.state) == ("stats", ("fc", "conv"), "current")
        assert one.summary.startswith("by=label, top=10, correlation=False, bounds=")

    def test_a_damaged_file_is_computed_again_and_replaced(self, path, computed):
        run = actlens.open(path)
        first = actlens.stats(run)
        file = path / "derived" / files(path)[0]
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.warns(
            DerivedWarning, match="cannot be used: the data of .* does not match its digest"
        ) as said:
            identical(actlens.stats(run), first)
        assert said[0].filename == __file__
        identical(actlens.stats(run), first)
        assert len(computed) == 2

    def test_a_whole_file_of_something_else(self, path, computed):
        run = actlens.open(path)
        first = actlens.stats(run)
        file = path / "derived" / files(path)[0]
        bundle = read_bundle(file, "stats")
        bundle.about["result"]["plans"][0]["count"] = 3
        write_bundle(file, "stats", bundle.about, bundle.arrays)
        with pytest.warns(
            DerivedWarning, match="the file is not saved statistics: its 3 units are not those of"
        ):
            identical(actlens.stats(run), first)
        assert len(computed) == 2

    def test_what_cannot_be_kept_is_given_and_said(self, path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.warns(DerivedWarning, match="could not be kept as .*: no space left on device"):
            assert actlens.stats(actlens.open(path))["fc"].rows == 24
        assert files(path) == []
