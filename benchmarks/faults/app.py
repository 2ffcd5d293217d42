"""The command line: which faults, how many, and one table."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable

from faults import calls, disk, flips, kills, order, pieces, tally, traced
from faults.nursery import Nursery
from faults.tally import Tally
from faults.weak import WEAK


@dataclasses.dataclass(frozen=True)
class Counts:
    """How much of everything. The defaults are the long form."""

    rounds: int = 2000
    flips: int = 100_000
    pieces: int = 1000
    sizes: int = 50
    orders: int = 40
    every: bool = True
    """All errors at all turns, also under strace; else they take turns."""


SHORT = Counts(rounds=100, flips=2000, pieces=50, sizes=50, orders=20, every=False)
WRITERS = 4

Weak = tuple[str, ...]


def _kills(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield kills.random_instants(nursery, counts.rounds, weak=weak)
    yield kills.random_instants(nursery, counts.rounds // WRITERS, writers=WRITERS, weak=weak)
    yield kills.every_call(nursery, after=False, weak=weak)
    if counts.every:  # after one call is before the next, but for the last
        yield kills.every_call(nursery, after=True, weak=weak)


def _ranks(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield kills.random_instants(nursery, counts.rounds // WRITERS, writers=WRITERS, shared=True, weak=weak)


def _calls(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield from calls.every_turn(nursery, all_codes=counts.every, weak=weak)
    yield from traced.every_turn(nursery, all_turns=counts.every, weak=weak)


def _disk(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield disk.sizes(nursery, counts.sizes, weak=weak)


def _flips(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield from flips.single_bits(nursery, counts.flips, weak=weak)


def _pieces(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield from pieces.every_kind(nursery, counts.pieces, weak=weak)


def _order(nursery: Nursery, counts: Counts, weak: Weak) -> Iterable[Tally]:
    yield from order.commits(nursery, counts.orders, weak=weak)


PARTS: dict[str, Callable[[Nursery, Counts, Weak], Iterable[Tally]]] = {
    "kills": _kills,
    "ranks": _ranks,
    "calls": _calls,
    "disk": _disk,
    "flips": _flips,
    "pieces": _pieces,
    "order": _order,
}


def main(arguments: list[str] | None = None) -> int:
    """Give the exit status: 1 where a promise was broken."""
    options, counts = _options(arguments)
    tallies: list[Tally] = []
    with Nursery() as nursery:
        for part in options.parts or PARTS:
            begun = time.perf_counter()
            tallies += PARTS[part](nursery, counts, tuple(options.weak))
            print(f"{part}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    tally.show(tallies)
    return 1 if any(some.bad for some in tallies) else 0


def _options(arguments: list[str] | None) -> tuple[argparse.Namespace, Counts]:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--short", action="store_true", help="the counts that the tests use")
    for field in dataclasses.fields(Counts):
        if field.type == "int":
            parser.add_argument(f"--{field.name}", type=int, help=f"{field.default:,} where left out")
    parser.add_argument("--weak", nargs="+", default=[], choices=WEAK, help="make actlens weaker first")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such parts: {sorted(unknown)}; there are {sorted(PARTS)}")
    given = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Counts)}
    counts = dataclasses.replace(
        SHORT if options.short else Counts(),
        **{name: value for name, value in given.items() if value is not None},
    )
    return options, counts
