"""`repair`: the manifest is made anew from the shards, and damaged shards are set aside."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actlens.errors import UpkeepError
from actlens.format import manifest as index
from actlens.format.commit import sync_folder
from actlens.format.local import LocalPlace
from actlens.format.manifest import Manifest
from actlens.format.place import MANIFEST
from actlens.format.reader import Shard
from actlens.format.schema import VERSION, Origin
from actlens.format.stock import open_shards, taken_stock
from actlens.upkeep.losing import LostShard, Remains, described, lost_shards, remains, set_aside_name
from actlens.upkeep.shard_check import AsMeant
from actlens.upkeep.surroundings import SET_ASIDE, folder_of, living, repairing, set_aside_files
from actlens.upkeep.verifying import Examination, examine

_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True)
class SetAside:
    """A file that was moved: `file` is where it lay, `to` where it lies, relative to the recording."""

    file: str
    to: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` did, and what the recording lacks; `str()` of it is for reading.

    Attributes:
        path: the recording.
        set_aside: the files that were moved by this repair.
        lost: every shard that the recording lacks, also those given up by earlier repairs.
        manifest_rebuilt: whether manifest.json was written anew.
        sealed: whether the newest attempt of each rank that is left ended well.
        rows: the rows that are left, in whole shards.
    """

    path: str
    set_aside: tuple[SetAside, ...]
    lost: tuple[LostShard, ...]
    manifest_rebuilt: bool
    sealed: bool
    rows: int

    @property
    def lost_ids(self) -> tuple[Any, ...]:
        """The ids that are known to be lost, in the order in which they lay."""
        return tuple(ident for shard in self.lost for ident in shard.ids or ())

    @property
    def lost_steps(self) -> tuple[Any, ...] | None:
        """The step of each of `lost_ids`; None where there is no column `step`."""
        steps = [shard.steps for shard in self.lost if shard.ids is not None]
        if not steps or any(some is None for some in steps):
            return None
        return tuple(step for some in steps for step in some or ())

    @property
    def lost_rows(self) -> int:
        """How many rows are lost, as far as anything tells; see `lost_rows_known`."""
        return sum(max(0, shard.rows) if shard.ids is None else len(shard.ids) for shard in self.lost)

    @property
    def lost_rows_known(self) -> bool:
        """Whether `lost_rows` counts every lost shard; of one whose header is gone nothing may be known."""
        return all(shard.ids is not None or shard.rows >= 0 for shard in self.lost)

    def __str__(self) -> str:
        changed = self.set_aside or self.manifest_rebuilt
        state = "sealed" if self.sealed else "not sealed"
        lines = [
            f"{self.path}: {'repaired' if changed else 'nothing to repair'}, {self.rows:,} rows, {state}"
        ]
        lines += [f"  set aside: {one.file} → {one.to}: {one.why}" for one in self.set_aside]
        if self.manifest_rebuilt:
            lines.append("  manifest.json was made anew from the shards")
        if self.lost:
            least = "" if self.lost_rows_known else "at least "
            shards = "1 shard" if len(self.lost) == 1 else f"{len(self.lost)} shards"
            lines.append(f"  lost: {least}{self.lost_rows:,} rows in {shards}")
            lines += [f"    {_told(shard)}" for shard in self.lost]
            lines.append(
                "  To record them again, run the same program with resume=True. "
                "A file restored from a copy to its old path counts again after another repair."
            )
        if not self.sealed:
            lines.append(
                "  Not sealed: a writer was stopped, or its last shards are gone, of which nothing tells. "
                "The same program with resume=True records what is missing."
            )
        return "\n".join(lines)


def _told(shard: LostShard) -> str:
    if shard.ids is None:
        rows = f"{shard.rows} rows" if shard.rows >= 0 else "an unknown number of rows"
        begin = "the beginning" if shard.after is None else f"id {shard.after!r}"
        end = "the end" if shard.before is None else f"id {shard.before!r}"
        return f"{shard.path}: {shard.why}; {rows}, between {begin} and {end} of its writer"
    if not shard.ids:
        return f"{shard.path}: {shard.why}; all of its samples are in other shards"
    names = [repr(ident) for ident in shard.ids]
    if shard.steps is not None:
        names = [f"{name} (step {step})" for name, step in zip(names, shard.steps, strict=True)]
    rest = f", … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shard.path}: {shard.why}; ids {', '.join(names[:_SHOWN])}{rest}"


def repair(path: str | Path) -> Repair:
    """Make a recording whole again, from what is left of it; nothing is ever deleted.

    Everything is verified. Shards with a problem are moved to `set-aside/<writer>/` inside the recording,
    and manifest.json is made anew from the others: it lists what is lost, so that `actlens.open` works and
    `Recorder(resume=True)` records the lost samples again. A manifest that cannot be read, or is of another
    recording, is set aside too. The recording is sealed where the newest attempt of each rank that is left
    ended well; where its last shard is lost, it is not, and a Recorder with `resume=True` ends it.

    A second repair changes nothing. A repair that was killed, at any point, is completed by the next: the
    manifest is replaced first, then the files are moved, and what is lost is told from where files lie.

    A recording that a writer is at is left alone: where all its shards are whole there is nothing to do and
    nothing is done; where they are not, it is refused.

    Raises:
        RecordingNotFound: nothing is there.
        RecordingExists: a writer, or another repair, is at it.
        CorruptRecording: neither the manifest nor any shard can be read; or several ranks that each counted
            their ids, which no repair can tell apart. Nothing was touched.
        ReadFailed: the system refuses to read a file that may be whole. Nothing was touched.
        UnsupportedFormat: a file is of a later version of the format. Nothing was touched.
        WriteFailed: the disk refused.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import upkeep
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc": np.eye(2)})
    2
    >>> (rec.path / "manifest.json").unlink()
    >>> upkeep.repair(rec.path).manifest_rebuilt, upkeep.verify(rec.path).sealed
    (True, True)
    """
    folder = folder_of(path, "what is repaired")
    with repairing(folder):
        return _repaired(LocalPlace(folder))


