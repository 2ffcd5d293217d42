"""`copy`: a recording, verified while it is read and once more where it was written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actlens.errors import RecordingNotFound
from actlens.format.local import LocalPlace
from actlens.format.place import MANIFEST
from actlens.recording import Recording, opened, place_of
from actlens.upkeep.report import Problem
from actlens.upkeep.shard_check import ShardCheck
from actlens.upkeep.target import appearing, refusal
from actlens.upkeep.verifying import examine
from actlens.writing.options import local_folder

_MANIFEST_BYTES = 256 << 20


def copy(source: str | Path, target: str | Path) -> Recording:
    """Copy a recording; the copy appears whole, or not at all.

    Every byte is verified while it is read, and again where it was written, before the copy gets its name.
    What belongs to the recording is copied, byte for byte: the manifest, where there is one, and the
    committed shards. Temporary files, `set-aside/`, results in `derived/` and foreign files are not. Of a
    recording that is being written, what is committed when it begins is copied. A copy that is killed leaves
    a folder `.tmp-…` beside the target, and no target.

    Args:
        source: the recording: its folder, or its address (docs/guide.md).
        target: a path that does not exist, or an empty folder; folders above it are made.

    Raises:
        RecordingNotFound: there is no recording at `source`, or nothing is committed there.
        RecordingExists: the target is taken.
        CorruptRecording: the source is damaged; the message names the file. Nothing is left at the target.
        ReadFailed: the source cannot be read, and may be whole. Nothing is left at the target.
        WriteFailed: the disk refused. Nothing is left at the target.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import upkeep
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc": np.eye(2)})
    2
    >>> upkeep.copy(rec.path, str(rec.path) + "-copy")["fc"][:]
    array([[1., 0.],
           [0., 1.]])
    """
    place, folder = place_of(source), local_folder(target, "the target of a copy")
    with appearing(folder, [place.folder] if isinstance(place, LocalPlace) else []) as aside:
        copied = LocalPlace(aside)
        manifest = place.manifest(
            lambda: _MANIFEST_BYTES
        )  # before the shards: all that it lists are there then

        def carry(check: ShardCheck) -> None:
            if check.ok:
                (aside / check.path).parent.mkdir(parents=True, exist_ok=True)
                with copied.committed(check.path, check.size) as file:
                    check.data(file)
                    _refuse(place.at(), check.problems)
            _refuse(place.at(), check.problems)

        found = examine(place, carry, compare=False)
        _refuse(place.at(), found.verification.problems)
        if not found.checks:
            raise RecordingNotFound.no_shards(place.at())
        if manifest is not None:
            copied.create(MANIFEST, manifest)
    return opened(LocalPlace(folder))


def _refuse(source: object, problems: Iterable[Problem]) -> None:
    found = list(problems)
    if found:
        raise refusal(source, found, "copied")
