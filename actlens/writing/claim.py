"""How a writer begins: it makes a new recording, joins one that its peers write, or goes on with one."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence

import msgspec

from actlens.errors import RecordingExists, WriteFailed
from actlens.format import manifest as index
from actlens.format.place import WritablePlace
from actlens.format.reader import Shard
from actlens.format.schema import Origin
from actlens.format.stock import committed_paths, open_shards


@dataclasses.dataclass(frozen=True, slots=True)
class Claimed:
    """The recording that a writer writes. `shards` are those that others have committed before."""

    recording: str
    origin: Origin
    joined: bool = False
    shards: Sequence[Shard] = ()
    lost: tuple[index.Lost, ...] = ()


def claim(place: WritablePlace, origin: Origin, writer: str, *, resume: bool) -> Claimed:
    """Make the recording, or join it; what is there is not changed.

    A writer's name begins with its rank. Without `resume`, a rank joins an unfinished recording of as many
    ranks in which it has no part yet: that is how several processes begin one recording at once, none of them
    first.

    Raises:
        RecordingExists: the place is taken.
        WriteFailed: the file system refused; nothing is left behind.
    """
    try:
        found = _known(place)
        if found is None:
            foreign = place.foreign()
            if foreign and _known(place) is None:  # else another writer was quicker
                raise RecordingExists.other_files(place.at(), foreign)
        else:
            _may_join(place, found, origin, writer, resume=resume)
        place.join(writer)
        return _first_or_found(place, origin, writer, resume=resume)
    except OSError as error:
        place.leave()
        raise WriteFailed.claim(place.at(), error) from error
    except BaseException:
        place.leave()
        raise


def _first_or_found(place: WritablePlace, origin: Origin, writer: str, *, resume: bool) -> Claimed:
    found = _known(place)
    if found is None:
        fresh = index.Manifest(recording=secrets.token_hex(16), sealed=False, origin=origin)
        try:
            index.claim(place, fresh)
        except FileExistsError:  # another writer was quicker
            return _first_or_found(place, origin, writer, resume=resume)
        return Claimed(fresh.recording, origin)
    _may_join(place, found, origin, writer, resume=resume)
    given_up = [one.path for one in found.lost]
    paths = committed_paths(place, given_up) or []
    shards = open_shards(place, paths, recording=found.recording, lost=given_up)
    if shards:
        found = msgspec.structs.replace(found, origin=shards[0].meta.origin)
    return Claimed(found.recording, found.origin, joined=True, shards=shards, lost=found.lost)


def _known(place: WritablePlace) -> index.Manifest | None:
    """Give the manifest, with the origin that the first shard tells; or what that says where it is alone."""
    known = index.load(place)
    paths = place.shard_paths() or []
    if not paths:
        return known
    meta = Shard(place.blob(paths[0])).meta
    if known is None:
        return index.Manifest(recording=meta.recording, sealed=False, origin=meta.origin)
    return msgspec.structs.replace(known, origin=meta.origin)


def _may_join(
    place: WritablePlace, found: index.Manifest, origin: Origin, writer: str, *, resume: bool
) -> None:
    mine = [name for name in place.writers() if name != writer and name[:5] == writer[:5]]
    if resume:
        # Ids that were given tell the rows of two programs apart; those that each counts itself do not.
        if found.origin.ids != "given" and any(place.alive(name) for name in mine):
            raise RecordingExists.in_use(place.at())
    elif found.sealed or mine or found.origin.ranks != origin.ranks or origin.ranks == 1:
        raise RecordingExists.recording(place.at())
