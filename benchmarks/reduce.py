"""What reducing and measuring costs, beside scikit-learn and others: whole runs, interleaved, medians and
ratios.

    python benchmarks/reduce.py pca --size 200000x1024 --rounds 3
    python benchmarks/reduce.py pca --size 200000x1024 --massive --rounds 1     # right where others are wrong
    python benchmarks/reduce.py disk --size 10000000x256                        # 10 GB, from the disk
    python benchmarks/reduce.py stats
    python benchmarks/reduce.py maps --size 30000x50

Each run is a process of its own. The data are made once, under --work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
Figures = dict[str, float]


def run_once(script: str, *args: object) -> Figures | None:
    """Run one means in a process of its own; None, and its words, where it failed."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, args)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{args[0]}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def interleaved(script: str, methods: Iterable[str], rounds: int, *args: object) -> dict[str, list[Figures]]:
    """Run every means once in each round."""
    seen: dict[str, list[Figures]] = {method: [] for method in methods}
    for number in range(rounds):
        for method, results in seen.items():
            if len(results) == number:  # one that failed is left out
                found = run_once(script, method, *args)
                results.extend([found] if found else [])
    return {method: results for method, results in seen.items() if results}


def table(seen: dict[str, list[Figures]], base: str, columns: dict[str, str]) -> None:
    """Print medians; after the seconds, their ratio to `base`, round by round."""
    heads = [*columns, f"× {base}"]
    print(f"| means | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for method, results in seen.items():
        cells = [columns[key].format(statistics.median(one[key] for one in results)) for key in columns]
        pairs = [one["wall"] / other["wall"] for one, other in zip(results, seen.get(base, []), strict=False)]
        cells.append(f"{statistics.median(pairs):.2f}" if pairs else "–")
        print(f"| {method} | {' | '.join(cells)} |", flush=True)


def _pca(options: argparse.Namespace, work: Path) -> None:
    from reduce_pca import METHODS, make, truth

    samples, features = options.size
    folder = work / f"pca-{samples}x{features}{'-massive' if options.massive else ''}"
    if not folder.exists():
        make(folder, samples, features, massive=options.massive)
    truth(folder)
    wanted = options.methods or [name for name in METHODS if name != "PCA full"]
    seen = interleaved("reduce_pca.py", wanted, options.rounds, folder)
    formats = {"wall": "{:.2f}", "cpu": "{:.2f}", "peak": "{:.0f}", "lost": "{:.1e}", "off": "{:.1e}"}
    table(seen, "actlens, recording", formats)


def _disk(options: argparse.Namespace, work: Path) -> None:
    import reduce_disk

    reduce_disk.show(work, *options.size)


def _stats(options: argparse.Namespace, work: Path) -> None:
    from reduce_stats import METHODS, make

    folder = work / "stats"
    if not folder.exists():
        make(folder)
    seen = interleaved("reduce_stats.py", options.methods or METHODS, options.rounds, folder)
    table(seen, "read", {"wall": "{:.2f}", "cpu": "{:.2f}", "peak": "{:.0f}"})


def _maps(options: argparse.Namespace, work: Path) -> None:
    from reduce_maps import METHODS, make

    samples, features = options.size
    file = work / f"maps-{samples}x{features}.npy"
    if not file.exists():
        make(file, samples, features)
    seen = interleaved("reduce_maps.py", options.methods or METHODS, options.rounds, file)
    formats = {"wall": "{:.1f}", "cpu": "{:.1f}", "recall": "{:.3f}", "trust": "{:.4f}"}
    table(seen, "actlens tsne", formats)


def _size(text: str) -> tuple[int, int]:
    samples, features = text.split("x")
    return int(samples), int(features)


KINDS = {
    "pca": (_pca, "200000x1024"),
    "disk": (_disk, "10000000x256"),
    "stats": (_stats, "1x1"),
    "maps": (_maps, "30000x50"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--size", type=_size, help="samples x features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--massive", action="store_true", help="means as real transformers have them")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "actlens-bench")
    options = parser.parse_args()
    run, size = KINDS[options.kind]
    options.size = options.size or _size(size)
    run(options, options.work)


if __name__ == "__main__":
    main()
