"""Shards whose columns or block sums are wrong, under right digests."""

from __future__ import annotations

import numpy as np

from hostile import forge
from hostile.cases import Case
from hostile.forge import ROWS, shard


def offsets(change):
    """The offsets of the text column changed."""

    def changed(raw):
        values = np.frombuffer(raw, "<i8").copy()
        change(values)
        return values.tobytes()

    return lambda folder: forge.edit_tensor(shard(folder), "idx:col:label", changed)


def texts(change):
    return lambda folder: forge.edit_tensor(shard(folder), "col:label", change)


def entry(name, **changes):
    return lambda folder: forge.edit_entries(shard(folder), lambda e: e[name].update(changes))


def _set(at, value):
    return offsets(lambda o: o.__setitem__(at, value))


def _swap(o):
    o[3], o[4] = int(o[4]), int(o[3])


def _wrap(o):
    """Rising by differences that wrap around."""
    o[1], o[2], o[3] = 2**63 - 1, -(2**63), -1
    o[4:-1] = o[-1]


def _layers(rows=ROWS):
    return {"act:fc": np.zeros((rows, 1), "f8"), "col:id": np.arange(rows)}


def _describe(rows, *columns):
    """The metadata of `_layers`, and of columns of text."""

    def change(meta):
        meta["rows"] = rows
        meta["schema"]["layers"] = [
            {"key": "fc", "dtype": "F64", "shape": [1], "axes": ["sample", "unit"], "type": ""}
        ]
        meta["schema"]["columns"] = [
            {"name": "id", "dtype": "I64"},
            *({"name": c, "dtype": "STRING"} for c in columns),
        ]

    return change


def _long_text(folder):
    """One text of 4 MB and 5,000 empty ones: padded, they would take 80 GB."""
    rows = 5000
    ends = np.full(rows + 1, 4_000_000)
    ends[0] = 0
    text = np.full(4_000_000, ord("a"), np.uint8)
    tensors = {**_layers(rows), "idx:col:label": ends, "col:label": text}
    forge.build(shard(folder), tensors, _describe(rows, "label"))


def _a_long_text_and_many(folder):
    """The same over two shards: one text of 4 MB in one, 5,000 short rows in the other."""
    first = shard(folder)
    long = {
        **_layers(16),
        "idx:col:label": np.array([0] + [4_000_000] * 16),
        "col:label": np.full(4_000_000, ord("a"), np.uint8),
    }
    short = {
        **_layers(5000),
        "idx:col:label": np.arange(5001),
        "col:label": np.full(5000, ord("b"), np.uint8),
    }
    second = first.with_name("00000001.safetensors")
    second.write_bytes(first.read_bytes())
    (folder / "manifest.json").unlink()
    forge.build(first, long, _describe(16, "label"))
    digest = forge.parts(first)[0][27:59].decode()

    def follows(meta):
        _describe(5000, "label")(meta)
        meta.update(seq=1, prev=digest)

    forge.build(second, short, follows)


def _no_sums(folder):
    def without(entries):
        sums = entries.pop("sum:blocks")["data_offsets"]
        entries["act:sums"] = {"dtype": "U8", "shape": [sums[1] - sums[0]], "data_offsets": sums}

    forge.edit_entries(shard(folder), without)
    forge.edit_meta(
        shard(folder), lambda m: m["digests"].update({"act:sums": m["digests"].pop("sum:blocks")})
    )


def _sums_first(folder):
    def change(entries):
        for name, each in entries.items():
            if name != "__metadata__":
                each["data_offsets"] = [offset + 8 for offset in each["data_offsets"]]
        entries["sum:blocks"]["data_offsets"] = [0, 8]

    forge.edit_entries(shard(folder), change, data=lambda d: d[-8:] + d[:-8])


def _no_sums_at_first(folder):
    """Block sums of nothing, at the start: all data lies behind them."""

    def change(entries):
        begin, end = entries["sum:blocks"]["data_offsets"]
        entries["sum:blocks"].update(shape=[0], data_offsets=[0, 0])
        entries["x"] = {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}

    forge.edit_entries(shard(folder), change)
    forge.edit_meta(shard(folder), lambda m: m["digests"].update(x="0" * 32))


def _stray_offsets(folder):
    """Offsets for a column of numbers, which has none."""
    rows = 16
    tensors = {
        **_layers(rows),
        "idx:col:id": np.arange(0, 8 * rows + 8, 8),
    }
    forge.build(shard(folder), tensors, _describe(rows))


FIT = "offsets of a text column do not fit"
SCHEMA = "not as its schema says"
SUMS = "block sums do not (cover its data|match)"

CASES = [
    Case("offsets that fall", offsets(_swap), FIT, relisted=True),
    Case("offsets that wrap around", offsets(_wrap), FIT, relisted=True),
    Case("first offset 1", _set(0, 1), FIT, relisted=True),
    Case("first offset -1", _set(0, -1), FIT, relisted=True),
    Case("last offset beyond", _set(-1, 10**6), FIT, relisted=True),
    Case("last offset 2^62", _set(-1, 1 << 62), FIT, relisted=True),
    Case("last offset before the end", _set(-1, 150), FIT, relisted=True),
    Case("an offset beyond", _set(5, 1 << 40), FIT, relisted=True),
    Case("an offset below 0", _set(5, -3), FIT, relisted=True),
    Case("an offset within a letter", _set(1, 9), "codec can't decode", relisted=True),
    Case("text that is not UTF-8", texts(lambda t: b"\xff" * len(t)), "codec can't decode", relisted=True),
    Case(
        "text of half surrogates",
        texts(lambda t: b"\xed\xa0\x80" + t[3:]),
        "codec can't decode",
        relisted=True,
    ),
    Case("text with NUL", texts(lambda t: b"\0" + t[1:]), "a text holds NUL", relisted=True),
    Case(
        "text with NUL at its end",
        texts(lambda t: t[:8] + b"\0\0" + t[10:]),
        "a text holds NUL",
        relisted=True,
    ),
    Case("offsets of another type", entry("idx:col:label", dtype="U64"), SCHEMA, relisted=True),
    Case("offsets of floats", entry("idx:col:label", dtype="F64"), SCHEMA, relisted=True),
    Case("offsets in two axes", entry("idx:col:label", shape=[17, 1]), SCHEMA, relisted=True),
    Case("text of another type", entry("col:label", dtype="I8"), SCHEMA, relisted=True),
    Case(
        "text in two axes", entry("col:label", shape=[160, 1]), "breaks the format|" + SCHEMA, relisted=True
    ),
    Case("one text of 4 MB among many", _long_text, "no layer 'conv'", relisted=True, other=True),
    Case("one text of 4 MB, many in the next shard", _a_long_text_and_many, "no layer 'conv'", other=True),
    Case("offsets for numbers", _stray_offsets, "no layer 'conv'", relisted=True, other=True),
    Case("no block sums", _no_sums, SUMS, relisted=True),
    Case("block sums first", _sums_first, SUMS, relisted=True),
    Case("block sums of nothing", _no_sums_at_first, SUMS, relisted=True),
    Case("block sums of another type", entry("sum:blocks", dtype="I64"), SUMS, relisted=True),
    Case("block sums in two axes", entry("sum:blocks", shape=[1, 1]), SUMS, relisted=True),
    Case("block sums that are bytes", entry("sum:blocks", dtype="U8", shape=[8]), SUMS, relisted=True),
]
