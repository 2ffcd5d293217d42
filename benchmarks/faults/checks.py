"""What is left of a recording after a fault: judged by reading all of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

import actlens
from actlens.errors import ActlensError, RecordingNotFound
from actlens.format.commit import TEMPORARY
from faults.program import Run, acknowledged
from faults.rows import Ids, differences
from faults.tally import Verdict, worst


def survivors(runs: Iterable[Run], said: Iterable[list[str]]) -> Verdict:
    """Judge one recording that was struck: what its writers had acknowledged must be there, and right."""
    runs, promised = list(runs), [acknowledged(lines) for lines in said]
    run = runs[0]
    try:
        recording = actlens.open(run.path, verify="all")
        found = recording.ids
        wrong = list(differences(recording, found, run.width))
    except RecordingNotFound as error:
        return Verdict("lost", f"{promised} acknowledged: {error}") if any(promised) else Verdict("detected")
    except ActlensError as error:
        return Verdict("torn", str(error))
    if wrong:
        return Verdict("silent", f"wrong: {wrong}")
    return worst(_rows(found, some.ids, count) for some, count in zip(runs, promised, strict=True))


def _rows(found: Ids, ids: Ids, promised: int) -> Verdict:
    """Hold the ids of one writer to what it wrote: a beginning of it, in order, and no id twice."""
    mine = found[np.isin(found, ids)]
    if len(mine) < promised:
        return Verdict("lost", f"{len(mine)} rows of {promised} that were acknowledged")
    if len(np.unique(found)) != len(found):
        return Verdict("other", "an id stands twice")
    if (mine != ids[: len(mine)]).any():
        return Verdict("other", "rows are out of order, or there is a gap")
    return Verdict("harmless")


def gone_on(run: Run, problem: str) -> Verdict:
    """Hold a recording that was gone on with to what an uninterrupted run writes, row for row.

    `problem` is what the program that went on had to say.
    """
    if problem:
        return Verdict("other", f"it cannot be gone on with: {problem}")
    try:
        recording = actlens.open(run.path, verify="all")
        ids = recording.ids if run.shared else run.ids  # several ranks: in the order of the ranks
        wrong = list(differences(recording, ids, run.width))
        if run.shared and (np.sort(ids) != np.arange(run.rows * run.ranks)).any():
            wrong.append("the set of ids")
    except ActlensError as error:
        return Verdict("lost", f"after going on: {error}")
    if wrong:
        return Verdict(
            "lost" if len(recording.ids) < run.rows else "silent", f"after going on, wrong: {wrong}"
        )
    if not recording.info["sealed"]:
        return Verdict("other", "after going on, not sealed")
    return Verdict("harmless")


def leftovers(path: str | Path) -> list[str]:
    """List the temporary files below a path."""
    return [file.name for file in Path(path).rglob(f"{TEMPORARY}*")]
