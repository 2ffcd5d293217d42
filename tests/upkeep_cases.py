"""Recordings to be damaged, and hands that damage them; the format is read here by itself, not by actlens."""

from __future__ import annotations

import contextlib
import json
import struct

import msgspec
import numpy as np
import xxhash

import actlens
from actlens.format import header
from actlens.format.local import LocalPlace
from actlens.format.reader import Shard
from actlens.format.shard import write_shard

MIB = 1 << 20


def made(path, *, samples=40, shard_bytes=4000, first=0, seed=0, **options):
    """One writer: 2 steps, text ids, a ragged layer, a plain one, text and number columns, several shards."""
    rng = np.random.default_rng(seed)
    truth = {"h": [], "fc": [], "id": [], "step": [], "label": []}
    with actlens.Recorder(path, shard_bytes=shard_bytes, durability="rename", **options) as rec:
        for step in (0, 1):
            write(rec, rng, [f"é{first + i}" for i in range(samples)], step, truth)
    return truth


def write(rec, rng, ids, step, truth):
    """Write one batch, and take down what was written."""
    h = rng.normal(size=(len(ids), 6, 8)).astype("f4")
    mask = rng.random((len(ids), 6)) < 0.6
    fc, labels = rng.normal(size=(len(ids), 5)), [f"klass {i % 3} ü" for i in range(len(ids))]
    rec.write({"h": h, "fc": fc}, mask={"h": mask}, id=ids, step=step, label=labels)
    truth["h"] += [row[keep] for row, keep in zip(h, mask, strict=True)]
    truth["fc"] += list(fc)
    truth["id"] += ids
    truth["step"] += [step] * len(ids)
    truth["label"] += labels


def two_ranks(path, *, overlap=8, same=False):
    """Two writers at once that share some samples; `same` says whether they computed the same values."""
    truth = {"h": [], "fc": [], "id": [], "step": [], "label": []}
    with contextlib.ExitStack() as stack:
        recs = [
            stack.enter_context(
                actlens.Recorder(path, rank=rank, ranks=2, shard_bytes=7000, durability="rename")
            )
            for rank in (0, 1)
        ]
        for rank, rec in enumerate(recs):
            rng = np.random.default_rng(rank)
            rest = [f"r{rank}-{i}" for i in range(40)]
            write(rec, rng, rest, 0, truth)
            both = np.random.default_rng(7 if same else rank)
            write(rec, both, [f"both{i}" for i in range(overlap)], 0, truth)
    return truth


def wide(path):
    """One shard of 5 blocks: two layers of 2 MiB, whose border is in the middle of a block."""
    rng = np.random.default_rng(3)
    truth = {"a": rng.normal(size=(300, 1800)).astype("f4"), "b": rng.normal(size=(300, 1700)).astype("f4")}
    with actlens.Recorder(path, durability="rename") as rec:
        rec.write(truth)
    return truth


def shards(path):
    return sorted((path / "shards").glob("*/*.safetensors"))


def name(path, shard):
    return shard.relative_to(path).as_posix()


def layout(shard):
    """Tensor → (begin, end) in the file; and where the data starts. Read as any safetensors reader would."""
    raw = shard.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    entries.pop("__metadata__")
    spans = {key: tuple(8 + length + at for at in entry["data_offsets"]) for key, entry in entries.items()}
    return spans, 8 + length


def flip(file, at, bit=1):
    raw = bytearray(file.read_bytes())
    raw[at] ^= bit
    file.write_bytes(raw)


def zero(file, begin, end):
    raw = bytearray(file.read_bytes())
    raw[begin:end] = bytes(end - begin)
    file.write_bytes(raw)


def rewritten(shard, change, tensors=None):
    """Write a shard anew with other metadata or tensors, right digests and all: a stale or hostile one."""
    read = Shard(shard)
    parts = {key: [read.read(key)] for key in read.tensors if not key.startswith("sum:")}
    parts |= {key: [np.asarray(value)] for key, value in (tensors or {}).items()}
    meta = msgspec.structs.replace(read.meta, **change)
    shard.unlink()
    write_shard(LocalPlace(shard.parents[2], "rename"), meta, parts)


def reheadered(shard, change):
    """Change the header's JSON and give it a right digest and length again."""
    raw = shard.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    meta = json.loads(entries["__metadata__"]["actlens"])
    change(entries, meta)
    entries["__metadata__"] = {"digest": "0" * 32, "actlens": json.dumps(meta)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text = text.ljust(-(-(len(text) + 8) // 4096) * 4096 - 8)
    new = struct.pack("<Q", len(text)) + text
    new = new[:35] + header.header_digest(new).encode() + new[67:]
    shard.write_bytes(new + raw[8 + length :])


def edited(path, change):
    """Change the manifest and give it a right digest again."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    text = json.dumps(manifest | {"digest": "0" * 32}).replace('{"digest"', '{\n "digest"')
    (path / "manifest.json").write_text(text.replace("0" * 32, xxhash.xxh3_128(text.encode()).hexdigest(), 1))


def contents(path):
    """Every file, and its bytes."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }
