"""Recorder: what may be written, what is refused, and that a refused batch leaves everything as it was."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import actlens
from actlens.activations import Activations
from actlens.errors import ArgumentError, ColumnError, IdError, RecordingError, RecordingExists, RowsError
from actlens.recorder import Recorder


@pytest.fixture
def rec(tmp_path):
    with Recorder(tmp_path / "r", durability="rename") as rec:
        rec.write({"a": np.zeros((2, 3), "f4")}, id=[0, 1], label=[5, 6])
        yield rec
    run = actlens.open(tmp_path / "r")  # a refused batch left nothing behind
    assert run.rows == 2
    assert run.ids.tolist() == [0, 1]


A = {"a": np.ones((2, 3), "f4")}


@pytest.mark.parametrize(
    ("acts", "kwargs", "error", "text"),
    [
        ([1], {}, RowsError, "write.. got a list; it takes a dict layer → array"),
        ({}, {}, RowsError, "write.. got a dict; it takes a dict"),
        ({"a": 3}, {}, RowsError, "layer 'a' is a int; it takes an array with at least one axis"),
        ({"a": np.float32(3)}, {}, RowsError, "layer 'a' is a float32; it takes an array with at least one"),
        ({"": np.zeros(2)}, {}, RowsError, "'' cannot be the name of a layer or column"),
        ({"a\0": np.zeros(2)}, {}, RowsError, "cannot be the name of a layer or column: names are text"),
        ({"\ud800": np.zeros(2)}, {}, RowsError, "cannot be the name of a layer or column"),
        (
            {"a": np.zeros((2, 3)), "b": np.zeros((4, 3))},
            {},
            RowsError,
            "different numbers of rows: a 2, b 4",
        ),
        (
            {"a": np.zeros((2, 3), object)},
            {"id": [3, 4], "label": 0},
            RowsError,
            "layer 'a' has dtype object, which cannot be stored",
        ),
        (A, {"id": [3]}, IdError, "1 ids for 2 rows. Give one id for each row"),
        (A, {"id": [3, 3]}, IdError, "id 3 stands twice in this recording. To record the same samples again"),
        (A, {"id": [1, 3]}, IdError, "id 1 stands twice in this recording"),
        (A, {"id": [1.0, np.nan]}, IdError, "the id of row 1 is NaN. An id is an integer or a text"),
        (A, {"id": [1.5, 2.5]}, IdError, "ids are of the kind float64; an id is an integer"),
        (A, {"id": [True, False]}, IdError, "ids are of the kind bool"),
        (A, {"id": [[3], [4]]}, IdError, "ids are an array of shape .2, 1."),
        (A, {"id": [[3], [4, 5]]}, IdError, "ids are not a flat list"),
        (A, {"id": [3, "x"]}, IdError, "ids are a mixture of text and numbers"),
        (A, {"id": ["x", "y\0"]}, IdError, "ids are texts with NUL"),
        (A, {"id": [None, 1]}, IdError, "ids are of the kind object"),
        (A, {"id": np.array([1, 2**63], np.uint64)}, IdError, "ids are of the kind uint64"),
        (A, {"id": [1, 2**70]}, IdError, "ids are (of the kind object|not a flat list)"),
        (A, {}, IdError, "ids were given for some batches and not for others"),
        (A, {"id": [3, 4], "label": [1, 2, 3]}, ColumnError, "column 'label' has 3 values for 2 rows"),
        (
            A,
            {"id": [3, 4], "label": [[1, 2], [3, 4]]},
            ColumnError,
            "column 'label' holds an array of shape .2, 2.",
        ),
        (
            A,
            {"id": [3, 4], "label": [None, 1]},
            ColumnError,
            "column 'label' holds values of the kind object",
        ),
        (
            A,
            {"id": [3, 4], "label": [[1], [2, 3]]},
            ColumnError,
            "column 'label' holds rows of different lengths",
        ),
        (
            A,
            {"id": [3, 4], "label": ["a", 1]},
            ColumnError,
            "column 'label' holds a mixture of text and other",
        ),
        (A, {"id": [3, 4], "label": ["a", "b\0"]}, ColumnError, "not valid Unicode or holds NUL"),
        (A, {"id": [3, 4], "label": "\ud800"}, ColumnError, "not valid Unicode or holds NUL"),
        (A, {"id": [3, 4], "label": np.zeros(2, "M8[s]")}, ColumnError, "values of the kind datetime64"),
        (
            A,
            {"id": [3, 4], "label": [0.5, 1]},
            RecordingError,
            "column 'label' was I64 in the rows .* is F64 now",
        ),
        (A, {"id": [3, 4], "label": ["x", "y"]}, RecordingError, "column 'label' was I64 .* is STRING now"),
        (A, {"id": [3, 4]}, RecordingError, r"the set of columns was \(id, label\) .* is \(id\) now"),
        (
            {"b": A["a"]},
            {"id": [3, 4], "label": 0},
            RecordingError,
            r"the set of layers was \(a\) .* is \(b\) now",
        ),
        (
            {"a": np.ones((2, 4), "f4")},
            {"id": [3, 4], "label": 0},
            RecordingError,
            r"a row of layer 'a' was F32 of shape \(3,\) .* is F32 of shape \(4,\) now. All batches",
        ),
        (
            {"a": np.ones((2, 3))},
            {"id": [3, 4], "label": 0},
            RecordingError,
            "was F32 .* is F64 of shape .3,. now",
        ),
        (
            Activations({"a": np.ones((2, 3), "f4")}, {"a": ("time", "sample")}),
            {"id": [3, 4], "label": 0},
            RowsError,
            r"layer 'a' has the axes \(time, sample\), and rows \(samples\) must come first",
        ),
        (
            Activations({"a": np.ones((2, 3), "f4")}, {"a": ("sample", "unit")}),
            {"id": [3, 4], "label": 0},
            RecordingError,
            r"the axes of layer 'a' was \(sample, axis1\) .* is \(sample, unit\) now",
        ),
    ],
)
def test_a_refused_batch_says_why_and_changes_nothing(rec, acts, kwargs, error, text):
    with pytest.raises(error, match=text):
        rec.write(acts, **kwargs)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sample": 0}, "sample= is 0; it takes a fraction above 0 up to 1"),
        ({"sample": 1.5}, "sample= is 1.5; it takes a fraction"),
        ({"sample": float("nan")}, "sample= is nan; it takes a fraction"),
        ({"sample": True}, "sample= is True; it takes a fraction"),
        ({"sample": "half"}, "sample= is 'half'; it takes a fraction"),
        ({"sample": None}, "sample= is None; it takes a fraction"),
        ({"seed": -1}, "seed= is -1; it takes a whole number of at least 0"),
        ({"dtype": "float31"}, "dtype= is 'float31'; it takes one of: 'float16', 'bfloat16'"),
        ({"dtype": "int8"}, "dtype= is 'int8'; it takes one of"),
        ({"shard_bytes": 0}, "shard_bytes= is 0; it takes a whole number of at least 1"),
        ({"rank": 1}, "rank= is 1, and ranks= is 1; where several processes write"),
        ({"ranks": 100_001}, "ranks= is 100001; it takes a whole number of at least 1, and at most 100000"),
        ({"seed": 1.5}, "seed= is 1.5; it takes a whole number"),
        ({"seed": None}, "seed= is None; it takes a whole number"),
        ({"seed": True}, "seed= is True; it takes a whole number"),
        ({"seed": 1 << 64}, "seed= is 18446744073709551616; it takes a whole"),
        ({"durability": "hope"}, "durability= is 'hope'; it takes one of: 'fsync', 'rename'"),
    ],
)
def test_options_that_cannot_be_used_touch_nothing(tmp_path, options, text):
    with pytest.raises(ArgumentError, match=text):
        Recorder(tmp_path / "r", **options)
    assert not os.listdir(tmp_path)


def test_a_path_that_is_taken_is_refused_and_nothing_is_touched(tmp_path, two_steps):
    path, _, _ = two_steps
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(
        RecordingExists, match="holds a recording already; nothing was touched. Choose another path"
    ):
        Recorder(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("x")
    with pytest.raises(RecordingExists, match="exists and is not a recording .it holds thesis.tex"):
        Recorder(tmp_path / "full")
    with pytest.raises(RecordingExists, match="exists and is not a recording .it holds a file"):
        Recorder(tmp_path / "full/thesis.tex")
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]


def test_a_second_recorder_while_the_first_is_open(tmp_path):
    with Recorder(tmp_path / "r", durability="rename") as rec:
        with pytest.raises(RecordingExists, match="holds a recording already"):
            Recorder(tmp_path / "r")
        rec.write(A)
    assert actlens.open(tmp_path / "r").rows == 2


def test_an_empty_folder_may_become_a_recording(tmp_path):
    (tmp_path / "r").mkdir()
    with Recorder(tmp_path / "r") as rec:
        rec.write(A)
    assert actlens.open(tmp_path / "r").rows == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_before_the_first_commit_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        with Recorder(tmp_path / "deep" / "r") as rec:
            rec.write(A)
            raise error
    assert not os.listdir(tmp_path)
    with Recorder(tmp_path / "deep" / "r") as rec:  # and the path is free
        rec.write(A)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_after_a_commit_loses_no_committed_row_and_seals_nothing(tmp_path, error):
    with pytest.raises(error):
        with Recorder(tmp_path / "r") as rec:
            rec.write(A)
            rec.flush()
            rec.write(A)
            raise error
    run = actlens.open(tmp_path / "r")
    assert (run.rows, run.info["sealed"]) == (2, False)
    assert "not sealed" in repr(run)


def test_nothing_recorded_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(RecordingError, match="would be empty: no row was written"):
        with Recorder(tmp_path / "r"):
            pass
    with pytest.raises(RecordingError, match="none of the 2 rows seen was kept by sample='2 given ids"):
        with Recorder(tmp_path / "r", sample=[7, 8]) as rec:
            rec.write(A)
    assert not os.listdir(tmp_path)


def test_write_after_close(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write(A)
    rec.close()  # twice is once
    for call in (lambda: rec.write(A), rec.flush):
        with pytest.raises(RecordingError, match="is closed. Open a new one with resume=True"):
            call()


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_a_recorder_that_is_never_closed_warns(tmp_path):
    rec = Recorder(tmp_path / "r")
    rec.write(A)
    with pytest.warns(ResourceWarning, match="was never closed: use it in a with block"):
        del rec
        gc.collect()


def test_the_batch_may_change_after_write(tmp_path):
    array, label = np.ones((2, 3), "f4"), np.array([1, 2])
    with Recorder(tmp_path / "r") as rec:
        rec.write({"a": array}, label=label)
        array[:] = 7
        label[:] = 7
    run = actlens.open(tmp_path / "r")
    assert (run["a"][:] == 1).all()
    assert run.columns["label"].tolist() == [1, 2]


def test_columns_of_every_kind(tmp_path):
    columns = {
        "whole": np.arange(3, dtype="i2"),
        "real": [0.5, -0.0, np.nan],
        "yes": [True, False, True],
        "text": ["", "ä€😀", "<script>alert(1)</script>"],
        "objects": np.array(["a", "b", "c"], object),
        "one": "same for all",
        "column": np.array([[1], [2], [3]]),
        "half": np.array([1, 2, 3], ml_dtypes.bfloat16),
        "self": 1,
        "acts": 2,
    }
    with Recorder(tmp_path / "r") as rec:
        rec.write({"a": np.zeros((3, 1))}, **columns)
    back = actlens.open(tmp_path / "r").columns
    assert list(back) == ["id", *columns]
    assert back["whole"].dtype == np.int16
    assert back["text"].tolist() == columns["text"]
    assert back["one"].tolist() == ["same for all"] * 3
    assert back["column"].tolist() == [1, 2, 3]
    assert np.array(back["real"]).tobytes() == np.array(columns["real"]).tobytes()
    assert back["half"].dtype == ml_dtypes.bfloat16


def test_the_same_samples_again_at_every_step(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        for step in range(3):
            rec.write(A, id=["x", "y"], step=step)
        with pytest.raises(
            IdError, match="id 'x' stands twice in step 2. Each sample is recorded once a step"
        ):
            rec.write(A, id=["z", "x"], step=2)
        rec.write(A, id=["z", "x"], step=[0, 3])  # steps may differ within a batch
    assert actlens.open(tmp_path / "r").sel(step=3).ids.tolist() == ["x"]


def test_a_fraction_keeps_the_ids_that_the_format_says(tmp_path):
    ids = np.arange(-500, 1500)
    with Recorder(tmp_path / "r", sample=0.1, seed=7) as rec:
        for at in range(0, 2000, 300):
            rec.write({"a": ids[at : at + 300, None].astype("f8")}, id=ids[at : at + 300])
    expected = [
        ident
        for ident in ids.tolist()
        if xxhash.xxh3_64_intdigest(ident.to_bytes(8, "little", signed=True), seed=7) < 0.1 * 2**64
    ]
    run = actlens.open(tmp_path / "r")
    assert 120 < len(expected) < 280
    assert run.ids.tolist() == expected
    assert run["a"][:, 0].tolist() == expected
    assert run.info["sample"] == "0.1"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), unique=True, min_size=1
    )
)
def test_text_ids_are_sampled_by_their_utf8(ids):
    from actlens.writing.ids import Sampler

    keeps = Sampler(0.5, 3).keeps(np.array(ids))
    assert keeps.tolist() == [xxhash.xxh3_64_intdigest(i.encode(), seed=3) < 2**63 for i in ids]


def test_sampling_by_a_list_and_by_a_function(tmp_path):
    rows = {"a": np.arange(6.0)[:, None]}
    with Recorder(tmp_path / "list", sample=[4, 1, 99]) as rec:
        assert rec.write(rows) == 2
    assert actlens.open(tmp_path / "list").ids.tolist() == [1, 4]
    with Recorder(tmp_path / "function", sample=lambda ids: ids % 2 == 0) as rec:
        rec.write(rows)
    assert actlens.open(tmp_path / "function")["a"][:, 0].tolist() == [0, 2, 4]
    with pytest.raises(ArgumentError, match="a function that maps an array of ids to an array of booleans"):
        with Recorder(tmp_path / "bad", sample=lambda ids: ids) as rec:
            rec.write(rows)


def test_floats_are_narrowed_and_the_rest_kept(tmp_path, rng):
    acts = {"f": rng.normal(size=(4, 3)), "i": np.arange(12).reshape(4, 3), "b": np.eye(4, dtype=bool)}
    with Recorder(tmp_path / "r", dtype="float16") as rec:
        rec.write(acts)
    run = actlens.open(tmp_path / "r")
    assert run["f"].dtype == np.float16
    assert (run["f"][:] == acts["f"].astype(np.float16)).all()
    assert (run["i"].dtype, run["b"].dtype) == (np.int64, bool)


def test_a_narrowing_that_would_overflow_is_an_error(tmp_path):
    values = np.array([[1.0, -70000.0], [np.inf, np.nan]])
    with pytest.raises(
        RecordingError, match="layer 'a' has finite values up to 7e.04, and float16 ends at 6.55e.04"
    ):
        with Recorder(tmp_path / "r", dtype="float16") as rec:
            rec.write({"a": values})
    with Recorder(tmp_path / "r", dtype="bfloat16") as rec:
        rec.write({"a": values})
    assert np.isinf(actlens.open(tmp_path / "r")["a"][1, 0].astype("f4"))  # an infinity that was there stays


def test_resume_goes_on_and_leaves_out_what_is_there(tmp_path, rng):
    truth = rng.normal(size=(50, 4))

    def run_until(stop, **options):
        with Recorder(tmp_path / "r", shard_bytes=300, **options) as rec:
            for at in range(0, 50, 6):
                if at >= stop:
                    raise KeyboardInterrupt
                rec.write({"a": truth[at : at + 6]}, label=list(range(at, min(at + 6, 50))))

    with pytest.raises(KeyboardInterrupt):
        run_until(30)
    done = actlens.open(tmp_path / "r").rows
    assert 0 < done < 50
    run_until(99, resume=True)
    run = actlens.open(tmp_path / "r")
    assert run.info["sealed"]
    assert run.ids.tolist() == list(range(50))
    assert (run["a"][:] == truth).all()
    assert run.columns["label"].tolist() == list(range(50))
    run_until(99, resume=True)  # all there: nothing added
    assert actlens.open(tmp_path / "r").rows == 50


def test_resume_refuses_other_choices(tmp_path):
    with Recorder(tmp_path / "r", sample=0.9, seed=1) as rec:
        rec.write({"a": np.zeros((20, 2), "f4")})
    for options, text in [
        ({"sample": 0.8, "seed": 1}, "sample= was '0.9' .* is '0.8' now"),
        ({"sample": 0.9, "seed": 2}, "seed= was 1 .* is 2 now"),
        ({"sample": 0.9, "seed": 1, "dtype": "float16"}, "dtype= was None .* is 'float16' now"),
    ]:
        with pytest.raises(RecordingError, match=text):
            Recorder(tmp_path / "r", resume=True, **options)
    with pytest.raises(RecordingError, match="a row of layer 'a' was F32 of shape .2,."):
        with Recorder(tmp_path / "r", resume=True, sample=0.9, seed=1) as rec:
            rec.write({"a": np.zeros((40, 3), "f4")})
    assert actlens.open(tmp_path / "r").info["sealed"]


def test_resume_of_nothing_starts(tmp_path):
    with Recorder(tmp_path / "r", resume=True) as rec:
        rec.write(A)
    assert actlens.open(tmp_path / "r").rows == 2


def test_memory_is_a_few_shards_whatever_the_number_of_rows(tmp_path):
    def peak(batches):
        tracemalloc.start()
        with Recorder(tmp_path / f"r{batches}", shard_bytes=1 << 20, durability="rename") as rec:
            for _ in range(batches):
                rec.write({"a": np.zeros((64, 1024), "f4")})
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few, many = peak(20), peak(200)
    assert many < 5 << 20
    assert many < 1.6 * few


def test_tiny_batches_are_merged_and_come_back(tmp_path):
    with Recorder(tmp_path / "r", durability="rename") as rec:
        for i in range(3000):
            rec.write({"a": np.full((1, 2), i, "f4")}, name=str(i))
    run = actlens.open(tmp_path / "r")
    assert (run["a"][:, 0] == np.arange(3000)).all()
    assert run.columns["name"][-1] == "2999"


def test_numpy_seeds_are_numbers(tmp_path):
    with Recorder(tmp_path / "r", seed=np.int64(3), sample=0.9) as rec:
        rec.write({"a": np.zeros((30, 1))})
    assert actlens.open(tmp_path / "r").info["seed"] == 3


def test_text_ids_of_an_array_that_is_used_again(tmp_path):
    ids = np.array(["a0", "b0"])
    with Recorder(tmp_path / "r") as rec:
        for i in range(3):
            ids[:] = [f"a{i}", f"b{i}"]
            started = rec.start({"a": np.full((2, 1), i)}, id=ids)
            ids[:] = "x"
            rec.finish(started)
    assert actlens.open(tmp_path / "r").ids.tolist() == ["a0", "b0", "a1", "b1", "a2", "b2"]


@pytest.mark.parametrize(
    ("acts", "columns", "error", "text"),
    [
        ({"a": np.ma.array([[1.0], [2]], mask=[[0], [1]])}, {}, RowsError, "layer 'a' is a masked array"),
        (
            {"a": np.zeros((2, 1))},
            {"c": np.ma.array([1, 2], mask=[0, 1])},
            ColumnError,
            "holds a masked array",
        ),
        (
            {"a": np.zeros((2, 1))},
            {"step": float("nan")},
            ColumnError,
            "column 'step' holds NaN, which is no step",
        ),
        ({"a": np.zeros((2, 1))}, {"id": ["\ud800", "x"]}, IdError, "NUL or half a character"),
    ],
)
def test_more_that_is_refused(tmp_path, acts, columns, error, text):
    with pytest.raises(error, match=text):
        with Recorder(tmp_path / "r", sample=0.9) as rec:
            rec.write(acts, **columns)
    assert not os.listdir(tmp_path)


def test_a_batch_that_fails_on_its_way_can_be_mended(tmp_path):
    with Recorder(tmp_path / "r", dtype="float16") as rec:
        for ids in ([1, 2], ["x", "y"]):
            with pytest.raises(RecordingError, match="would become inf"):
                rec.write({"other": np.full((2, 1), 1e9)}, id=ids)
        rec.write({"a": np.ones((2, 1))}, id=[1, 2])
        with pytest.raises(RecordingError, match="would become inf"):
            rec.write({"a": np.full((2, 1), 1e9)}, id=[3, 4])
        rec.write({"a": np.ones((2, 1))}, id=[3, 4])
    with Recorder(tmp_path / "numbered", dtype="float16") as rec:
        with pytest.raises(RecordingError, match="would become inf"):
            rec.write({"a": np.full((2, 1), 1e9)})
        rec.write({"a": np.ones((2, 1))})
    assert actlens.open(tmp_path / "r").ids.tolist() == [1, 2, 3, 4]
    assert actlens.open(tmp_path / "numbered").ids.tolist() == [0, 1]


def test_several_threads_may_write(tmp_path):
    def write(k):
        for v in range(k * 1000, k * 1000 + 60):
            rec.write({n: np.full((3, 50), v, "f4") for n in "ab"}, id=np.arange(3 * v, 3 * v + 3))

    with Recorder(tmp_path / "r", durability="rename", shard_bytes=4000) as rec:
        threads = [threading.Thread(target=write, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    run = actlens.open(tmp_path / "r", verify="all")
    assert run.rows == 6 * 60 * 3
    assert (run["a"][:, 0] == run.ids // 3).all()
    assert (run["b"][:] == run["a"][:]).all()


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of jax
def test_a_forked_child_leaves_its_parents_recording_alone(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write(A, id=[0, 1])
        child = os.fork()
        if child == 0:
            said = []
            for call in (rec.flush, rec.close, lambda: rec.write(A, id=[5, 6])):
                try:
                    call()
                except RecordingError as error:
                    said.append("belongs to the process that opened it" in str(error))
            rec.abandon()
            os._exit(0 if said == [True] * 3 else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        rec.write(A, id=[2, 3])
    assert actlens.open(tmp_path / "r").ids.tolist() == [0, 1, 2, 3]


def test_two_that_resume_at_once(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write(A)
    with Recorder(tmp_path / "r", resume=True):
        with pytest.raises(RecordingExists, match="is being written by another Recorder at this moment"):
            Recorder(tmp_path / "r", resume=True)
    Recorder(tmp_path / "r", resume=True).close()


def test_resume_refuses_other_samples_and_ids_that_come_and_go(tmp_path):
    with Recorder(tmp_path / "list", sample=[1, 2]) as rec:
        rec.write({"a": np.zeros((5, 1))})
    with pytest.raises(RecordingError, match="sample= was '2 given ids .* is '2 given ids"):
        Recorder(tmp_path / "list", sample=[3, 4], resume=True)
    with Recorder(tmp_path / "ids") as rec:
        rec.write({"a": np.zeros((3, 1))}, id=[0, 5, 9])
    with pytest.raises(IdError, match="ids were given for some batches and not for others"):
        with Recorder(tmp_path / "ids", resume=True) as rec:
            rec.write({"a": np.ones((3, 1))})


def test_the_program_may_change_its_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Recorder("r") as rec:
        rec.write({"a": np.ones((2, 2))})
        monkeypatch.chdir(tmp_path / "elsewhere")
        rec.write({"a": np.ones((2, 2))})
    monkeypatch.chdir(tmp_path)
    run = actlens.open("r")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run["a"][:].sum() == 8


def test_whole_numbers_that_are_no_floats_are_refused_in_a_column_of_floats(tmp_path):
    with Recorder(tmp_path / "r") as rec:
        rec.write({"a": np.ones((1, 2))}, label=0.5)
        rec.write({"a": np.ones((1, 2))}, label=2**53)
        with pytest.raises(RecordingError, match="column 'label' was F64 .* is I64"):
            rec.write({"a": np.ones((1, 2))}, label=2**53 + 1)
    assert actlens.open(tmp_path / "r").columns["label"].tolist() == [0.5, 2.0**53]


@pytest.mark.parametrize(("count", "name"), [(16_385, "l{}"), (9_000, "x" * 600 + "{}")])
def test_more_layers_than_a_header_holds(tmp_path, count, name):
    acts = {name.format(i): np.zeros((1, 1), "i1") for i in range(count)}
    with Recorder(tmp_path / "r") as rec:
        with pytest.raises(RowsError, match=f"{count + 1:,} layers and columns need a header of about"):
            rec.write(acts)
        rec.write(A)
    assert actlens.open(tmp_path / "r").rows == 2


@pytest.mark.slow
def test_as_many_layers_as_a_header_holds_are_read_back(tmp_path):
    acts = {"ä" * 60 + f"{i}": np.full((2, 1), i % 100, "i1") for i in range(9_000)}
    with Recorder(tmp_path / "r", durability="rename") as rec:
        rec.write(acts)
    for _ in range(2):
        run = actlens.open(tmp_path / "r")
        assert len(run) == 9_000
        assert run["ä" * 60 + "77"][:].tolist() == [[77], [77]]
        (tmp_path / "r/manifest.json").unlink(missing_ok=True)
