"""upkeep.verify: damage at every place is found, named, and nothing else is."""

from __future__ import annotations

import importlib
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import upkeep_cases as cases
import xxhash
from upkeep_cases import MIB, flip, layout, name, shards

import actlens
from actlens import upkeep
from actlens.errors import RecordingNotFound
from actlens.format.blob import LocalBlob


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("once") / "run"
    cases.made(path)
    return path


@pytest.fixture
def run(tmp_path, made_once):
    shutil.copytree(made_once, tmp_path / "run")
    return tmp_path / "run"


TENSORS = [
    "act:h", "act:fc", "col:id", "col:step", "col:label",
    "idx:act:h", "idx:col:id", "idx:col:label", "pos:act:h", "sum:blocks",
]  # fmt: skip


def only(path):
    """Give the one problem that there is."""
    (problem,) = upkeep.verify(path).problems
    return problem


def test_a_sound_recording_is_ok(run):
    before = cases.contents(run)
    found = upkeep.verify(run)
    assert (found.ok, found.problems, found.sealed, found.rows) == (True, (), True, 80)
    assert found.shards == len(shards(run)) > 3
    assert found.bytes == sum(shard.stat().st_size for shard in shards(run))
    assert (found.duplicates, found.differing, found.orphans, found.notes) == (0, 0, (), ("sealed",))
    assert str(found).startswith(f"{run}: ok ({found.shards} shards, 80 rows, ")
    assert cases.contents(run) == before
    assert set(layout(shards(run)[0])[0]) == set(TENSORS)


@pytest.mark.parametrize("where", ["first byte", "last byte"])
@pytest.mark.parametrize("tensor", TENSORS)
def test_a_flipped_bit_is_found_in_its_tensor(run, tensor, where):
    shard = shards(run)[2]
    begin, end = layout(shard)[0][tensor]
    at = begin if where == "first byte" else end - 1
    flip(shard, at, 128)
    problem = only(run)
    assert (problem.file, problem.tensor) == (name(run, shard), tensor)
    assert problem.span is not None
    assert problem.span[0] <= at < problem.span[1]
    if tensor != "sum:blocks":
        assert problem.block == 0
        assert problem.what == f"the data of {tensor!r} does not match its digest"
    assert str(problem).startswith(f"{problem.file}: ")
    assert tensor in str(upkeep.verify(run))


def test_a_bit_anywhere_is_found_in_its_file_alone(run):
    rng = np.random.default_rng(1)
    for number in range(80):
        shard = shards(run)[number % len(shards(run))]
        at, bit = int(rng.integers(shard.stat().st_size)), 1 << int(rng.integers(8))
        flip(shard, at, bit)
        found = upkeep.verify(run).problems
        assert {one.file for one in found} == {name(run, shard)}
        assert len(found) == 1
        assert found[0].span is None or found[0].span[0] <= at < found[0].span[1]
        flip(shard, at, bit)
    assert upkeep.verify(run).ok


@pytest.mark.parametrize("at", [0, 3, 8, 20, 36, 70, 1500, 4000])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_flipped_bit_in_a_header_is_one_problem(run, at, number):
    shard = shards(run)[number]
    flip(shard, at, 4)
    problem = only(run)
    assert problem.file == name(run, shard)
    assert "header" in problem.what


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 4095, 4096, 4099, -1])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_file_that_was_cut_short_is_one_problem(run, keep, number):
    shard = shards(run)[number]
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:keep])
    problem = only(run)
    assert problem.file == name(run, shard)
    _, start = layout(shards(run)[2 if number != 2 else 0])
    if keep == -1 or keep >= start:
        assert (
            problem.what == f"it was cut short: {size + keep if keep < 0 else keep} of {size} bytes are there"
        )
        assert problem.span == (size + keep if keep < 0 else keep, size)


def test_a_file_that_has_grown(run):
    shard = shards(run)[1]
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes() + b"more")
    assert (only(run).what, only(run).span) == ("4 bytes follow after its end", (size, size + 4))


