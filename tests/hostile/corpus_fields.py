"""Shards whose metadata (docs/format.md, 3.4 and 3.5) is wrong, under a right digest."""

from __future__ import annotations

from hostile import forge
from hostile.cases import Case
from hostile.forge import MIB, shard


def meta(change):
    return lambda folder: forge.edit_meta(shard(folder), change)


def meta_text(change):
    return lambda folder: forge.edit_meta_text(shard(folder), change)


def alone(make):
    """Without a manifest."""

    def change(folder):
        make(folder)
        (folder / "manifest.json").unlink()

    return change


def field(name, value):
    return meta(lambda m: m.update({name: value}))


def schema(change):
    return meta(lambda m: change(m["schema"]))


def layer(**changes):
    return schema(lambda s: s["layers"][0].update(changes))


def column(**changes):
    return schema(lambda s: s["columns"][2].update(changes))


def _wrong(name, values):
    return [Case(f"{name} = {str(value)[:12]}", field(name, value), WRONG, relisted=True) for value in values]


def _digests(change):
    return meta(lambda m: change(m["digests"]))


def _large(unit):
    """Metadata of 15 MiB, escapes included."""
    return meta_text(lambda t: t[:-1] + ',"x":[' + unit * (10 * MIB // (len(unit) + unit.count('"'))) + "0]}")


WRONG = "metadata breaks the format|manifest.json cannot be read"
OUTSIDE = "not as its schema says|not the shard that the manifest lists"
NUMBERS = [-1, 1.0, True, "3", None, [], (1 << 48) + 1, 1 << 63, 1 << 64, 10**100]
TEXTS = [None, 5, [], {}]
DAMAGED = "does not match its digest"

CASES = [
    *_wrong("rows", NUMBERS),
    *_wrong("rank", NUMBERS[:6]),
    *_wrong("seq", NUMBERS[:6]),
    *_wrong("attempt", TEXTS),
    *_wrong("recording", TEXTS),
    *_wrong("prev", TEXTS),
    *_wrong("last", [0, 1, "yes", None, []]),
    *_wrong("digests", [None, [], "", {"act:conv": 5}]),
    *_wrong("schema", [None, [], "", {}, {"layers": {}, "columns": []}, {"layers": [5], "columns": []}]),
    *_wrong("origin", [None, [], "", {}, {"created": 5}]),
    *_wrong("version", [None, 1, "1.0", [1], [1, 0, 0], [1.0, 0], ["1", "0"], [True, 0]]),
    *_wrong("requires", [None, "zstd", [5], {}]),
    Case("rows = 2^48", field("rows", 1 << 48), OUTSIDE, relisted=True),
    Case("rows one more", field("rows", 17), "not as its schema says", relisted=True),
    Case("rows none", alone(field("rows", 0)), "not as its schema says"),
    Case("version 2.0", field("version", [2, 0]), "has format version 2.0; this actlens", relisted=True),
    Case("version 0.0", field("version", [0, 0]), "has format version 0.0; this actlens", relisted=True),
    Case(
        "version of 4,000 digits",
        field("version", [10**4000, 0]),
        WRONG + "|has format version",
        relisted=True,
    ),
    Case("version 1.999", field("version", [1, 999]), "", relisted=True),
    Case("unknown keys", field("colour", {"of": ["the", 1.5, None]}), "", relisted=True),
    Case("requires zstd", field("requires", ["zstd"]), "requires zstd, which this actlens", relisted=True),
    Case("rank of another folder", field("rank", 7), "it was renamed", relisted=True),
    Case("seq of another file", field("seq", 7), "it was renamed", relisted=True),
    Case("attempt with a way out", field("attempt", "../../x"), "it was renamed", relisted=True),
    Case("attempt of a megabyte", field("attempt", "a" * MIB), "it was renamed", relisted=True),
    Case("prev of a first shard", alone(field("prev", "0" * 32)), "does not follow the shard before it"),
    Case("actlens no JSON", meta_text(lambda t: "actlens"), WRONG, relisted=True),
    Case("actlens empty", meta_text(lambda t: ""), WRONG, relisted=True),
    Case("actlens a list", meta_text(lambda t: "[]"), WRONG, relisted=True),
    Case("actlens null", meta_text(lambda t: "null"), WRONG, relisted=True),
    Case("actlens twice over", meta_text(lambda t: t + t), WRONG, relisted=True),
    Case("actlens with a byte order mark", meta_text(lambda t: "\ufeff" + t), WRONG, relisted=True),
    Case("a field twice", meta_text(lambda t: t[:-1] + ',"rows":16}'), "a key stands twice", relisted=True),
    Case(
        "a digest twice",
        meta_text(lambda t: t.replace('"digests":{', '"digests":{"act:fc":"",')),
        "stands twice",
    ),
    Case("an unknown field twice", meta_text(lambda t: t[:-1] + ',"x":1,"x":2}'), "a key stands twice"),
    Case("NaN in an unknown field", meta_text(lambda t: t[:-1] + ',"x":NaN}'), "NaN is not JSON"),
    Case(
        "a field nested 100,000 deep",
        meta_text(lambda t: t[:-1] + ',"x":' + "[" * 10**5 + "]" * 10**5 + "}"),
        WRONG,
    ),
    Case(
        "a number of 100,000 digits in a field",
        meta_text(lambda t: t[:-1] + ',"x":' + "9" * 10**5 + "}"),
        WRONG,
    ),
    Case("10 MiB of lists in a field", _large("[],"), "far more entries", relisted=True),
    Case("10 MiB of texts in a field", _large('"",'), "far more entries", relisted=True),
    Case("10 MiB of numbers in a field", _large("0,"), "far more entries", relisted=True),
    Case("10 MiB of shape", layer(shape=[1] * (4 * MIB)), "far more entries", relisted=True),
    Case(
        "100,000 digests",
        _digests(lambda d: d.update((str(i), "") for i in range(100_000))),
        "far more entries",
    ),
    Case("a digest missing", _digests(lambda d: d.pop("act:fc")), "do not name its tensors", relisted=True),
    Case(
        "a digest too many",
        _digests(lambda d: d.update({"act:x": "0" * 32})),
        "do not name its",
        relisted=True,
    ),
    Case(
        "a digest too short",
        _digests(lambda d: d.update({"act:fc": d["act:fc"][:31]})),
        DAMAGED,
        relisted=True,
    ),
    Case(
        "a digest of capitals",
        _digests(lambda d: d.update({"act:fc": d["act:fc"].upper()})),
        DAMAGED,
        relisted=True,
    ),
    Case("digests swapped", _digests(lambda d: d.update({"act:fc": d["act:conv"]})), DAMAGED, relisted=True),
    Case(
        "a layer twice",
        schema(lambda s: s["layers"].append(s["layers"][0])),
        "has a layer twice",
        relisted=True,
    ),
    Case(
        "a column twice",
        schema(lambda s: s["columns"].append(s["columns"][0])),
        "column twice",
        relisted=True,
    ),
    Case("a layer that is not there", layer(key="other"), "not as its schema says", relisted=True),
    Case("a layer without a name", layer(key=""), "name that is empty", relisted=True),
    Case("a layer with NUL", layer(key="a\0"), "holds NUL", relisted=True),
    Case("a layer of 901 bytes", layer(key="a" * 901), "too long", relisted=True),
    Case("a layer of another dtype", layer(dtype="I32"), "not as its schema says", relisted=True),
    Case("a layer of no dtype", layer(dtype="F4"), "unknown dtype 'F4'", relisted=True),
    Case("a layer of text", layer(dtype="STRING"), "unknown dtype 'STRING'", relisted=True),
    Case("a layer of another shape", layer(shape=[3, 2]), "not as its schema says", relisted=True),
    Case("a layer of negative shape", layer(shape=[-2, -3]), "impossible shape", relisted=True),
    Case("a layer of 2^63", layer(shape=[1 << 63]), "impossible shape|Expected `int`", relisted=True),
    Case(
        "a layer of 32 axes", layer(shape=[1] * 32, axes=["sample"] + ["a"] * 32), "impossible", relisted=True
    ),
    Case("too few axes", layer(axes=["sample", "channel"]), "axes that do not fit", relisted=True),
    Case("too many axes", layer(axes=["sample", "a", "b", "c"]), "axes that do not fit", relisted=True),
    Case("no axes", layer(axes=[]), "axes that do not fit", relisted=True),
    Case(
        "sample not the first axis", layer(axes=["a", "sample", "b"]), "axes that do not fit", relisted=True
    ),
    Case("axes of numbers", layer(axes=[1, 2, 3]), WRONG, relisted=True),
    Case("a column of another dtype", column(dtype="I32"), "not as its schema says", relisted=True),
    Case("a column of no dtype", column(dtype="U128"), "unknown dtype 'U128'", relisted=True),
    Case("a column said to be text", column(dtype="STRING"), "not as its schema says", relisted=True),
    Case("a column that is not there", column(name="other"), "not as its schema says", relisted=True),
    Case("no column id", schema(lambda s: s["columns"].pop(0)), "no column 'id'", relisted=True),
    Case("no columns", schema(lambda s: s["columns"].clear()), "no column 'id'", relisted=True),
    Case(
        "ids that are floats",
        schema(lambda s: s["columns"][0].update(dtype="F64")),
        "no column 'id'",
        relisted=True,
    ),
]
