"""Random changes of good files: an error of ours, or the right values; and never laxer than safetensors."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
from hostile import forge
from hostile.worker import passes
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

import actlens
from actlens.errors import ActlensError
from actlens.format.reader import Shard

EXAMPLES = settings.get_profile(settings.get_current_profile_name()).max_examples
BYTES = st.sampled_from(list(b'\x00\xff"\\{}[],:0 9eE.-n\xc3')) | st.integers(0, 255)
JSON = st.recursive(
    st.sampled_from(
        [None, True, -1, 0, 1.5, 2**48, 2**63, 2**64, 10**30, "", "F32", "I64", "U8", "\ud800", "\0"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "x"]), inner)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return forge.good(tmp_path_factory.mktemp("good") / "run")


def check(folder):
    """Read in every way: what comes out is right, or an error of ours."""
    tally = passes(folder, "all", None)
    assert not tally["bare"], tally
    assert not tally["wrong"], tally
    return tally


@st.composite
def mutations(draw, raw):
    """Bytes changed, cut out, doubled or cut off."""
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from("flip splice double cut end"))
        if kind == "f" and changed:
            changed[at] = draw(BYTES)
        elif kind == "s":
            other = draw(st.integers(0, len(changed)))
            changed[at : at + length] = changed[other : other + length]
        elif kind == "d":
            changed[at:at] = changed[at : at + length]
        elif kind == "c":
            del changed[at : at + length]
        elif kind == "e" and draw(st.booleans()):
            del changed[at:]
    return bytes(changed)


def paths_in(value, here=()):
    """Every place in a JSON value."""
    yield here
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths_in(value[key], (*here, key))


def mutated_json(data, value):
    """A place of a JSON value replaced, removed or copied from another."""
    for _ in range(data.draw(st.integers(1, 2))):
        places = [place for place in paths_in(value) if place]
        *above, last = data.draw(st.sampled_from(places))
        parent = value
        for key in above:
            parent = parent[key]
        if data.draw(st.booleans()):
            parent[last] = data.draw(JSON)
        else:
            del parent[last]
    return value


def never_laxer(path):
    """What the safetensors library refuses, so do we."""
    try:
        with safe_open(path, "numpy") as reader:
            reader.keys()
        return
    except (SafetensorError, OSError, ValueError):
        pass
    with pytest.raises(ActlensError):
        Shard(path)


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_bytes_of_a_shard(run_of, data):
    folder, raw = run_of
    path = forge.shard(folder)
    path.write_bytes(data.draw(mutations(raw)))
    never_laxer(path)
    check(folder)


@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_bytes_of_a_header_under_a_right_digest(run_of, data):
    folder, raw = run_of
    (length,) = struct.unpack("<Q", raw[:8])
    path = forge.shard(folder)
    changed = data.draw(mutations(raw[35 + 32 : 8 + length].rstrip()))
    forge.put(path, raw[8:67] + changed, raw[8 + length :])
    never_laxer(path)
    shard_and_rows(path)


@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_entries_of_a_header_under_a_right_digest(run_of, data):
    folder, raw = run_of
    path = forge.shard(folder)
    path.write_bytes(raw)
    text, payload = forge.parts(path)
    entries = json.loads(text)
    meta = json.loads(entries["__metadata__"].pop("actlens"))
    meta = mutated_json(data, meta) if data.draw(st.booleans()) else meta
    entries["__metadata__"]["actlens"] = json.dumps(meta)
    tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
    tensors = mutated_json(data, tensors) if data.draw(st.booleans()) else tensors
    forge.put(path, forge.dumps({"__metadata__": entries["__metadata__"]} | tensors), payload)
    never_laxer(path)
    shard_and_rows(path)


def shard_and_rows(path):
    """A header may rightly say other things of the same bytes; what it says must be readable, or refused."""
    try:
        shard = Shard(path, verify="all")
        for layer in shard.meta.schema.layers:
            assert shard.read(f"act:{layer.key}").shape == (shard.meta.rows, *layer.shape)
        for column in shard.meta.schema.columns:
            assert len(shard.column(column.name)) == shard.meta.rows
    except ActlensError:
        return


@settings(max_examples=EXAMPLES)
@given(data=st.data(), digest=st.booleans())
def test_bytes_of_a_manifest(run_of, data, digest):
    folder, raw = run_of
    forge.shard(folder).write_bytes(raw)
    clean = (folder.parent / "clean.json").read_bytes()
    changed = data.draw(mutations(clean))
    forge.put_manifest(folder, changed, digest=digest and len(changed) > 46)
    manifest_may_lie(folder)


@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_fields_of_a_manifest_under_a_right_digest(run_of, data):
    folder, raw = run_of
    forge.shard(folder).write_bytes(raw)
    manifest = mutated_json(data, json.loads((folder.parent / "clean.json").read_bytes()))
    forge.put_manifest(folder, forge.encode_manifest(manifest))
    manifest_may_lie(folder)


def manifest_may_lie(folder):
    """A manifest that is forged well may claim that there are no rows; no row of it may be wrong."""
    try:
        rows = actlens.open(folder).rows
    except ActlensError:
        return
    if rows == forge.ROWS:
        check(folder)
    else:
        with pytest.raises(ActlensError):
            _ = actlens.open(folder).ids
            assert rows == 0
            raise ActlensError


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, good):
    """A recording to spoil again and again, and the bytes of its shard."""
    folder = shutil.copytree(good, tmp_path_factory.mktemp("fuzz") / "run")
    (folder.parent / "clean.json").write_bytes((folder / "manifest.json").read_bytes())
    return folder, forge.shard(folder).read_bytes()
