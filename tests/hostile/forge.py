"""Tools of a forger: change a shard or a manifest, and give it right digests again."""

from __future__ import annotations

import json
import struct

import msgspec
import numpy as np
import xxhash

import actlens

ROWS = 16
MIB = 1 << 20


def truth(seed):
    rng = np.random.default_rng(seed)
    return (
        {"conv": rng.normal(size=(ROWS, 2, 3)).astype("f4"), "fc": rng.normal(size=(ROWS, 40))},
        {
            "id": np.arange(ROWS),
            "label": np.array([f"class {i % 3} ä" for i in range(ROWS)]),
            "score": np.linspace(0, 1, ROWS, dtype="f4"),
        },
    )


def good(path, *, seed=0, shard_bytes=1 << 20):
    """A sealed recording: one shard, or with 2,000 bytes a shard several."""
    layers, columns = truth(seed)
    with actlens.Recorder(path, shard_bytes=shard_bytes, durability="rename") as rec:
        for at in range(0, ROWS, 4):
            rows = slice(at, at + 4)
            rec.write(
                {key: value[rows] for key, value in layers.items()},
                **{name: value[rows] for name, value in columns.items()},
            )
    return path


def shards(folder):
    return sorted((folder / "shards").glob("*/*.safetensors"))


def shard(folder):
    return shards(folder)[0]


# A shard: header text and data.


def parts(path):
    """Give (text of the header, data)."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return raw[8 : 8 + length].rstrip(b" "), raw[8 + length :]


def put(path, text, data, *, digest=True):
    """Write a shard of a header's text and data; with the digest that it should have."""
    size = max(len(text), 67)
    size = min(-(-(size + 8) // 4096) * 4096 - 8, max(len(text), 16 * MIB))
    head = bytearray(struct.pack("<Q", size) + text.ljust(size))
    if digest:
        head[35:67] = b"0" * 32
        head[35:67] = xxhash.xxh3_128(bytes(head)).hexdigest().encode()
    with path.open("wb") as file:
        file.write(head)
        file.write(data)


def edit_text(path, change):
    text, data = parts(path)
    changed = change(text)
    assert changed != text, "the forger changed nothing"
    put(path, changed, data)


def edit_entries(path, change, *, data=None):
    """Change the header as a dict, `__metadata__` and all."""
    text, old = parts(path)
    entries = json.loads(text)
    change(entries)
    put(path, dumps(entries), old if data is None else data(old))


def edit_meta(path, change):
    """Change the JSON inside `__metadata__`, as a dict."""

    def changed(entries):
        meta = json.loads(entries["__metadata__"]["actlens"])
        change(meta)
        entries["__metadata__"]["actlens"] = dumps(meta).decode()

    edit_entries(path, changed)


def edit_meta_text(path, change):
    """Change the JSON inside `__metadata__`, as text."""

    def changed(entries):
        text = entries["__metadata__"]["actlens"]
        entries["__metadata__"]["actlens"] = change(text)
        assert entries["__metadata__"]["actlens"] != text, "the forger changed nothing"

    edit_entries(path, changed)


def edit_tensor(path, name, change):
    """Change the bytes of a tensor, keeping their number, and every digest that covers them."""
    text, data = parts(path)
    entries = json.loads(text)
    meta = json.loads(entries["__metadata__"]["actlens"])
    raw = bytearray(data)
    begin, end = entries[name]["data_offsets"]
    raw[begin:end] = change(bytes(raw[begin:end]))
    payload = entries["sum:blocks"]["data_offsets"][0]
    raw[payload:] = b"".join(
        struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(raw[at : min(payload, at + MIB)])))
        for at in range(0, payload, MIB)
    )
    for key, (begin, end) in {k: e["data_offsets"] for k, e in entries.items() if k[:2] != "__"}.items():
        meta["digests"][key] = xxhash.xxh3_128(bytes(raw[begin:end])).hexdigest()
    entries["__metadata__"]["actlens"] = dumps(meta).decode()
    put(path, dumps(entries), bytes(raw))


def build(path, tensors, change=lambda meta: None):
    """Write a shard of new tensors (name → array, wide items first) under a good one's metadata."""
    entries = json.loads(parts(path)[0])
    meta = json.loads(entries["__metadata__"]["actlens"])
    raw, header = b"", {"__metadata__": entries["__metadata__"]}
    for name, array in tensors.items():
        code = {"f": "F", "i": "I", "u": "U"}[array.dtype.kind] + str(8 * array.dtype.itemsize)
        end = len(raw) + array.nbytes
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [len(raw), end]}
        raw += array.tobytes()
    blocks = [xxhash.xxh3_64_intdigest(raw[at : at + MIB]) for at in range(0, len(raw), MIB)]
    sums = struct.pack(f"<{len(blocks)}Q", *blocks)
    end = len(raw) + len(sums)
    header["sum:blocks"] = {"dtype": "U64", "shape": [len(blocks)], "data_offsets": [len(raw), end]}
    raw += sums
    meta["digests"] = {
        name: xxhash.xxh3_128(raw[slice(*entry["data_offsets"])]).hexdigest()
        for name, entry in header.items()
        if name != "__metadata__"
    }
    change(meta)
    header["__metadata__"]["actlens"] = dumps(meta).decode()
    put(path, dumps(header), raw)


def dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()


# A manifest.


def put_manifest(folder, text, *, digest=True):
    """Write a manifest; with the digest that it should have."""
    raw = bytearray(text)
    if digest:
        raw[14:46] = b"0" * 32
        raw[14:46] = xxhash.xxh3_128(bytes(raw)).hexdigest().encode()
    (folder / "manifest.json").write_bytes(raw)


def manifest_text(folder):
    return (folder / "manifest.json").read_bytes()


def encode_manifest(manifest):
    text = json.dumps({"digest": "0" * 32} | manifest)
    return text.replace('{"digest"', '{\n "digest"', 1).encode()


def edit_manifest(folder, change):
    manifest = json.loads(manifest_text(folder))
    change(manifest)
    put_manifest(folder, encode_manifest(manifest))


def edit_manifest_text(folder, change):
    text = manifest_text(folder)
    changed = change(text)
    assert changed != text, "the forger changed nothing"
    put_manifest(folder, changed)


def relist(folder):
    """Make the manifest agree with the first shard as it is now, as far as that can be read."""
    path = shard(folder)
    manifest = json.loads(manifest_text(folder))
    try:
        text, _ = parts(path)
        meta = msgspec.json.decode(json.loads(text)["__metadata__"]["actlens"])
        changes = {"digest": text[27:59].decode(), "bytes": path.stat().st_size, "rows": meta["rows"]}
        manifest["shards"][0] |= changes
        manifest |= {"rows": meta["rows"], "schema": meta["schema"], "recording": meta["recording"]}
        put_manifest(folder, encode_manifest(manifest))
    except (ValueError, KeyError, TypeError, OSError, struct.error, MemoryError, RecursionError):
        return  # too broken for any manifest to agree with
