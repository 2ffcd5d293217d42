"""kill -9: at random instants, and at every system call of a commit in turn."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults import calls
from faults.checks import gone_on, survivors
from faults.nursery import Job, Nursery
from faults.program import Run
from faults.tally import Tally, Verdict, worst

PLACES = ("start", "middle", "sealing")


def random_instants(
    nursery: Nursery,
    rounds: int,
    *,
    writers: int = 1,
    shared: bool = False,
    seed: int = 0,
    weak: tuple[str, ...] = (),
) -> Tally:
    """Kill programs while they start, write or seal; look at what is left; go on; compare.

    With `shared`, the writers are the ranks of one recording; else each has a recording of its own.
    """
    kind = "ranks of one recording" if shared else "recordings at once"
    tally = Tally(f"kill -9, random, {writers} {kind}" if writers > 1 else "kill -9, random")
    chance = random.Random(seed)
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            durability = "fsync" if number % 2 else "rename"
            runs = [
                Run(
                    path=str(Path(folder, "run" if shared else f"run{rank}")),
                    durability=durability,
                    rank=rank,
                    ranks=writers,
                    shared=shared,
                )
                for rank in range(writers)
            ]
            jobs = [_killed(run, PLACES[number % 3], chance, weak) for run in runs]
            for verdict in _struck_and_gone_on(nursery, runs, jobs):
                tally.add(verdict, f"round {number}, {PLACES[number % 3]}, {durability}")
    return tally


def _killed(run: Run, place: str, chance: random.Random, weak: tuple[str, ...]) -> Job:
    """Choose when a program is killed: after what it has said, and how much later."""
    flushes = range(run.flush_every * run.batch, run.rows, run.flush_every * run.batch)
    after = {"start": "begin", "middle": f"ack {chance.choice(flushes)}", "sealing": "closing"}[place]
    within = {"fsync": 0.02, "rename": 0.006}[run.durability]
    return run.job(after=after, delay=chance.uniform(0, within), weak=weak)


def _struck_and_gone_on(nursery: Nursery, runs: list[Run], jobs: list[Job]) -> Iterator[Verdict]:
    """Give a verdict for each writer."""
    said = [outcome.said for outcome in nursery.run(*jobs)]
    shared = runs[0].shared
    groups = (
        [list(zip(runs, said, strict=True))] if shared else [[pair] for pair in zip(runs, said, strict=True)]
    )
    first = [survivors([run for run, _ in group], [lines for _, lines in group]) for group in groups]
    again = nursery.run(*(run.job() for run in runs))
    for number, outcome in enumerate(again):
        yield worst([first[0 if shared else number], gone_on(runs[number], outcome.error)])


def every_call(nursery: Nursery, *, after: bool, weak: tuple[str, ...] = ()) -> Tally:
    """Kill a program before (or after) its first system call that touches the disk, its second, and so on.

    Every state that a killed process can leave behind is one of these.
    """
    tally = Tally(f"kill -9, {'after' if after else 'before'} each call")
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=calls.memory()))
    try:
        for k in range(1000):
            run = Run(path=str(folder / f"run{k}"), rows=30, flush_every=1, resume=False)
            arguments = {"k": k, "after": after, "fields": dataclasses.asdict(run)}
            (outcome,) = nursery.run(Job("faults.kills:until_a_call", arguments, weak=weak))
            if outcome.status == 0:
                return tally
            again = dataclasses.replace(run, resume=True)
            left = survivors([run], [outcome.said])
            (second,) = nursery.run(again.job())
            tally.add(worst([left, gone_on(again, second.error)]), f"call {k}")
            shutil.rmtree(run.path, ignore_errors=True)
        raise RuntimeError("1000 calls and no end")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def until_a_call(say: calls.Say, *, k: int, after: bool, fields: dict) -> None:
    """Write, and die at the k-th call; in a child."""

    def die() -> None:
        os.kill(os.getpid(), 9)

    with calls.Watched(calls.CALLS) as watched:
        watched.at(k, die, after=after)
        calls.write(say, **fields)
