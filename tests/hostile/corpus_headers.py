"""Shards whose header is JSON of the wrong kind, under a right digest."""

from __future__ import annotations

import os

from hostile import forge
from hostile.cases import Case
from hostile.forge import MIB, shard

OPENING = b'{"__metadata__":{"digest":"' + b"0" * 32 + b'"'
FULL = 16 * MIB


def text(change):
    return lambda folder: forge.edit_text(shard(folder), change)


def entry(change):
    """The entry of `act:conv` changed."""
    return lambda folder: forge.edit_entries(shard(folder), lambda e: change(e["act:conv"]))


def swapped(old, new):
    return text(lambda t: t.replace(old, new, 1))


def whole(header):
    """Another header altogether, over the old data."""

    def make(folder):
        _, data = forge.parts(shard(folder))
        forge.put(shard(folder), header() if callable(header) else header, data)

    return make


def filled(start, unit, end):
    """A header of 16 MiB, full of something."""

    def make():
        count = (FULL - len(start) - len(end)) // len(unit)
        return (start + unit * count + end).ljust(FULL)

    return whole(make)


def _tensors(count):
    def make():
        empty = b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
        return OPENING + b',"actlens":"{}"}' + b"".join(b',"%d":%b' % (i, empty) for i in range(count)) + b"}"

    return whole(make)


def _added(more):
    """Something more at the end of the header."""
    return text(lambda t: t[:-1] + more + b"}")


def _member(value):
    return _added(b',"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"y":' + value + b"}")


def _reorder(entries):
    a, b = entries["act:conv"]["data_offsets"], entries["act:fc"]["data_offsets"]
    entries["act:conv"]["data_offsets"], entries["act:fc"]["data_offsets"] = b, a


def _hole(entries):
    for each in entries.values():
        if "data_offsets" in each:
            each["data_offsets"] = [offset + 8 for offset in each["data_offsets"]]


def _named(name):
    return swapped(b'"act:conv":', b'"' + name + b'":')


DTYPES = ["F4", "F6_E2M3", "F6_E3M2", "f32", "F128", "", "STRING", None, 5, ["F32"], {"F32": 1}, "F32" * 999]
SIZES = [-1, -16, True, 16.0, "16", None, [16], 1 << 48, (1 << 48) + 1, 1 << 63, 1 << 64, 10**100]
BROKEN = "breaks the format"

