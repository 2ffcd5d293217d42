"""Shards whose container is broken: sizes, lengths, the opening, bytes after the end."""

from __future__ import annotations

import os
import struct

from hostile import forge
from hostile.cases import Case
from hostile.forge import MIB, shard


def raw(change):
    """A shard changed as bytes."""

    def make(folder):
        path = shard(folder)
        path.write_bytes(change(path.read_bytes()))

    return make


def _sparse(folder, size, first=b""):
    path = shard(folder)
    with path.open("wb") as file:
        file.write(first)
        os.truncate(file.fileno(), size)


def _length(value, order="<"):
    return raw(lambda old: struct.pack(f"{order}Q", value) + old[8:])


def _claims(old):
    return old[:8] + old[8:35] + b"0" * 32 + old[67:]


def _huge_rows(folder):
    """A header that is right in every way, over a sparse file of a terabyte."""
    rows = 1 << 36

    def changed(meta):
        meta["rows"] = rows
        meta["schema"]["layers"] = [
            {"key": "fc", "dtype": "U8", "shape": [], "axes": ["sample"], "type": ""},
        ]
        meta["schema"]["columns"] = [{"name": "id", "dtype": "I64"}]
        meta["digests"] = dict.fromkeys(["col:id", "act:fc", "sum:blocks"], "0" * 32)

    path = shard(folder)
    forge.edit_meta(path, changed)
    blocks = 9 * rows // MIB

    def entries(header):
        meta = header["__metadata__"]
        header.clear()
        header["__metadata__"] = meta
        header["col:id"] = {"dtype": "I64", "shape": [rows], "data_offsets": [0, 8 * rows]}
        header["act:fc"] = {"dtype": "U8", "shape": [rows], "data_offsets": [8 * rows, 9 * rows]}
        ends = [9 * rows, 9 * rows + 8 * blocks]
        header["sum:blocks"] = {"dtype": "U64", "shape": [blocks], "data_offsets": ends}

    forge.edit_entries(path, entries, data=lambda old: b"")
    os.truncate(path, path.stat().st_size + 9 * rows + 8 * blocks)


def _other_program(folder):
    from safetensors.numpy import save_file

    layers, _ = forge.truth(0)
    save_file(layers, shard(folder))


CASES = [
    *[
        Case(f"a file of {size} bytes", raw(lambda old, size=size: old[:size]), "shorter than any shard")
        for size in range(8)
    ],
    Case("a file of 8 bytes", raw(lambda old: old[:8]), "header claims"),
    Case("a header cut short", raw(lambda old: old[:2000]), "header claims"),
    Case("data cut short", raw(lambda old: old[:-1]), "its tensors end at"),
    Case("a byte more", raw(lambda old: old + b"\0"), "its tensors end at"),
    Case("a sparse gigabyte more", lambda f: os.truncate(shard(f), 1 << 30), "its tensors end at"),
    Case("header length 0", _length(0), "no actlens header"),
    Case("header length 1", _length(1), "no actlens header"),
    Case("header length 2^63", _length(1 << 63), "header claims 9223372036854775808 bytes"),
    Case("header length 2^64-1", _length((1 << 64) - 1), "header claims 18446744073709551615"),
    Case("header length 2^48", _length(1 << 48), "header claims"),
    Case("header length one too many", raw(lambda old: struct.pack("<Q", len(old) - 7) + old[8:]), "claims"),
    Case("header length of another byte order", _length(4088, ">"), "header claims"),
    Case("header length a page short", _length(100), "does not match its digest"),
    Case("header of 80 MB", lambda f: _sparse(f, 81 << 20, struct.pack("<Q", 80 << 20)), "header claims"),
    Case(
        "header a byte over 16 MiB", lambda f: _sparse(f, 20 * MIB, struct.pack("<Q", 16 * MIB + 1)), "claims"
    ),
    Case("16 MiB of NUL", lambda f: _sparse(f, 17 * MIB, struct.pack("<Q", 16 * MIB)), "no actlens header"),
    Case("a sparse terabyte of NUL", lambda f: _sparse(f, 1 << 40), "no actlens header"),
    Case(
        "a sparse terabyte, header length beyond",
        lambda f: _sparse(f, 1 << 40, struct.pack("<Q", 1 << 39)),
        "header claims",
    ),
    Case(
        "a sparse terabyte of rows",
        _huge_rows,
        "at once: that takes|does not match its digest|not the shard that the manifest lists",
        relisted=True,
        other=True,
    ),
    Case("random bytes", raw(lambda old: os.urandom(len(old))), "is damaged"),
    Case("text", raw(lambda old: b"Sehr geehrte Damen und Herren, " * 99), "header claims"),
    Case("of another program", _other_program, "not a shard of a recording"),
    Case("a pickle", raw(lambda old: b"\x80\x04\x95" + b"cos\nsystem\n(S'true'\ntR." * 9), "header claims"),
    Case("a zip", raw(lambda old: b"PK\x03\x04" + old), "header claims"),
    Case("a digest of zeros", raw(_claims), "does not match its digest"),
    Case(
        "a digest in capitals", raw(lambda old: old[:35] + old[35:67].upper() + old[67:]), "match its digest"
    ),
    Case(
        "a digest that is no ASCII", raw(lambda old: old[:35] + b"\xff" * 32 + old[67:]), "match its digest"
    ),
    Case("a byte of padding changed", raw(lambda old: old[:4095] + b"x" + old[4096:]), "match its digest"),
]
