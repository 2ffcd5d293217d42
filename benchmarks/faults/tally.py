"""What came of the faults of one kind, and the table of all of them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

GOOD = ("detected", "harmless")
_NOTES = 8
BAD = ("lost", "silent", "torn", "other")


class Verdict(NamedTuple):
    """What came of one fault.

    detected: an error of actlens said it (or the recording says that it is not sealed). harmless: all that
    was read is right. lost: an acknowledged row is gone. silent: something wrong was given without an error.
    torn: a part of a shard, or what no reader gets over, is visible. other: an error without a type,
    a temporary file left by a living process, a recording that cannot be gone on with, a wrong order.
    """

    kind: str
    note: str = ""

    @property
    def bad(self) -> bool:
        """Whether a promise is broken."""
        return self.kind in BAD


@dataclasses.dataclass
class Tally:
    """Verdicts on one kind of fault, counted; of those that break a promise the first notes are kept."""

    fault: str
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    notes: list[str] = dataclasses.field(default_factory=list)
    not_run: str = ""

    def add(self, verdict: Verdict, where: str = "") -> None:
        """Count one fault."""
        assert verdict.kind in GOOD + BAD, verdict
        self.counts[verdict.kind] += 1
        if verdict.bad and len(self.notes) < _NOTES:
            self.notes.append(f"{verdict.kind}: {where}: {verdict.note}")

    @property
    def parts(self) -> tuple[str, dict[str, int], list[str]]:
        """What another process needs to know."""
        return self.fault, dict(self.counts), self.notes

    def take(self, counts: dict[str, int], notes: list[str]) -> None:
        """Add what was counted in another process."""
        self.counts.update(counts)
        self.notes = [*self.notes, *notes][:_NOTES]

    @property
    def tried(self) -> int:
        """How many faults there were."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """How many broke a promise."""
        return sum(self.counts[kind] for kind in BAD)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Give the verdict that matters: the worst, and detected before harmless."""
    order = ("silent", "lost", "torn", "other", "detected", "harmless")
    return min(verdicts, key=lambda verdict: order.index(verdict.kind), default=Verdict("harmless"))


def show(tallies: Iterable[Tally]) -> None:
    """Print the table, and below it what broke."""
    tallies = list(tallies)
    print("| fault | tried | detected | harmless | lost | silent | torn | other |\n|---|" + "---|" * 7)
    for tally in tallies:
        cells = [f"{tally.counts[kind]:,}" for kind in GOOD + BAD]
        print(f"| {tally.fault} | {tally.not_run or f'{tally.tried:,}'} | {' | '.join(cells)} |")
    for tally in tallies:
        for note in tally.notes:
            print(f"  {tally.fault}: {note}")