@pytest.mark.parametrize("manifest", ["there", "deleted"])
@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_deleted_shard_is_missing(run, number, manifest):
    shard = shards(run)[number]
    shard.unlink()
    if manifest == "deleted":
        (run / "manifest.json").unlink()
    found = upkeep.verify(run)
    if number == -1 and manifest == "deleted":  # nothing tells that there was one
        assert found.ok
        assert any("did not end well" in note for note in found.notes)
        return
    (problem,) = found.problems
    assert (problem.file, problem.what, problem.kind) == (name(run, shard), "it is missing", "missing")


@pytest.mark.parametrize("manifest", ["there", "deleted"])
def test_shards_that_have_changed_places(run, manifest):
    a, b = shards(run)[1:3]
    a.rename(run / "aside")
    b.rename(a)
    (run / "aside").rename(b)
    if manifest == "deleted":
        (run / "manifest.json").unlink()
    found = upkeep.verify(run).problems
    assert [one.file for one in found] == [name(run, a), name(run, b)]
    assert [one.what for one in found] == [
        f"it was renamed: it says it is {name(run, b)}", f"it was renamed: it says it is {name(run, a)}"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_stale_shard_is_told_by_the_manifest_and_the_chain(run, number):
    shard = shards(run)[number]
    cases.rewritten(shard, {}, {"act:fc": np.zeros((cases.Shard(shard).meta.rows, 5))})
    assert (only(run).file, only(run).what) == (
        name(run, shard), "it is not the shard that the manifest lists"
    )  # fmt: skip
    (run / "manifest.json").unlink()
    if number == -1:
        assert upkeep.verify(run).ok  # nothing else knows it
    else:
        assert only(run).what == "it does not follow the shard before it"


def test_a_shard_of_another_recording(run, tmp_path):
    cases.made(tmp_path / "other")
    theirs = shards(tmp_path / "other")[0].parent
    shutil.copytree(theirs, run / "shards" / theirs.name)
    found = upkeep.verify(run)
    assert {(one.what, one.kind) for one in found.problems} == {
        ("it belongs to another recording", "foreign")
    }
    assert {one.file.split("/")[1] for one in found.problems} == {theirs.name}
    assert found.rows == 80


@pytest.mark.parametrize("block", [0, 1, 2, 3, 4])
def test_the_block_is_named(tmp_path, block):
    cases.wide(tmp_path / "run")
    (shard,) = shards(tmp_path / "run")
    spans, start = layout(shard)
    border = spans["act:a"][1]
    end = spans["sum:blocks"][0]
    at = min(start + block * MIB + 77_777, end - 1) if block < 4 else end - 3
    if block == 2:
        assert start + 2 * MIB < border < start + 3 * MIB
    flip(shard, at)
    # by numpy and xxhash alone: which of the sums in the file differ
    raw = shard.read_bytes()
    sums = np.frombuffer(raw[slice(*spans["sum:blocks"])], "<u8")
    wrong = [
        n for n in range(len(sums))
        if xxhash.xxh3_64_intdigest(raw[start + n * MIB : min(start + (n + 1) * MIB, end)]) != sums[n]
    ]  # fmt: skip
    problem = only(tmp_path / "run")
    assert [problem.block] == wrong == [min(block, len(sums) - 1)]
    (tensor,) = [key for key, (lo, hi) in spans.items() if lo <= at < hi]
    assert problem.tensor == tensor
    lo, hi = problem.span
    assert max(start + problem.block * MIB, spans[tensor][0]) == lo <= at < hi
    assert hi == min(start + (problem.block + 1) * MIB, spans[tensor][1])


def test_zeroed_blocks_across_a_border_are_told_apart(tmp_path):
    cases.wide(tmp_path / "run")
    (shard,) = shards(tmp_path / "run")
    spans, start = layout(shard)
    cases.zero(shard, start + MIB, start + 3 * MIB)
    found = upkeep.verify(tmp_path / "run").problems
    assert [(one.tensor, one.block) for one in found] == [("act:a", 1), ("act:a", 2), ("act:b", 2)]
    assert found[1].span[1] == found[2].span[0] == spans["act:a"][1]


def test_several_problems_are_all_found(run):
    a, b, c, d, *_ = shards(run)
    flip(a, layout(a)[0]["act:h"][0])
    flip(b, 100)
    c.unlink()
    flip(d, layout(d)[0]["col:id"][0])
    flip(d, layout(d)[0]["act:fc"][0])
    found = upkeep.verify(run)
    assert [(one.file, one.tensor) for one in found.problems[:3]] == [
        (name(run, a), "act:h"), (name(run, b), None), (name(run, c), None)
    ]  # fmt: skip
    assert {one.tensor for one in found.problems[3:]} == {"col:id", "act:fc"}
    assert str(found).splitlines()[0].startswith(f"{run}: 5 problems")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda m: m.write_bytes(b""), "Expecting value"),
        (lambda m: m.write_bytes(m.read_bytes()[:-9]), "it does not match its digest"),
        (lambda m: flip(m, 20), "it does not match its digest"),
        (lambda m: flip(m, 400), "it does not match its digest"),
        (lambda m: m.unlink() or m.symlink_to("/etc/passwd"), "it is a symbolic link"),
        (lambda m: m.unlink() or m.mkdir(), "it is a folder, a FIFO or a device, not a file"),
        (lambda m: m.write_text('{"format": "pytest", "version": [1, 0]}'), "of the format 'pytest'"),
    ],
)
def test_a_damaged_manifest_is_one_problem(run, damage, text):
    damage(run / "manifest.json")
    problem = only(run)
    assert problem.file == "manifest.json"
    assert text in problem.what
    assert upkeep.verify(run).rows == 80


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.update(recording="f" * 32), None),
        (lambda m: m["shards"][0].update(bytes=1), "with other bytes"),
        (lambda m: m["shards"][0].update(digest="0" * 32), "with other digest"),
        (lambda m: m["shards"][1].update(dropped=[[0, 1]]), "with other dropped"),
        (lambda m: m["shards"][1].update(positions={"act:h": 1}), "with other positions"),
    ],
)
def test_a_manifest_that_lies(run, change, text):
    """With a right digest of its own: what a stale one would be, or a hostile one."""
    cases.edited(run, change)
    problem = only(run)
    if text is None:  # the shards of its list are there: they are the ones that are then not its own
        assert problem.what == "it belongs to another recording than the shards"
    else:
        assert text in problem.what
    assert problem.file == "manifest.json"


