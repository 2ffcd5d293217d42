"""The manifest: an index of the shards, made from them, and made again from them whenever it is in doubt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from actlens.errors import CorruptRecording, ReadFailed, RecordingNotFound
from actlens.format.commit import Durability, create_bytes, replace_bytes
from actlens.format.digests import hex128
from actlens.format.reader import Shard, Verify, check_version
from actlens.format.schema import VERSION, Count, Origin, Schema, shard_name

MANIFEST = "manifest.json"
SHARDS = "shards"

_MAX_BYTES = 256 << 20
_ZEROS = "0" * 32
_OPENING = b'{\n "digest": "'
_DIGEST = slice(len(_OPENING), len(_OPENING) + 32)
_WRITER = re.compile(r"(\d{5})-[0-9a-z-]{1,64}")
_SHARD = re.compile(r"\d{8}\.safetensors")


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One shard, as the manifest lists it. `path` is relative to the recording, with '/'."""

    path: str
    rows: Count
    bytes: Count
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole index. Unsealed, it names the recording and nothing more.

    `digest` comes first, so that it stands at a fixed place, and is filled in when the file is written.
    """

    digest: str = _ZEROS
    format: str = "actlens"
    version: tuple[int, int] = VERSION
    requires: tuple[str, ...] = ()
    recording: str
    sealed: bool
    origin: Origin
    rows: Count = 0
    schema: Schema | None = None
    shards: tuple[ShardEntry, ...] = ()


class _Opening(msgspec.Struct):
    """What must be understood before the rest is read."""

    format: str
    version: tuple[int, int]
    requires: tuple[str, ...] = ()


def claim(folder: Path, manifest: Manifest, *, durability: Durability) -> None:
    """Make the manifest of a new recording; it must not be there.

    Raises:
        FileExistsError: another recording has the folder.
    """
    create_bytes(folder / MANIFEST, _encode(manifest), durability=durability)


def load(folder: Path) -> Manifest | None:
    """Read the manifest, or give None where there is none."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CorruptRecording.manifest(path, f"it is larger than {_MAX_BYTES} bytes")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ReadFailed.of(path, error) from error
    if content.startswith(_OPENING) and content[_DIGEST] != _digest(content):
        raise CorruptRecording.manifest(path, "it does not match its digest: it was changed or damaged")
    try:
        opening = msgspec.json.decode(content, type=_Opening)
        if opening.format != "actlens":
            raise RecordingNotFound.of(folder, f"its manifest.json is of the format {opening.format!r}")
        check_version(path, opening.version, opening.requires)
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptRecording.manifest(path, str(error)) from error
    if not content.startswith(_OPENING) or manifest.rows != sum(shard.rows for shard in manifest.shards):
        raise CorruptRecording.manifest(path, "it has no digest, or its rows do not add up")
    return manifest


def shard_paths(folder: Path) -> list[str]:
    """List the committed shards by their relative paths, in the order of the rows.

    The order is: rank, attempt (its name begins with its time), sequence number. Names that are not of
    the format are not shards: temporary files, and whatever else a person put there.
    """
    root = folder / SHARDS
    if not root.is_dir():
        return []
    found = []
    for writer in sorted(entry.name for entry in os.scandir(root) if _is_writer(entry)):
        names = sorted(entry.name for entry in os.scandir(root / writer) if _SHARD.fullmatch(entry.name))
        found += [f"{SHARDS}/{writer}/{name}" for name in names]
    return found


def _is_writer(entry: os.DirEntry[str]) -> bool:
    return _WRITER.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)


def open_shards(
    folder: Path, paths: Iterable[str], *, recording: str | None, verify: Verify = "stream"
) -> list[Shard]:
    """Open shards and check that they are one recording: same uuid, unbroken sequences and chains."""
    shards = [Shard(folder / path, verify=verify) for path in paths]
    before: dict[str, Shard] = {}
    for shard in shards:
        meta = shard.meta
        uuid = recording if recording is not None else shards[0].meta.recording
        if meta.recording != uuid:
            raise CorruptRecording.shard(shard.path, "it belongs to another recording")
        if (shard.path.parent.name, shard.path.name) != (meta.writer, shard_name(meta.seq)):
            raise CorruptRecording.shard(shard.path, "it was renamed: it says it is " + shard_name(meta.seq))
        earlier = before.get(meta.writer)
        expected = earlier.meta.seq + 1 if earlier else 0
        if meta.seq != expected:
            missing = [f"{SHARDS}/{meta.writer}/{shard_name(seq)}" for seq in range(expected, meta.seq)]
            raise CorruptRecording.missing_shards(folder, missing)
        if meta.prev != (earlier.digest if earlier else ""):
            raise CorruptRecording.shard(shard.path, "it does not follow the shard before it")
        before[meta.writer] = shard
    return shards


def seal(folder: Path, *, recording: str, durability: Durability) -> Manifest:
    """Make the sealed manifest from the shards that are there, and put it in place atomically.

    Two sealers of the same shards write the same bytes.
    """
    shards = open_shards(folder, shard_paths(folder), recording=recording)
    if not shards:
        raise RecordingNotFound.no_shards(folder)
    manifest = Manifest(
        recording=recording,
        sealed=True,
        origin=shards[0].meta.origin,
        rows=sum(shard.meta.rows for shard in shards),
        schema=shards[0].meta.schema,
        shards=tuple(entry(folder, shard) for shard in shards),
    )
    replace_bytes(folder, MANIFEST, _encode(manifest), durability=durability)
    return manifest


def entry(folder: Path, shard: Shard) -> ShardEntry:
    """Make the manifest's line of a shard."""
    path = shard.path.relative_to(folder).as_posix()
    return ShardEntry(path=path, rows=shard.meta.rows, bytes=shard.size, digest=shard.digest)


def _encode(manifest: Manifest) -> bytes:
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    return content[: _DIGEST.start] + _digest(content) + content[_DIGEST.stop :]


def _digest(content: bytes) -> bytes:
    """Give xxh3-128 of a manifest, its own digest read as zeros."""
    return hex128(content[: _DIGEST.start], _ZEROS.encode(), content[_DIGEST.stop :]).encode()