CASES = [
    *[Case(f"dtype {str(d)[:9]}", entry(lambda e, d=d: e.update(dtype=d)), BROKEN) for d in DTYPES],
    *[Case(f"size {str(s)[:24]}", entry(lambda e, s=s: e.update(shape=[s, 2, 3])), BROKEN) for s in SIZES],
    *[
        Case(f"shape {str(s)[:9]}", entry(lambda e, s=s: e.update(shape=s)), BROKEN)
        for s in (None, {}, "", 16, {"16": 1}, [1] * 33, [0, 1 << 48, 2], [1 << 47, 1 << 47], [0, 1 << 63])
    ],
    *[
        Case(f"offsets {o}", entry(lambda e, o=o: e.update(data_offsets=o)), BROKEN)
        for o in (
            [],
            [0],
            [0, 1, 2],
            None,
            {},
            "01",
            [96, 0],
            [-8, 376],
            [0.0, 384.0],
            [0, 1 << 63],
            [0, 1 << 40],
        )
    ],
    Case("no dtype", entry(lambda e: e.pop("dtype")), BROKEN),
    Case("no shape", entry(lambda e: e.pop("shape")), BROKEN),
    Case("no offsets", entry(lambda e: e.pop("data_offsets")), BROKEN),
    Case("a tensor that is a list", swapped(b'"act:conv":{', b'"act:conv":[],"x":{'), BROKEN),
    Case("a tensor that is a text", swapped(b'"act:conv":{', b'"act:conv":"","x":{'), BROKEN),
    Case("tensors that overlap", lambda f: forge.edit_entries(shard(f), _reorder), BROKEN),
    Case(
        "a hole", lambda f: forge.edit_entries(shard(f), _hole, data=lambda d: b"\0" * 8 + d), "starts at 8"
    ),
    Case(
        "1.6 million axes",
        whole(
            lambda: (
                OPENING
                + b',"actlens":"{}"},"a":{"dtype":"U8","shape":['
                + b"1," * 1_600_000
                + b'1],"data_offsets":[0,1]}}'
            )
        ),
        BROKEN,
    ),
    Case(
        "16 MiB of axes",
        filled(OPENING + b',"actlens":"{}"},"a":{"dtype":"U8","shape":[', b"1,", b"1]}}"),
        BROKEN,
    ),
    Case("16 MiB of tensors", _tensors(290_000), "more than 65536 tensors"),
    Case("65,537 tensors", _tensors(65_537), "more than 65536 tensors"),
    Case("16 MiB of commas", filled(OPENING + b"}", b",", b"}"), BROKEN),
    Case("16 MiB of opening brackets", filled(OPENING + b',"actlens":"{}"},"a":', b"[", b""), BROKEN),
    Case("16 MiB of opening braces", filled(OPENING + b',"actlens":"{}"}', b',"a":{', b""), BROKEN),
    Case("16 MiB of brackets", filled(OPENING + b',"actlens":"{}"},"a":[', b"[],", b"[]]}"), BROKEN),
    Case("16 MiB of digits", filled(OPENING + b',"actlens":"{}"},"a":', b"9", b"}"), BROKEN),
    Case("16 MiB of quotes", filled(OPENING + b',"actlens":"{}"}', b'"', b"}"), BROKEN),
    Case("16 MiB of escapes", filled(OPENING + b',"actlens":"', b"\\", b'"}}'), BROKEN),
    Case("16 MiB of escaped quotes", filled(OPENING + b',"actlens":"', b'\\"', b'"}}'), BROKEN),
    Case("16 MiB of name", filled(OPENING + b',"actlens":"{}"},"', b"a", b'":{}}'), BROKEN),
    Case("16 MiB of texts in __metadata__", filled(OPENING, b',"a":""', b"}}"), "something else than a few"),
    Case("16 MiB of spaces", filled(OPENING + b',"actlens":"{}"}', b" ", b"}"), BROKEN),
    Case("16 MiB of wide letters", filled(OPENING + b',"actlens":"', "🙂".encode(), b'"}}'), BROKEN),
    Case("a text without an end", filled(OPENING + b',"actlens":"', b"a", b""), BROKEN),
    Case("a number of 100,000 digits", _member(b"9" * 100_000), BROKEN),
    Case("a number of 4,000 digits as size", swapped(b"[16,2,3]", b"[" + b"9" * 4000 + b"]"), BROKEN),
    Case("1e999", swapped(b"[16,2,3]", b"[1e999,2,3]"), "out of range"),
    Case("NaN", swapped(b"[16,2,3]", b"[NaN,2,3]"), "NaN is not JSON"),
    Case("Infinity where it is not read", _member(b"-Infinity"), "-Infinity is not JSON"),
    Case("nested 3,000 deep", _member(b"[" * 2000 + b"]" * 2000), BROKEN),
    Case("nested 100,000 deep", _member(b"[" * 100_000 + b"]" * 100_000), BROKEN),
    Case(
        "a tensor twice",
        _added(b',"act:conv":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'),
        "key stands twice",
    ),
    Case(
        "a tensor twice, once escaped",
        _added(b',"act:con\\u0076":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'),
        "key stands twice",
    ),
    Case("a dtype twice", swapped(b'"dtype":"F32"', b'"dtype":"F32","dtype":"F32"'), "key stands twice"),
    Case(
        "__metadata__ twice",
        _added(b',"__metadata__":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'),
        BROKEN,
    ),
    Case("actlens twice", swapped(b',"actlens":', b',"actlens":"{}","actlens":'), "key stands twice"),
    Case("a second digest", swapped(b',"actlens":', b',"digest":"","actlens":'), "key stands twice"),
    Case(
        "no __metadata__",
        lambda f: forge.edit_entries(shard(f), lambda e: e.pop("__metadata__")),
        "no actlens",
    ),
    Case(
        "no actlens in it",
        lambda f: forge.edit_entries(shard(f), lambda e: e["__metadata__"].pop("actlens")),
        BROKEN,
    ),
    Case("a number in __metadata__", swapped(b',"actlens":', b',"x":5,"actlens":'), "than a few texts"),
    Case(
        "actlens an object",
        lambda f: forge.edit_entries(shard(f), lambda e: e["__metadata__"].update(actlens={})),
        "than a few texts",
    ),
    Case(
        "more texts in __metadata__", swapped(b',"actlens":', b' , "x" : "y" ,"actlens":'), "", relisted=True
    ),
    Case("digest not the first", swapped(b'"digest":', b'"dugest":'), "no actlens header"),
    Case("spaces first", text(lambda t: b" " + t), "no actlens header"),
    Case("a byte order mark", text(lambda t: b"\xef\xbb\xbf" + t), "no actlens header"),
    Case("UTF-16", text(lambda t: t.decode().encode("utf-16")), "no actlens header"),
    Case("not UTF-8", _named(b"act:\xff"), BROKEN),
    Case("not UTF-8 in the metadata", swapped(b'\\"rows\\"', b'\\"x\\":\\"\xff\\",\\"rows\\"'), BROKEN),
    Case("half a surrogate pair", _named(b"act:\\ud800"), BROKEN),
    Case(
        "half a surrogate pair in the metadata",
        swapped(b'\\"rows\\"', b'\\"x\\":\\"\\ud800\\",\\"rows\\"'),
        BROKEN,
    ),
    Case("a bare control character", _named(b"act:\x07"), BROKEN),
    Case("a name with NUL", _named(b"act:\\u0000"), "holds NUL"),
    Case("an empty name", _named(b""), "do not name its tensors|as its schema"),
    Case("a name of 1,025 bytes", _named(b"a" * 1025), "too long"),
    Case("a name of 1,025 bytes, escaped", _named(b"\\u00e4" * 513), "too long"),
    Case("a name with a way out", _named(b"act:../../../etc/passwd"), "do not name its tensors"),
    Case("a name with a newline", _named(b"act:\\n"), "do not name its tensors"),
    Case("a comma at the end", text(lambda t: t[:-1] + b",}"), BROKEN),
    Case("text after the end", text(lambda t: t + b"{}"), BROKEN),
    Case("a list", whole(b"[]"), "no actlens header"),
    Case("nothing but spaces", whole(b""), "no actlens header"),
    Case("padding of other spaces", text(lambda t: t + b"\t\r\n"), "", relisted=True),
    Case("padding of NUL", text(lambda t: t + b"\0"), BROKEN),
    Case(
        "spaces where JSON has them",
        text(lambda t: t.replace(b'"shape":[', b'"shape" :\n[ ')),
        "",
        relisted=True,
    ),
    Case("random bytes behind the opening", whole(lambda: OPENING + os.urandom(3000)), BROKEN),
]
