"""The program that the faults strike: it writes known rows and says what was acknowledged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from actlens.recorder import Recorder
from faults.nursery import Job
from faults.rows import WIDTH, Ids, row_bytes, rows_of

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """How much is written, and how. `shared` is one recording by several ranks, each with ids of its own."""

    path: str
    rows: int = 120
    batch: int = 10
    flush_every: int = 3
    shard_rows: int = 19
    width: int = WIDTH
    durability: str = "fsync"
    resume: bool = True
    rank: int = 0
    ranks: int = 1
    shared: bool = False

    @property
    def ids(self) -> Ids:
        """The ids that this process writes, in order."""
        if self.shared:
            return np.arange(self.rank, self.rows * self.ranks, self.ranks)
        return np.arange(self.rows)

    def job(self, **options: Any) -> Job:
        """The job for a nursery."""
        return Job("faults.program:write", dataclasses.asdict(self), **options)


def write(say: Say, **fields: Any) -> None:
    """Write the rows of a Run; `ack N` is said only after flush() or close() has returned for the first N."""
    run = Run(**fields)
    ids = run.ids
    say("begin")
    with Recorder(
        Path(run.path),
        shard_bytes=run.shard_rows * row_bytes(run.width),
        durability=run.durability,
        resume=run.resume,
        rank=run.rank if run.shared else 0,
        ranks=run.ranks if run.shared else 1,
    ) as rec:
        for number, at in enumerate(range(0, run.rows, run.batch), 1):
            some = ids[at : at + run.batch]
            acts, columns = rows_of(some, run.width)
            rec.write(acts, id=some if run.shared else None, **columns)
            if number % run.flush_every == 0:
                rec.flush()
                say(f"ack {at + len(some)}")
        say("closing")
    say(f"ack {len(ids)}")


def acknowledged(said: list[str]) -> int:
    """Give the number of rows that a program said were acknowledged."""
    return max((int(line.split()[1]) for line in said if line.startswith("ack ")), default=0)
