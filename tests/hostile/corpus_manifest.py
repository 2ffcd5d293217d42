"""Manifests that are wrong, under a right digest unless that is what is wrong."""

from __future__ import annotations

import os

from hostile import forge
from hostile.cases import Case
from hostile.forge import MIB


def manifest(change):
    return lambda folder: forge.edit_manifest(folder, change)


def text(change):
    return lambda folder: forge.edit_manifest_text(folder, change)


def field(name, value):
    return manifest(lambda m: m.update({name: value}))


def line(change):
    """The line of the second shard changed."""
    return manifest(lambda m: change(m["shards"][1]))


def _wrong(name, values):
    return [several(f"manifest: {name} = {str(v)[:12]}", field(name, v), READ) for v in values]


def _line(name, values):
    return [
        several(f"line: {name} = {str(v)[:12]}", line(lambda s, v=v: s.update({name: v})), READ)
        for v in values
    ]


def several(name, make, refused):
    return Case(name, make, refused, several=True)


def _path(name, path):
    return several(f"path: {name}", line(lambda s: s.update(path=path(s["path"]))), "lacks shards")


def _big(fill):
    """A manifest of 200 MiB in valid JSON."""

    def make(folder):
        old = forge.manifest_text(folder)
        with (folder / "manifest.json").open("wb") as file:
            file.write(old[:-2])
            for _ in range(200):
                file.write(fill)
            file.write(old[-2:])

    return make


