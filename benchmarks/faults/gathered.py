"""Tallies that were counted in several children at once, put together."""

from __future__ import annotations

from faults.nursery import Job, Nursery
from faults.tally import Tally


def in_children(nursery: Nursery, jobs: list[Job]) -> list[Tally]:
    """Run jobs that give the parts of tallies; add up those of one name.

    Raises:
        RuntimeError: a child has failed, so that nothing is known.
    """
    tallies: dict[str, Tally] = {}
    for outcome in nursery.run(*jobs):
        if outcome.status:
            raise RuntimeError(outcome.error or f"a child ended with {outcome.status}")
        for fault, counts, notes in outcome.result:
            tallies.setdefault(fault, Tally(fault)).take(counts, notes)
    return list(tallies.values())
