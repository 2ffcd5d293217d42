"""Single bits that are flipped: in headers, data, block sums and manifests."""

from __future__ import annotations

import contextlib
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.calls import memory
from faults.gathered import in_children
from faults.nursery import Job, Nursery
from faults.program import Say
from faults.specimen import STATES, Specimen, State
from faults.tally import Tally

Region = tuple[Path, int, int]
"""A file, and the first and the last byte but one of a part of it."""

_SMALL, _LARGE, _WIDTH = 20, 420, 800  # shards of 64 KiB, and one of several blocks


def single_bits(nursery: Nursery, count: int, *, seed: int = 0, weak: tuple[str, ...] = ()) -> list[Tally]:
    """Flip bits, one at a time and put back, in a sealed recording and in one that is not."""
    states = STATES[:2]
    arguments = [{"state": state, "count": -(-count // len(states)), "seed": seed} for state in states]
    return in_children(nursery, [Job("faults.flips:in_state", some, weak=weak) for some in arguments])


def in_state(say: Say, *, state: State, count: int, seed: int) -> list[Any]:
    """Flip bits in one recording; in a child."""
    tallies = []
    with Specimen([[_SMALL, _SMALL, _SMALL, _LARGE]], width=_WIDTH, state=state, folder=memory()) as specimen:
        named = _regions(specimen)
        for name, regions in named.items():
            tally = Tally(f"bit flipped in {name}, {state}")
            chance = random.Random(f"{seed} {name} {state}")
            for number in range(-(-count // len(named))):
                path, offset, bit = _place(regions, chance)
                with flipped(path, offset, bit):
                    tally.add(specimen.verdict(), f"{path.name}, byte {offset}, bit {bit}")
                if number % 100 == 0:
                    say(f"{number} flips")
            tallies.append(tally)
        assert specimen.verdict().kind == "harmless", "a flip was not put back"
    return [tally.parts for tally in tallies]


def _place(regions: list[Region], chance: random.Random) -> tuple[Path, int, int]:
    path, begin, end = chance.choice(regions)
    return path, chance.randrange(begin, end), chance.randrange(8)


def _regions(specimen: Specimen) -> dict[str, list[Region]]:
    parts: dict[str, list[Region]] = {"header": [], "data": [], "block sums": []}
    for path in specimen.shards:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = 8 + struct.unpack("<Q", file.read(8))[0]
        sums = size - 8 * -(-(size - data) // (1 << 20))
        parts["header"].append((path, 0, data))
        parts["block sums"].append((path, sums, size))
        if sums > data:
            parts["data"].append((path, data, sums))
    parts["manifest"] = [(specimen.manifest, 0, specimen.manifest.stat().st_size)]
    return parts


@contextlib.contextmanager
def flipped(path: Path, offset: int, bit: int) -> Iterator[None]:
    """Flip a bit in place for a while."""
    fd = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(fd, 1, offset)
        os.pwrite(fd, bytes([byte ^ 1 << bit]), offset)
        try:
            yield
        finally:
            os.pwrite(fd, bytes([byte]), offset)
    finally:
        os.close(fd)