def _repaired(place: LocalPlace) -> Repair:
    writers = living(place)
    result = examine(place, compare=False)
    _refuse_what_may_be_whole(result)
    aside = set_aside_files(place.folder)
    found = remains(result, aside)
    manifest = _made_anew(result, found)
    moves = _moves(place, result, found, aside)
    same = result.manifest is not None and _alike(result.manifest, manifest)
    writers = sorted({*writers, *living(place)})  # one that has ended meanwhile made the manifest itself
    if writers and not result.verification.ok:
        raise UpkeepError.being_written(place.at(), writers)
    if not writers:  # else nothing is wrong, and the writer will make the manifest itself
        _carry_out(place, moves, None if same else manifest)
    return Repair(
        path=str(place.at()),
        set_aside=tuple(moves),
        lost=described(result, manifest.lost, found, {move.file: move.to for move in moves}),
        manifest_rebuilt=not same and not writers,
        sealed=manifest.sealed,
        rows=sum(e.rows - sum(last - first for first, last in e.dropped) for e in manifest.shards),
    )


def _moves(
    place: LocalPlace, result: Examination, found: Sequence[Remains], aside: Sequence[str]
) -> list[SetAside]:
    """Say what is to be set aside, and where; the manifest first, where it cannot be used."""
    root = place.folder / SET_ASIDE
    taken = [*aside, *(f"{SET_ASIDE}/{name}" for name in (os.listdir(root) if root.is_dir() else ()))]
    moves = []
    if result.manifest is None and os.path.lexists(place.folder / MANIFEST):
        why = next(problem.what for problem in result.problems if problem.file == MANIFEST)
        moves.append(SetAside(MANIFEST, set_aside_name(MANIFEST, taken), why))
    for one in found:
        if not one.file.startswith(f"{SET_ASIDE}/"):
            moves.append(SetAside(one.file, set_aside_name(one.file, taken), one.why))
            taken.append(moves[-1].to)
    return moves


def _carry_out(place: LocalPlace, moves: Sequence[SetAside], manifest: Manifest | None) -> None:
    """Change the disk. The manifest comes first: it keeps what only the old one knew of the lost shards."""
    for move in moves:
        _check_folders(place.folder, move)
    try:
        for move in moves:
            if move.file == MANIFEST:
                _move(place.folder, move)
        if manifest is not None:
            index.replace(place, manifest)
        for move in moves:
            if move.file != MANIFEST:
                _move(place.folder, move)
    except OSError as error:
        raise UpkeepError.not_repaired(place.at(), error) from error


def _refuse_what_may_be_whole(result: Examination) -> None:
    for problem in result.verification.problems:
        if problem.kind == "unreadable":
            raise UpkeepError.not_readable(result.place.at(problem.file), problem.what)
        if problem.kind == "newer":
            raise UpkeepError.later_version(problem.what)


def _made_anew(result: Examination, found: Sequence[Remains]) -> Manifest:
    """Make the manifest of the whole shards; of none, one that says what was lost."""
    lost = lost_shards(result, found)
    whole = [check.path for check in result.checks if check.ok]
    recording = result.recording or next((one.facts.recording for one in found if one.facts), None)
    if recording is None:
        raise UpkeepError.nothing_left(result.place.at())
    if whole:
        given_up = [one.path for one in lost]
        shards = open_shards(result.place, whole, recording=recording, lost=given_up)
        idle = result.place.idle() if isinstance(result.place, LocalPlace) else ()
        return taken_stock(shards, recording=recording, lost=lost, idle=idle)
    return Manifest(recording=recording, sealed=False, origin=_origin(result, found), lost=lost)


def _origin(result: Examination, found: Sequence[Remains]) -> Origin:
    if result.manifest is not None:
        return result.manifest.origin
    file = next(one.file for one in found if one.facts is not None)
    return Shard(AsMeant(result.place.blob(file))).meta.origin


def _alike(was: Manifest, now: Manifest) -> bool:
    """Say whether a manifest says the same, whatever version of the format it is written in."""
    plain = {"digest": "", "version": VERSION}
    return msgspec.structs.replace(was, **plain) == msgspec.structs.replace(now, **plain)


def _check_folders(folder: Path, move: SetAside) -> None:
    """Refuse to move a file out of the recording, through a link."""
    for parent in (folder / SET_ASIDE, (folder / move.to).parent):
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            raise UpkeepError.set_aside_is_no_folder(parent)


def _move(folder: Path, move: SetAside) -> None:
    """Move a file inside the recording, durably; what lies there already is not touched."""
    source, target = folder / move.file, folder / move.to
    for parent in (folder / SET_ASIDE, target.parent):
        if not parent.exists():
            parent.mkdir()
            sync_folder(parent.parent)
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)
