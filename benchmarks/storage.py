"""What storage costs: shards written, layers read, by actlens and by other means, with the targets beside.

    python benchmarks/storage.py                              # about half an hour; 4 GiB of disk
    python benchmarks/storage.py --only rows open --rounds 3
    python benchmarks/storage.py --size 64 --layer 512        # MiB of a shard, MiB of the layer

Each run is a process of its own; all means of a table run once in a round, in another order each time. A
ratio is the median of the ratios within the rounds, of later calls; "CPU" is of processor time, which other
jobs on the machine disturb less; "first" is of the first call in the process, while memory is watched; "peak"
is private memory beyond the start. Files are in the page cache. A means that is not installed is left out.
Without `--size`, shards of 128 MiB and of 64 MiB are written.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import storage_files
import storage_many
import storage_read
import storage_write
from storage_measure import Figures, Means, Room, Sizes

ROOMS: Mapping[str, Room] = {
    "write": storage_write.MEANS,
    "read": storage_read.WHOLE,
    "rows": storage_read.PICKED,
    "commit": storage_many.COMMITS,
    "open": storage_many.OPENED,
}
_MAKERS = {
    "read": storage_files.make,
    "rows": storage_files.make,
    "commit": storage_many.make,
    "open": storage_many.make,
}

Seen = dict[str, dict[int, Figures]]


def _child(room: str, means: str, folder: Path, sizes: Sizes) -> Figures | None:
    command = [sys.executable, __file__, "--one", room, means, "--folder", str(folder)]
    command += ["--size", str(sizes.shard >> 20), "--layer", str(sizes.layer >> 20)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {room}, {means}: not run ({reason[:120]})", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(room: str, names: list[str], folder: Path, sizes: Sizes, rounds: int) -> Seen:
    """Run the means of a room in every round."""
    seen: Seen = {means: {} for means in ROOMS[room]}
    for number in range(rounds):
        order = [means for means in names if number == 0 or seen[means]]
        random.Random(number).shuffle(order)
        for means in order:
            place = folder
            if room == "write":
                place = folder / "out"
                place.mkdir(exist_ok=True)
            figures = _child(room, means, place, sizes)
            if figures is not None:
                seen[means][number] = figures
    return seen


def show(room: str, seen: Seen) -> None:
    """Print a line for each means that ran."""
    columns = ["means", "ms", "×", "of", "target", "", "CPU ×", "first ms", "first ×", "peak MiB"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, means in ROOMS[room].items():
        if seen[name]:
            print(f"| {' | '.join(_cells(name, means, seen))} |", flush=True)


def _cells(name: str, means: Means, seen: Seen) -> list[str]:
    figures, base = seen[name], seen.get(means.base or "", {})
    ms, first, peak = (_middle(figures, key) for key in ("seconds", "first", "peak"))
    ratio = _ratio(figures, base, "seconds")
    target = met = ""
    if means.target is not None:
        target = f"≤ {means.target}" if means.base else f"≤ {means.target * 1e3:.0f} ms"
        got = ratio if means.base else first
        met = "" if got is None else "met" if got <= means.target else "**missed**"
    limit = f" (≤ {means.peak:.0f})" if means.peak is not None else ""
    cells = [name, _number(ms * 1e3), _number(ratio), means.base or "", target, met]
    cells += [_number(_ratio(figures, base, "cpu")), _number(first * 1e3)]
    return [*cells, _number(_ratio(figures, base, "first")), f"{peak:.1f}{limit}"]


def _middle(figures: Mapping[int, Figures], key: str) -> float:
    return statistics.median(each[key] for each in figures.values())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _ratio(figures: Mapping[int, Figures], base: Mapping[int, Figures], key: str) -> float | None:
    pairs = [figures[n][key] / base[n][key] for n in figures.keys() & base.keys()]
    return statistics.median(pairs) if pairs else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    parser.add_argument("--only", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-peers", action="store_true", help="only actlens and what its targets are of")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 64], help="MiB of a shard")
    parser.add_argument("--layer", type=int, default=512, help="MiB of the layer that is read")
    options = parser.parse_args()
    sizes = [Sizes(size << 20, options.layer << 20) for size in options.size]
    if options.one:
        room, means = options.one
        print(json.dumps(ROOMS[room][means].run(options.folder, sizes[0])))
        return
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as work:
            for room in options.only:
                if size is sizes[0] or room in ("write", "read"):
                    _table(room, _names(room, peers=not options.no_peers), Path(work), size, options.rounds)


def _names(room: str, *, peers: bool) -> list[str]:
    aimed = {name: means.base for name, means in ROOMS[room].items() if means.target is not None}
    return [name for name in ROOMS[room] if peers or name in aimed or name in aimed.values()]


def _table(room: str, names: list[str], work: Path, sizes: Sizes, rounds: int) -> None:
    shard, layer = sizes.shard >> 20, sizes.layer >> 20
    folder = work
    if room in _MAKERS:
        folder = work / f"{_MAKERS[room].__module__}-{shard}"
        if not folder.exists():
            folder.mkdir()
            _MAKERS[room](folder, sizes)
    print(f"\n{room}: shards of {shard} MiB, a layer of {layer} MiB; medians of {rounds}\n")
    show(room, compare(room, names, folder, sizes, rounds))


if __name__ == "__main__":
    main()
