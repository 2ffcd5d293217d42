"""`verify`: everything that a recording holds is read and held to everything that it says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from actlens.errors import CorruptRecording, ReadFailed, RecordingNotFound, UnsupportedFormat, what_was_seen
from actlens.format import manifest as index
from actlens.format.duplicates import Ranges
from actlens.format.manifest import Manifest, ShardEntry
from actlens.format.place import MANIFEST, SHARDS, Place
from actlens.format.schema import shard_name
from actlens.format.stock import committed_paths, gaps
from actlens.recording import place_of
from actlens.upkeep.repeated import differing_rows, dropped_rows
from actlens.upkeep.report import Kind, Problem, Verification
from actlens.upkeep.shard_check import Facts, ShardCheck, kind_of
from actlens.upkeep.surroundings import damaged_results, living, orphans, unknown_files

Visit = Callable[[ShardCheck], None]


def verify(path: str | Path) -> Verification:
    """Read every byte of a recording and compare it with what was written; nothing is changed.

    Goes on after a problem, and says which file, tensor, block of 1 MiB and bytes are damaged. A recording
    that is being written may be verified: what is committed counts. Memory stays at a few MiB whatever the
    size; a recording of several writers needs its ids in memory besides.

    Raises:
        RecordingNotFound: nothing is there, or nothing tells which shards are (on a web server, where it is
            not sealed). All else is in the `problems`.

    >>> import actlens, tempfile, numpy as np
    >>> from actlens import upkeep
    >>> with actlens.Recorder(tempfile.mkdtemp() + "/run") as rec:
    ...     rec.write({"fc": np.eye(2)})
    2
    >>> found = upkeep.verify(rec.path)
    >>> found.ok, found.rows, found.problems
    (True, 2, ())
    """
    return examine(place_of(path)).verification


@dataclasses.dataclass(slots=True)
class Examination:
    """All that was learnt about a recording. `recording` is its id, None where nothing tells it.

    `manifest` is None where there is none, it cannot be read or is another recording's. `missing` are
    shards that must have been there; `dropped`: number among the shards → rows that do not count, where all
    shards are whole.
    """

    place: Place
    manifest: Manifest | None
    recording: str | None
    checks: list[ShardCheck]
    missing: list[str]
    problems: list[Problem]
    dropped: dict[int, Ranges] = dataclasses.field(default_factory=dict)
    verification: Verification = dataclasses.field(init=False)


def examine(place: Place, visit: Visit = ShardCheck.data, *, compare: bool = True) -> Examination:
    """Examine a recording; `visit` reads the data of each shard.

    `compare` asks whether duplicates differ, and whether results that lie with the recording are whole.
    """
    manifest, problems, not_found = _manifest(place)
    paths, missing = _listed(place, manifest)
    if not paths and not_found is not None:
        raise not_found
    checks = []
    schema = None
    for path in paths:
        check = ShardCheck(place.blob(path), path)
        visit(check)
        if check.facts is not None:
            schema = schema or check.facts.schema
            if check.facts.schema == schema:  # one for all: ten thousand of them are large
                check.facts = dataclasses.replace(check.facts, schema=schema)
        checks.append(check)
    recording = _recording(manifest, checks)
    if manifest is not None and recording is not None and manifest.recording != recording:
        problems.append(Problem(MANIFEST, "it belongs to another recording than the shards", kind="foreign"))
        manifest, missing = None, gaps(paths, set())
    result = Examination(place, manifest, recording, checks, missing, list(problems))
    _hold_together(result)
    result.verification = _verification(result, compare=compare)
    return result


def _manifest(place: Place) -> tuple[Manifest | None, list[Problem], RecordingNotFound | None]:
    """Read the manifest, or say what is wrong; the last is what to raise where there are no shards either."""
    try:
        manifest = index.load(place)
    except RecordingNotFound as error:
        return None, [Problem(MANIFEST, what_was_seen(error), kind="foreign")], error
    except (CorruptRecording, ReadFailed, UnsupportedFormat) as error:
        return None, [Problem(MANIFEST, what_was_seen(error), kind=kind_of(error))], None
    if manifest is not None:
        return manifest, [], None
    what = "it holds neither manifest.json nor shards"
    return None, [], RecordingNotFound.of(place.at(), what)


def _listed(place: Place, manifest: Manifest | None) -> tuple[list[str], list[str]]:
    """Give the shards that are there, in the order of the rows, and those that are missing."""
    lost = {one.path for one in manifest.lost} if manifest else set()
    listed = [entry.path for entry in manifest.shards] if manifest else []
    try:
        paths = committed_paths(place, lost)
    except CorruptRecording:  # gaps, that are there still after some time
        paths = place.shard_paths()
    if paths is None:  # a place that cannot be listed
        if manifest is not None and not manifest.sealed:
            raise RecordingNotFound.not_listed(place.at(), there=True)
        return listed, []
    there = set(paths)
    missing = {*gaps(paths, lost), *(path for path in listed if path not in there)}
    return paths, sorted(missing)


def _recording(manifest: Manifest | None, checks: Sequence[ShardCheck]) -> str | None:
    """Decide which recording this is: what the manifest says if a shard of its list is there, or most shards.

    A shard that does not lie where it says it belongs has no voice, unless there are no others.
    """
    facts = [check.facts for check in checks if check.facts and check.facts.name == check.path]
    if manifest is not None:
        listed = {(entry.path, entry.digest) for entry in manifest.shards}
        here = {one.recording for one in facts if (one.name, one.digest) in listed}
        if manifest.recording in here:
            return manifest.recording
    votes = Counter(one.recording for one in facts)
    if manifest is not None and votes[manifest.recording] == max(votes.values(), default=0):
        return manifest.recording
    votes = votes or Counter(check.facts.recording for check in checks if check.facts)
    return votes.most_common(1)[0][0] if votes else None


def _hold_together(result: Examination) -> None:
    """Hold the shards to their names, to each other and to the manifest."""
    listed = {entry.path: entry for entry in result.manifest.shards} if result.manifest else {}
    for check in result.checks:
        facts = check.facts
        if facts is None:
            continue
        if facts.recording != result.recording:
            check.problems[:] = [Problem(check.path, "it belongs to another recording", kind="foreign")]
        elif facts.name != check.path:
            what = f"it was renamed: it says it is {facts.name}"
            check.problems[:] = [Problem(check.path, what, kind="foreign")]
    _chain(result, listed)
    _schemas(result)
    _ranks(result)
    if all(check.ok for check in result.checks):
        paths = [check.path for check in result.checks]
        result.dropped = dropped_rows(result.place, paths)
    if result.manifest is not None:
        result.problems += _of_manifest(result, result.manifest)


def _chain(result: Examination, listed: dict[str, ShardEntry]) -> None:
    """Find shards that are whole and not those that belong here.

    Three say which shard a file must be: the manifest, the shard after it, and the one before it. A file
    that the next shard confirms is right, and the manifest wrong; else the manifest is believed; without
    it, a shard must follow the one before it.
    """
    by_path = {check.path: check for check in result.checks}
    for check in result.checks:
        facts = check.facts
        if facts is None or not check.ok:
            continue
        entry = listed.get(check.path)
        after = by_path.get(f"{SHARDS}/{facts.writer}/{shard_name(facts.seq + 1)}")
        confirmed = after is not None and after.facts is not None and after.facts.prev == facts.digest
        if entry is not None and entry.digest != facts.digest and not confirmed:
            check.add("it is not the shard that the manifest lists", "foreign")
            continue
        before = by_path.get(f"{SHARDS}/{facts.writer}/{shard_name(facts.seq - 1)}")
        first = facts.seq == 0 and facts.prev != ""
        known = before is not None and before.facts is not None and before.ok
        if first or (known and before and before.facts and facts.prev != before.facts.digest):
            check.add("it does not follow the shard before it", "foreign")


def _schemas(result: Examination) -> None:
    manifest = result.manifest
    schema = manifest.schema if manifest else None
    for check in result.checks:
        if check.facts is None or not check.ok:
            continue
        schema = schema or check.facts.schema
        if check.facts.schema != schema:
            check.add("its layers or columns differ from the recording's", "conflict")


def _ranks(result: Examination) -> None:
    facts = [check.facts for check in result.checks if check.facts and check.ok]
    ranks = sorted({one.rank for one in facts})
    numbered = next((one for one in facts if one.ids == "numbered"), None)
    if len(ranks) > 1 and numbered is not None:
        what = f"its ids were counted from 0, and ranks {', '.join(map(str, ranks))} wrote this recording"
        result.problems.append(Problem(numbered.name, what, kind="conflict"))


def _of_manifest(result: Examination, manifest: Manifest) -> list[Problem]:
    """Hold the manifest to shards that are whole."""
    found: list[Problem] = []
    numbers = {check.path: number for number, check in enumerate(result.checks) if check.ok}
    whole = len(numbers) == len(result.checks) and len(manifest.shards) == len(result.checks)
    for entry in manifest.shards:
        number = numbers.get(entry.path)
        facts = result.checks[number].facts if number is not None else None
        if number is None or facts is None:
            continue
        dropped = result.dropped.get(number, ()) if whole else entry.dropped
        said = (entry.digest, entry.rows, entry.bytes, entry.positions, entry.dropped)
        seen = (facts.digest, facts.rows, result.checks[number].size, facts.positions, dropped)
        if said != seen:
            fields = ("digest", "rows", "bytes", "positions", "dropped")
            wrong = [name for name, a, b in zip(fields, said, seen, strict=True) if a != b]
            found.append(Problem(MANIFEST, f"it lists {entry.path} with other {', '.join(wrong)}"))
    return found


def _verification(result: Examination, *, compare: bool) -> Verification:
    place, checks = result.place, result.checks
    problems = [*result.problems, *(problem for check in checks for problem in check.problems)]
    kind: Kind = "missing"
    problems += [Problem(path, "it is missing", kind=kind) for path in result.missing]
    order = {MANIFEST: ""}
    problems.sort(key=lambda problem: order.get(problem.file, problem.file))  # stable within a file
    counts = [check.facts.rows if check.facts else 0 for check in checks]
    rows = sum(count for count, check in zip(counts, checks, strict=True) if check.ok)
    dropped = sum(last - first for ranges in result.dropped.values() for first, last in ranges)
    differing = 0
    if dropped and compare:
        differing = differing_rows(place, [check.path for check in checks], counts)
    sealed = bool(
        result.manifest
        and result.manifest.sealed
        and [entry.path for entry in result.manifest.shards] == [check.path for check in checks]
    )
    return Verification(
        path=str(place.at()),
        problems=tuple(problems),
        shards=len(checks),
        rows=rows - dropped,
        bytes=sum(check.read_bytes for check in checks),
        duplicates=dropped,
        differing=differing,
        sealed=sealed,
        orphans=orphans(place),
        notes=tuple(_notes(result, sealed=sealed)),
        derived=damaged_results(place) if compare else (),
    )


def _notes(result: Examination, *, sealed: bool) -> list[str]:
    manifest, checks = result.manifest, result.checks
    notes = []
    if sealed:
        notes.append("sealed")
    elif manifest is None:
        notes.append("not sealed: there is no manifest that can be used; the shards alone are read")
    elif len(manifest.shards) < len(checks):
        notes.append(f"not sealed: the manifest lists {len(manifest.shards)} of {len(checks)} shards")
    elif not checks:
        notes.append("not sealed: no rows are committed yet")
    else:
        notes.append("not sealed: a writer did not end well")
    newest: dict[str, Facts | None] = {check.path.split("/")[1]: check.facts for check in checks}
    alive = set(living(result.place))
    for writer, facts in newest.items():
        if writer not in alive and facts is not None and not facts.last:
            notes.append(
                f"writer {writer} did not end well: {shard_name(facts.seq)} is not marked as its last"
            )
    notes += [f"writer {writer} is at it at this moment" for writer in sorted(alive)]
    for lost in manifest.lost if manifest else ():
        rows = "" if lost.rows < 0 else f" ({lost.rows} rows)"
        notes.append(f"given up by an earlier repair: {lost.path}{rows}: {lost.why}")
    unknown = unknown_files(result.place, [check.path for check in checks])
    return notes + [f"no part of the recording: {name}" for name in unknown]
