"""The manifest: an index of the shards, made from them, and made again from them whenever it is in doubt."""

from __future__ import annotations

import msgspec

from actlens.errors import CorruptRecording, RecordingNotFound
from actlens.format import strict_json
from actlens.format.digests import hex128
from actlens.format.place import FREE, MANIFEST, Place, WritablePlace
from actlens.format.reader import Shard, check_version
from actlens.format.schema import VERSION, Count, Origin, Schema, check_schema

_MAX_BYTES = 256 << 20
# A manifest describes the shards beside it. Up to so many bytes, and so much that it costs once parsed, none
# is asked for; beyond, so much for each shard, and so many times the header of the first, which has the
# schema.
_PER_SHARD, _PER_HEADER = 1 << 10, 4
_FREE_COST, _COST_PER_SHARD, _COST_PER_HEADER = 16 << 20, 2 << 10, 16
_ZEROS = "0" * 32
_OPENING = b'{\n "digest": "'
_DIGEST = slice(len(_OPENING), len(_OPENING) + 32)


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shard, as the manifest lists it. `path` is relative to the recording, with '/'.

    `positions`: index of ragged layers → how many positions the shard's rows have. `dropped`: ranges of rows
    that an earlier writer has committed already.
    """

    path: str
    rows: Count
    bytes: Count
    digest: str
    positions: dict[str, Count] = {}
    dropped: tuple[tuple[Count, Count], ...] = ()


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A shard that was found damaged or missing and was given up. `rows` is -1 where it is not known."""

    path: str
    rows: int
    why: str


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
    lost: tuple[Lost, ...] = ()


class _Opening(msgspec.Struct):
    """What must be understood before the rest is read."""

    format: str
    version: tuple[int, int]
    requires: tuple[str, ...] = ()


def claim(place: WritablePlace, manifest: Manifest) -> None:
    """Make the manifest of a new recording; it must not be there.

    Raises:
        FileExistsError: another recording has the place.
    """
    place.create(MANIFEST, _encode(manifest))


def load(place: Place) -> Manifest | None:
    """Read the manifest, or give None where there is none."""
    content, where = place.manifest(lambda: _size_allowed(place)), place.at(MANIFEST)
    if content is None:
        return None
    if content.startswith(_OPENING) and content[_DIGEST] != _digest(content):
        raise CorruptRecording.manifest(where, "it does not match its digest: it was changed or damaged")
    try:
        cost = strict_json.cost(content)
        strict_json.check(content, cost if cost <= _FREE_COST else _cost_allowed(place))
        opening = msgspec.json.decode(content, type=_Opening)
        if opening.format != "actlens":
            raise RecordingNotFound.of(place.at(), f"its manifest.json is of the format {opening.format!r}")
        check_version(where, opening.version, opening.requires)
        manifest = msgspec.json.decode(content, type=Manifest)
        if manifest.schema is not None:
            check_schema(manifest.schema)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptRecording.manifest(where, str(error)) from error
    if not content.startswith(_OPENING) or manifest.rows != sum(shard.rows for shard in manifest.shards):
        raise CorruptRecording.manifest(where, "it has no digest, or its rows do not add up")
    return manifest


def _size_allowed(place: Place) -> int:
    paths = place.shard_paths() or []
    return min(_MAX_BYTES, FREE + _PER_SHARD * len(paths) + _PER_HEADER * _first_header(place, paths))


def _cost_allowed(place: Place) -> int:
    paths = place.shard_paths() or []
    return _FREE_COST + _COST_PER_SHARD * len(paths) + _COST_PER_HEADER * _first_header(place, paths)


def _first_header(place: Place, paths: list[str]) -> int:
    """Give the bytes of the first shard's header; the whole shard is held to the format for it."""
    return Shard(place.blob(paths[0])).header_bytes if paths else 0


def replace(place: WritablePlace, manifest: Manifest) -> None:
    """Put a manifest in place of the one that is there, atomically."""
    place.replace(MANIFEST, _encode(manifest))


def entry(shard: Shard, dropped: tuple[tuple[int, int], ...] = ()) -> ShardEntry:
    """Make the manifest's line of a shard."""
    return ShardEntry(
        path=shard.name,
        rows=shard.meta.rows,
        bytes=shard.size,
        digest=shard.digest,
        positions={index: shard.positions(index) for index in shard.meta.schema.indices},
        dropped=dropped,
    )


def _encode(manifest: Manifest) -> bytes:
    content = strict_json.ascii_only(msgspec.json.format(msgspec.json.encode(manifest), indent=1)) + b"\n"
    return content[: _DIGEST.start] + _digest(content) + content[_DIGEST.stop :]


def _digest(content: bytes) -> bytes:
    """Give xxh3-128 of a manifest, its own digest read as zeros."""
    return hex128(content[: _DIGEST.start], _ZEROS.encode(), content[_DIGEST.stop :]).encode()