def test_a_manifest_that_names_what_never_was(run):
    cases.edited(run, lambda m: m["shards"].append(m["shards"][0] | {"path": "../../etc/passwd", "rows": 0}))
    assert (only(run).file, only(run).what) == ("../../etc/passwd", "it is missing")


def test_without_a_manifest_all_is_well_and_said(run):
    (run / "manifest.json").unlink()
    found = upkeep.verify(run)
    assert found.ok
    assert not found.sealed
    assert found.notes == ("not sealed: there is no manifest that can be used; the shards alone are read",)


def test_a_stale_manifest_that_lists_less_is_only_a_note(run):
    stale = (run / "manifest.json").read_bytes()
    with actlens.Recorder(run, resume=True, durability="rename") as rec:
        cases.write(
            rec, np.random.default_rng(9), ["new"], 5, {k: [] for k in ("h", "fc", "id", "step", "label")}
        )
    assert upkeep.verify(run).rows == 81
    (run / "manifest.json").write_bytes(stale)
    found = upkeep.verify(run)
    assert (found.ok, found.sealed, found.rows) == (True, False, 81)
    assert f"not sealed: the manifest lists {found.shards - 1} of {found.shards} shards" in found.notes


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda e, m: m.update(version=[9, 0]), "has format version 9.0"),
        (lambda e, m: m.update(requires=["holograms"]), "requires holograms"),
        (lambda e, m: m["digests"].pop("act:fc"), "its digests do not name its tensors"),
        (lambda e, m: e["col:step"].update(shape=[7, 9]), "its header breaks the format"),
        (
            lambda e, m: m["digests"].update({"sum:blocks": "0" * 32}),
            "its block sums do not match their digest",
        ),
        (
            lambda e, m: m["digests"].update({"act:fc": "0" * 32}),
            "the data of 'act:fc' does not match its digest",
        ),
        (lambda e, m: m.pop("schema"), "its metadata breaks the format"),
        (lambda e, m: m.update(rank=0, seq=9), "it was renamed: it says it is"),
        (lambda e, m: m.update(prev="0" * 32), "it does not follow the shard before it"),
    ],
)
def test_a_header_that_breaks_the_format(run, change, text):
    (run / "manifest.json").unlink()
    shard = shards(run)[-1]
    cases.reheadered(shard, change)
    found = upkeep.verify(run).problems
    assert [one.file for one in found] == [name(run, shard)]
    assert text in found[0].what


