"""What comparing layers costs, beside bare products and other programs: interleaved, medians and ratios.

    python benchmarks/compare.py pairs --rounds 5                            # 12 × 12 layers of 5,000 × 768
    python benchmarks/compare.py pairs --size 2000x25088 --layers 4 --rounds 3
    python benchmarks/compare.py stream                                      # 1,000,000 × 512, from the disk
    python benchmarks/compare.py knn --rounds 3                              # mutual 10-NN, 12 × 12 layers

Each run is a process of its own. The data are made once, under --work. Programs that take minutes for all
pairs run some, drawn anew in each round, and are scaled. Of other programs, those that are installed run:
pip install 'actlens[bench]'.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from reduce import run_once

Figures = dict[str, float]
Seen = dict[str, list[Figures]]


def interleaved(script: str, methods: Iterable[str], rounds: int, *args: object) -> Seen:
    """Run every means once in each round; it is told the number of the round."""
    seen: Seen = {method: [] for method in methods}
    for number in range(rounds):
        for method, results in seen.items():
            if len(results) == number:  # one that failed is left out
                found = run_once(script, method, *args, number)
                results.extend([found] if found else [])
                if found:
                    print(f"round {number}: {method}: {_short(found)}", flush=True)
    return {method: results for method, results in seen.items() if results}


def _short(figures: Figures) -> str:
    return ", ".join(f"{key} {value:.3g}" for key, value in figures.items())


def table(seen: Seen, bases: Iterable[str]) -> None:
    """Print medians, and how many times the CPU seconds of each base, round by round."""
    bases = [base for base in bases if base in seen]
    heads = [
        "means",
        "wall s",
        "CPU s",
        *(f"CPU × {base}" for base in bases),
        "peak MiB",
        "error",
        "pairs run",
    ]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for method, results in seen.items():
        cells = [method, f"{_middle(results, 'wall'):.2f}", f"{_middle(results, 'cpu'):.2f}"]
        cells += [f"{ratio(seen, method, base, 'cpu'):.2f}" for base in bases]
        worst = max(one["error"] for one in results)
        cells += [f"{_middle(results, 'peak'):.0f}", "–" if worst < 0 else f"{worst:.1e}"]
        cells.append(f"{results[0]['ran']:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)


def ratio(seen: Seen, method: str, base: str, key: str) -> float:
    """Give the median of the ratios within a round."""
    pairs = zip(seen[method], seen[base], strict=False)
    return statistics.median(one[key] / other[key] for one, other in pairs)


def _middle(results: list[Figures], key: str) -> float:
    return statistics.median(one[key] for one in results)


def target(said: str, found: float, wanted: float, *, least: bool = False) -> None:
    met = found >= wanted if least else found <= wanted
    limit = f"{'at least' if least else 'at most'} {wanted:g}"
    print(f"{said}: {found:.3g}; wanted {limit}: {'met' if met else 'MISSED'}")


def _pairs(options: argparse.Namespace, work: Path) -> None:
    from compare_pairs import METHODS, OURS, make

    rows, units = options.size or (5000, 768)
    layers = options.layers or 12
    folder = work / f"compare-{layers}x{rows}x{units}"
    if not (folder / "truth.npy").exists():
        make(folder, layers, rows, units)
    bare = "bare products, Gram" if rows < layers * units else "bare products, covariance"
    wanted = options.methods or [name for name in METHODS if not name.startswith("bare") or name == bare]
    seen = interleaved("compare_pairs.py", wanted, options.rounds, folder)
    peer = "feature space or Gram, torch"
    table(seen, (bare, OURS, peer))
    if OURS in seen:
        if bare in seen:
            target("CPU × the bare products", ratio(seen, OURS, bare, "cpu"), 1.2)
            target("wall × the bare products", ratio(seen, OURS, bare, "wall"), 1.2)
        target("error", max(one["error"] for one in seen[OURS]), 1e-8)
        if peer in seen:
            target(f"CPU of '{peer}' × ours", ratio(seen, peer, OURS, "cpu"), 5, least=True)


def _stream(options: argparse.Namespace, work: Path) -> None:
    from compare_stream import METHODS, make

    rows, units = options.size or (1_000_000, 512)
    folder = work / f"compare-stream-{rows}x{units}"
    if not folder.exists():
        make(folder, rows, units)
    wanted = options.methods or METHODS
    seen = interleaved("compare_stream.py", wanted, options.rounds, folder)
    table(seen, ("read", "bare products"))
    for method, results in seen.items():
        if method.startswith("actlens"):
            target(f"{method}: highest resident MiB", max(one["peak"] for one in results), 1000)


def _knn(options: argparse.Namespace, work: Path) -> None:
    from compare_knn import METHODS, OURS, PEER, make

    rows, units = options.size or (5000, 768)
    folder = work / f"compare-knn-{options.layers or 12}x{rows}x{units}"
    if not folder.exists():
        make(folder, options.layers or 12, rows, units)
    seen = interleaved("compare_knn.py", options.methods or METHODS, options.rounds, folder)
    table(seen, (OURS,))
    if {OURS, PEER} <= seen.keys():
        target(f"CPU of '{PEER}' × ours", ratio(seen, PEER, OURS, "cpu"), 20, least=True)
        target(f"wall of '{PEER}' × ours", ratio(seen, PEER, OURS, "wall"), 20, least=True)


def _size(text: str) -> tuple[int, int]:
    rows, units = text.split("x")
    return int(rows), int(units)


KINDS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "pairs": _pairs,
    "stream": _stream,
    "knn": _knn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--size", type=_size, help="samples x features")
    parser.add_argument("--layers", type=int, help="of each side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "actlens-bench")
    options = parser.parse_args()
    KINDS[options.kind](options, options.work)


if __name__ == "__main__":
    main()
