"""Feed the reader of recordings with spoilt files for as long as wanted.

python benchmarks/fuzz.py --seconds 60                     random changes of a good shard and manifest
python benchmarks/fuzz.py --atheris [options of libFuzzer] guided by coverage; needs atheris

Only errors of actlens may come out. Anything else ends the run with its traceback; the recording is kept.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xxhash

import actlens
from actlens.errors import ActlensError

MANIFEST = 14  # where its digest begins
SHARD = 35
SPECIAL = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\0",
    b"\xff",
    b"9" * 30,
    b"1e999",
    b"NaN",
    b"\\ud800",
]


class Target:
    """A recording of one shard, spoilt again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        with actlens.Recorder(self.folder, durability="rename") as rec:
            rec.write(
                {"a": np.ones((6, 3), "f4"), "b": np.ones((6, 2))}, label=["a", "bc", "", "ä", "e", "f"]
            )
        self.manifest = self.folder / "manifest.json"
        (self.shard,) = (self.folder / "shards").glob("*/*.safetensors")
        self.clean = {path: path.read_bytes() for path in (self.manifest, self.shard)}

    def shard_of(self, header: bytes) -> None:
        """Read a shard with another header, under a right digest; without a manifest."""
        raw = self.clean[self.shard]
        (length,) = struct.unpack("<Q", raw[:8])
        self.manifest.unlink(missing_ok=True)
        head = struct.pack("<Q", len(header)) + header
        self.shard.write_bytes(signed(head, SHARD) + raw[8 + length :])
        self.read()

    def manifest_of(self, content: bytes) -> None:
        """Read another manifest, under a right digest."""
        self.shard.write_bytes(self.clean[self.shard])
        self.manifest.write_bytes(signed(content, MANIFEST))
        self.read()

    def read(self) -> bool:
        """Read everything; say whether it opened."""
        try:
            run = actlens.open(self.folder, verify="all")
            for layer in run.values():
                layer[:]
                list(layer.chunks(2))
            for name in run.columns:
                run.columns[name]
        except ActlensError:
            return False
        return True


def signed(content: bytes, at: int) -> bytes:
    """Give content the digest that it should have."""
    if len(content) < at + 32:
        return content
    blank = content[:at] + b"0" * 32 + content[at + 32 :]
    return content[:at] + xxhash.xxh3_128_hexdigest(blank).encode() + content[at + 32 :]


def spoilt(raw: bytes, rng: random.Random) -> bytes:
    """Change a few places."""
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at, other, length = rng.randrange(len(changed)), rng.randrange(len(changed)), rng.randint(1, 30)
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at : at + length] = changed[other : other + length]
        elif kind == 2:
            changed[at:at] = changed[other : other + length]
        elif kind == 3:
            changed[at:at] = rng.choice(SPECIAL)
        elif len(changed) > length:
            del changed[at : at + length]
        if not changed:
            return b"{}"
    return bytes(changed)


def run_for(seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="actlens-fuzz-"))
    target = Target(folder)
    raw = target.clean[target.shard]
    (length,) = struct.unpack("<Q", raw[:8])
    header, manifest = raw[8 : 8 + length].rstrip(), target.clean[target.manifest]
    opening = header[:59]
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        target.shard_of(opening + spoilt(header[59:], rng))
        target.manifest_of(spoilt(manifest, rng))
        count += 2
    print(f"{count} spoilt recordings in {seconds:g} s (seed {seed}): nothing but errors of actlens")


def run_atheris(arguments: list[str]) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit(
            "--atheris needs atheris, which is not installed: pip install atheris. Without it: --seconds 60"
        )
    folder = Path(tempfile.mkdtemp(prefix="actlens-fuzz-"))
    target = Target(folder)
    raw, manifest = target.clean[target.shard], target.clean[target.manifest]
    opening = raw[8:67]
    corpus = folder / "corpus"  # to begin with what is good: from nothing, no digest would ever be passed
    corpus.mkdir()
    (corpus / "shard").write_bytes(b"\0" + raw[67:4096].rstrip())
    (corpus / "manifest").write_bytes(b"\xff" + manifest[46:])

    def one(data: bytes) -> None:
        if data[:1] < b"\x80":
            target.shard_of(opening + data[1:])
        else:
            target.manifest_of(manifest[:46] + data[1:])

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    options, rest = parser.parse_known_args()
    if options.atheris:
        run_atheris(rest)
    else:
        run_for(options.seconds, options.seed)


if __name__ == "__main__":
    main()