@pytest.mark.parametrize(
    ("tensors", "tensor", "text"),
    [
        (lambda t: {"idx:col:label": _swapped(t["idx:col:label"])}, "idx:col:label", "do not rise from 0"),
        (lambda t: {"idx:col:label": t["idx:col:label"] + 1}, "idx:col:label", "do not rise from 0"),
        (lambda t: {"idx:col:label": np.minimum(t["idx:col:label"], 3)}, "idx:col:label", "end at 3, not at"),
        (lambda t: {"idx:act:h": _swapped(t["idx:act:h"])}, "idx:act:h", "do not rise from 0"),
        (lambda t: {"idx:act:h": t["idx:act:h"] // 2}, "idx:act:h", "end at"),
        (lambda t: {"col:id": t["col:id"] | 128}, "col:id", "are not UTF-8"),
        (lambda t: {"idx:col:id": _shifted(t["idx:col:id"])}, "col:id", "begins in the middle of a char"),
    ],
)
def test_contents_that_no_digest_tells(run, tensors, tensor, text):
    """Right digests around offsets and texts that cannot be: a faulty writer."""
    (run / "manifest.json").unlink()
    shard = shards(run)[-1]
    read = cases.Shard(shard)
    cases.rewritten(shard, {}, tensors({key: read.read(key) for key in read.tensors}))
    found = upkeep.verify(run).problems
    assert [(one.file, one.tensor) for one in found] == [(name(run, shard), tensor)]
    assert text in found[0].what


def _swapped(offsets):
    offsets = offsets.copy()
    offsets[1:3] = offsets[2], offsets[1] - 1 if offsets[1] == offsets[2] else offsets[1]
    return offsets


def _shifted(offsets):
    """Begin the second text one byte after its é has begun."""
    offsets = offsets.copy()
    offsets[1] += 1
    return offsets


def test_a_shard_without_block_sums(run):
    (run / "manifest.json").unlink()
    shard = shards(run)[-1]
    cases.reheadered(shard, lambda e, m: (e.pop("sum:blocks"), m["digests"].pop("sum:blocks")))
    shard.write_bytes(shard.read_bytes()[:-8])  # the one sum
    assert only(run).what == "its block sums do not cover its data"


def test_layers_of_another_shape(run):
    (run / "manifest.json").unlink()
    shard = shards(run)[-1]
    schema = cases.Shard(shard).meta.schema
    other = cases.msgspec.structs.replace(schema.layers[1], type="Other")
    cases.rewritten(
        shard, {"schema": cases.msgspec.structs.replace(schema, layers=(schema.layers[0], other))}
    )
    assert (only(run).what, only(run).kind) == (
        "its layers or columns differ from the recording's",
        "conflict",
    )


@pytest.mark.parametrize("same", [True, False])
def test_duplicates_are_compared_bit_for_bit(tmp_path, same):
    cases.two_ranks(tmp_path / "run", same=same)
    found = upkeep.verify(tmp_path / "run")
    assert (found.ok, found.rows, found.duplicates) == (True, 88, 8)
    assert found.differing == (0 if same else 8)
    assert "8 rows of samples that an earlier writer has" in str(found)
    assert found == actlens.open(tmp_path / "run").sel(step=0).take([1]).verify()


def test_ranks_that_counted_their_ids_are_a_conflict(tmp_path):
    cases.two_ranks(tmp_path / "run")
    (tmp_path / "run/manifest.json").unlink()
    for shard in shards(tmp_path / "run"):
        if "/00001-" in str(shard):
            origin = cases.Shard(shard).meta.origin
            cases.rewritten(shard, {"origin": cases.msgspec.structs.replace(origin, ids="numbered")})
    found = upkeep.verify(tmp_path / "run").problems
    assert "its ids were counted from 0, and ranks 0, 1 wrote this recording" in [one.what for one in found]


def test_what_lies_around_is_noted(run):
    writer = shards(run)[0].parent
    (writer / ".tmp-aa").write_bytes(b"half")
    (run / ".tmp-bb").write_bytes(b"x")
    (writer / "notes.txt").write_text("mine")
    (run / "README").write_text("mine")
    (run / "shards" / "elsewhere").symlink_to(run.parent)
    found = upkeep.verify(run)
    assert found.ok
    assert [(one.file, one.bytes) for one in found.orphans] == [
        (".tmp-bb", 1), (f"shards/{writer.name}/.tmp-aa", 4)
    ]  # fmt: skip
    for unknown in ("README", "shards/elsewhere", f"shards/{writer.name}/notes.txt"):
        assert f"no part of the recording: {unknown}" in found.notes
    assert "orphan  .tmp-bb (1 B)" in str(found)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_something_else_in_the_place_of_a_shard(run, kind):
    shard = shards(run)[1]
    shard.rename(run / "away")
    {"link": lambda: shard.symlink_to(run / "away"), "folder": shard.mkdir, "pipe": lambda: os.mkfifo(shard)}[
        kind
    ]()
    assert only(run).file == name(run, shard)
    assert only(run).what == (
        "it is a symbolic link, not a file"
        if kind == "link"
        else "it is a folder, a FIFO or a device, not a file"
    )


@pytest.mark.parametrize(("code", "kind"), [(13, "unreadable"), (5, "damaged")], ids=["permission", "medium"])
def test_a_file_that_cannot_be_opened(run, monkeypatch, code, kind):
    shard, opened = shards(run)[1], os.open

    def refusing(path, *args, **more):
        if str(path) == str(shard):
            raise OSError(code, os.strerror(code), path)
        return opened(path, *args, **more)

    monkeypatch.setattr("actlens.format.blob.os.open", refusing)
    assert (only(run).file, only(run).kind) == (name(run, shard), kind)
    assert os.strerror(code) in only(run).what


def test_a_block_that_the_disk_cannot_give(tmp_path, monkeypatch):
    cases.wide(tmp_path / "run")
    (shard,) = shards(tmp_path / "run")
    start, fill = layout(shard)[1], LocalBlob.fill

    def failing(self, spans):
        from actlens.errors import ReadFailed

        for at, view in fill(self, spans):
            if at <= start + MIB + 5 < at + len(view):
                raise ReadFailed.of(shard, OSError(5, "Input/output error"))
            yield at, view

    monkeypatch.setattr(LocalBlob, "fill", failing)
    problem = only(tmp_path / "run")
    assert (problem.tensor, problem.block) == ("act:a", 1)
    assert "Input/output error" in problem.what


def test_a_recording_that_is_being_written(tmp_path):
    truth = {k: [] for k in ("h", "fc", "id", "step", "label")}
    with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
        empty = upkeep.verify(tmp_path / "run")
        assert (empty.ok, empty.shards) == (True, 0)
        assert "not sealed: no rows are committed yet" in empty.notes
        cases.write(rec, np.random.default_rng(0), ["a", "b"], 0, truth)
        rec.flush()
        (writer,) = (tmp_path / "run/shards").iterdir()
        (writer / ".tmp-own").write_bytes(b"")  # no orphan: its writer lives
        found = upkeep.verify(tmp_path / "run")
    assert (found.ok, found.sealed, found.rows, found.orphans) == (True, False, 2, ())
    assert f"writer {writer.name} is at it at this moment" in found.notes


def test_nothing_there_is_the_only_exception(tmp_path):
    with pytest.raises(RecordingNotFound, match="no recording at .*/no: it does not exist"):
        upkeep.verify(tmp_path / "no")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingNotFound, match="it is a file"):
        upkeep.verify(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingNotFound, match="it holds neither manifest.json nor shards"):
        upkeep.verify(tmp_path / "empty")
    (tmp_path / "empty/manifest.json").write_text('{"format": "pytest", "version": [1, 0]}')
    with pytest.raises(RecordingNotFound, match="its manifest.json is of the format 'pytest'"):
        upkeep.verify(tmp_path / "empty")


def test_memory_does_not_grow_with_the_shard(tmp_path):
    with actlens.Recorder(tmp_path / "run", durability="rename") as rec:
        rec.write({"a": np.zeros((40, 1 << 18), "f4")})  # 40 MiB in one shard
    tracemalloc.start()
    try:
        assert upkeep.verify(tmp_path / "run").ok
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


def test_recordings_of_released_versions_are_ok():
    manifests = [*(Path(__file__).parent / "golden").rglob("manifest.json")]
    assert manifests
    for manifest in manifests:
        assert upkeep.verify(manifest.parent).ok


class TestResults:
    """What lies in derived/ is checked too, and is no part of the recording."""

    @pytest.fixture
    def run(self, tmp_path):
        cases.made(tmp_path / "run", samples=6)
        actlens.reduce.pca(actlens.open(tmp_path / "run")["fc"])
        return tmp_path / "run"

    def test_whole_ones_are_not_worth_a_word(self, run):
        found = upkeep.verify(run)
        assert (found.ok, found.derived) == (True, ())
        assert "derived" not in str(found)

    def test_a_damaged_one_does_not_make_the_recording_bad(self, run):
        (file,) = (run / "derived").iterdir()
        cases.flip(file, file.stat().st_size - 1)
        for found in (upkeep.verify(run), actlens.open(run).verify()):
            assert found.ok
            (one,) = found.derived
            assert (one.file, one.kind) == (f"derived/{file.name}", "damaged")
            assert "does not match its digest" in one.what
            assert f"derived  derived/{file.name}: damaged: the data of" in str(found)

    def test_what_lies_there_besides(self, run):
        (run / "derived/mine.txt").write_text("mine")
        (run / "derived/.tmp-1").write_text("")
        found = upkeep.verify(run)
        assert [note for note in found.notes if "derived" in note] == [
            "no part of the recording: derived/mine.txt"
        ]
        assert [one.file for one in found.orphans] == ["derived/.tmp-1"]

    def test_repair_and_copy_leave_them_alone(self, run, tmp_path):
        (file,) = (run / "derived").iterdir()
        cases.flip(file, 4200)
        before = file.read_bytes()
        assert "nothing to repair" in str(upkeep.repair(run))
        (run / "manifest.json").unlink()
        assert upkeep.repair(run).manifest_rebuilt
        assert file.read_bytes() == before
        copied = upkeep.copy(run, tmp_path / "copy")
        assert not (tmp_path / "copy/derived").exists()
        assert copied.derived() == ()

    def test_a_result_fits_a_copy(self, run, tmp_path, monkeypatch):
        expected = actlens.reduce.pca(actlens.open(run)["fc"])
        upkeep.copy(run, tmp_path / "copy")
        shutil.copytree(run / "derived", tmp_path / "copy/derived")
        monkeypatch.setattr(importlib.import_module("actlens.reduce.pca"), "rows_of", None)
        again = actlens.reduce.pca(actlens.open(tmp_path / "copy")["fc"])
        assert np.array_equal(again.points, expected.points)