def _huge_list(folder):
    """Just under the size that is read: shards that are not there."""
    one = b'{"path":"a","rows":0,"bytes":0,"digest":""},'
    old = forge.manifest_text(folder)
    at = old.index(b'"shards": [') + len(b'"shards": [')
    forge.put_manifest(folder, old[:at] + one * (4 * MIB // len(one) - 200) + old[at:])


def _grown(unit):
    """Just under the size that is read, full of something in a field that nobody knows."""

    def make(folder):
        old = forge.manifest_text(folder).rstrip()
        count = (4 * MIB - len(old) - 99) // len(unit)
        forge.put_manifest(folder, old[:-1] + b',"x":[' + unit * count + b"0]}")

    return make


def _sparse(size):
    return lambda folder: os.truncate(folder / "manifest.json", size)


def _shift(m):
    """Rows that add up, and are wrong."""
    m["shards"][0]["rows"] += 1
    m["shards"][-1]["rows"] -= 1


def _huge_rows(m):
    m["shards"][0]["rows"] += (1 << 40) - m["rows"]
    m["rows"] = 1 << 40


def _layer(**changes):
    return manifest(lambda m: m["schema"]["layers"][0].update(changes))


def _again(m):
    m["shards"].append(m["shards"][0])
    m["rows"] += m["shards"][0]["rows"]


READ = "manifest.json cannot be read"
NUMBERS = [-1, 1.0, True, "3", None, [], 1 << 63, 10**100]

CASES = [
    *_wrong("rows", NUMBERS),
    *_wrong("recording", [None, 5, []]),
    *_wrong("sealed", [None, 1, "true"]),
    *_wrong("origin", [None, [], {}]),
    *_wrong("shards", [None, {}, [5], [[]], [{}], "all"]),
    *_wrong("schema", [[], 5, {}, {"layers": 5, "columns": []}]),
    *_wrong("version", [None, [1], "1.0", [1.0, 0]]),
    *_wrong("requires", ["zstd", [5]]),
    *_wrong("format", [None, 5]),
    *_line("rows", NUMBERS),
    *_line("bytes", NUMBERS),
    *_line("digest", [None, 5]),
    *_line("path", [None, 5, []]),
    _path("none", lambda p: ""),
    _path("absolute", lambda p: "/etc/passwd"),
    _path("out of it", lambda p: "../../../../etc/passwd"),
    _path("out of it and back", lambda p: "shards/../" + p),
    _path("dots", lambda p: "./" + p),
    _path("two slashes", lambda p: p.replace("/", "//")),
    _path("a drive", lambda p: "C:\\" + p),
    _path("UNC", lambda p: "\\\\server\\share\\" + p),
    _path("backslashes", lambda p: p.replace("/", "\\")),
    _path("a URL", lambda p: "file://" + p),
    _path("http", lambda p: "http://localhost:1/" + p),
    _path("percent", lambda p: p.replace("shards/", "shards/%2e%2e/shards/")),
    _path("NUL", lambda p: p + "\0"),
    _path("a newline", lambda p: p + "\n"),
    _path("the manifest itself", lambda p: "manifest.json"),
    _path("a folder", lambda p: os.path.dirname(p)),
    _path("a megabyte", lambda p: p * 10_000),
    several(
        "path: another shard's", line(lambda s: s.update(path=s["path"].replace("1.safe", "0.safe"))), ""
    ),
    several("shards in another order", manifest(lambda m: m["shards"].reverse()), ""),
    several("a shard twice", manifest(_again), ""),
    several("rows that do not add up", field("rows", 17), "do not add up"),
    several("rows moved", manifest(_shift), "not the shard that the manifest lists"),
    several("rows = 2^40", manifest(_huge_rows), "not the shard that the manifest lists"),
    several("bytes of a shard", line(lambda s: s.update(bytes=1)), "not the shard that the manifest lists"),
    several(
        "digest of a shard", line(lambda s: s.update(digest="0" * 32)), "not the shard that the manifest"
    ),
    several(
        "digest of a shard in capitals",
        line(lambda s: s.update(digest=s["digest"].upper())),
        "not the shard that",
    ),
    several("another recording", field("recording", "0" * 32), "belongs to another recording"),
    several("another format", field("format", "zarr"), "of the format 'zarr'"),
    several("a format of a megabyte", field("format", "z" * MIB), "of the format 'zz"),
    several("manifest of version 2.0", field("version", [2, 0]), "has format version 2.0"),
    several("manifest of version 1.999", field("version", [1, 999]), ""),
    several("manifest requires zstd", field("requires", ["zstd"]), "requires zstd, which"),
    several("manifest with unknown keys", field("colour", {"of": [1.5, None]}), ""),
    several("sealed without a schema", field("schema", None), ""),
    several("sealed without shards", manifest(lambda m: m.update(shards=[], rows=0)), ""),
    several("not sealed, with shards", field("sealed", value=False), ""),
    several(
        "schema: layer twice",
        manifest(lambda m: m["schema"]["layers"].append(m["schema"]["layers"][0])),
        READ,
    ),
    several(
        "schema: column twice",
        manifest(lambda m: m["schema"]["columns"].append(m["schema"]["columns"][0])),
        READ,
    ),
    several("schema: no id", manifest(lambda m: m["schema"]["columns"].pop(0)), READ),
    several("schema: no dtype", _layer(dtype="F4"), READ),
    several("schema: another dtype", _layer(dtype="F64"), "differ from the recording's"),
    several("schema: another shape", _layer(shape=[3, 2]), "differ from the recording's"),
    several("schema: another key", _layer(key="other"), "differ from the recording's|no layer 'conv'"),
    several("schema: a shape below 0", _layer(shape=[-2, 3]), READ),
    several("schema: a shape of 2^40", _layer(shape=[1 << 40, 1]), "differ from the recording's"),
    several("schema: a shape beyond", _layer(shape=[1 << 40, 1 << 40]), READ),
    several("schema: axes missing", _layer(axes=["sample"]), READ),
    several(
        "manifest: a key twice",
        text(lambda t: t.replace(b'"rows": 16', b'"rows": 16, "rows": 16')),
        "stands twice",
    ),
    several(
        "manifest: a line's key twice",
        text(lambda t: t.replace(b'"path"', b'"path": "x", "path"', 1)),
        "twice",
    ),
    several("manifest: NaN", field("x", float("nan")), "NaN is not JSON"),
    several(
        "manifest: nested deep",
        text(lambda t: t.rstrip()[:-1] + b',"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        READ,
    ),
    several(
        "manifest: 100,000 digits", text(lambda t: t.rstrip()[:-1] + b',"x":' + b"9" * 10**5 + b"}"), READ
    ),
    several("manifest: half a surrogate pair", text(lambda t: t.rstrip()[:-1] + b',"x":"\\ud800"}'), READ),
    several("manifest: not UTF-8", text(lambda t: t.rstrip()[:-1] + b',"x":"\xff"}'), READ),
    several(
        "manifest: UTF-16",
        lambda f: (f / "manifest.json").write_bytes(forge.manifest_text(f).decode().encode("utf-16")),
        READ,
    ),
    several(
        "manifest: a byte order mark",
        lambda f: (f / "manifest.json").write_bytes(b"\xef\xbb\xbf" + forge.manifest_text(f)),
        READ,
    ),
    several("manifest: text after the end", text(lambda t: t + b"{}"), READ),
    several(
        "manifest: digest wrong",
        lambda f: forge.put_manifest(
            f, forge.manifest_text(f).replace(b'"rows": 16', b'"rows": 61'), digest=False
        ),
        "does not match its digest",
    ),
    several(
        "manifest: no digest",
        lambda f: (f / "manifest.json").write_bytes(
            forge.manifest_text(f).replace(b'"digest"', b'"dugest"', 1)
        ),
        "no digest",
    ),
    several("manifest: empty", lambda f: (f / "manifest.json").write_bytes(b""), READ),
    several("manifest: a byte", lambda f: (f / "manifest.json").write_bytes(b"{"), READ),
    several("manifest: a list", lambda f: (f / "manifest.json").write_bytes(b"[]"), READ),
    several("manifest: cut short", lambda f: os.truncate(f / "manifest.json", 200), READ),
    several("manifest: a sparse 257 MiB", _sparse(257 * MIB), "the shards beside it need no more"),
    several("manifest: a sparse 255 MiB", _sparse(255 * MIB), "the shards beside it need no more"),
    several("manifest: a sparse terabyte", _sparse(1 << 40), "the shards beside it need no more"),
    several("manifest: a sparse 4 MiB", _sparse(4 * MIB), READ),
    Case("manifest: 200 MiB of spaces", _big(b" " * MIB), "need no more", several=True, slow=True),
    several("manifest: 90,000 shards that are not there", _huge_list, "lacks shards|far more entries"),
    several("manifest: 4 MiB of lists", _grown(b"[],"), "far more entries"),
    several("manifest: 4 MiB of objects", _grown(b"{},"), "far more entries"),
    several("manifest: 4 MiB of texts", _grown(b'"",'), "far more entries"),
    several("manifest: 4 MiB of numbers", _grown(b"0,"), "far more entries"),
    several("manifest: 4 MiB of one text", _grown(b'"' + b"a" * 4_100_000 + b'",'), ""),
    several("manifest: 4 MiB of wide letters", _grown(b'"' + "🙂".encode() * 1_000_000 + b'",'), ""),
]
