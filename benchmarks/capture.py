"""What recording costs: the same model, data and layers by every means, interleaved.

    python benchmarks/capture.py                           # PyTorch; about ten minutes
    python benchmarks/capture.py --framework linen         # or nnx, keras (on TensorFlow)
    python benchmarks/capture.py --memory                  # peak memory at 1,000 and 10,000 rows
    python benchmarks/capture.py --rounds 3 --model mlp --methods bare actlens

Each run is a process of its own. Prints medians, ratios to the bare forward and to the loop written by hand in the
same round, for the whole run and for its steady part (after the first batch, when what a framework compiles is compiled),
the number of compilations in that part, and the peak of private memory over what there was before the first counted batch.
`pip install 'actlens[bench]'` brings the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from watching import Compilations, Watch

FRAMEWORKS = ("torch", "linen", "nnx", "keras")
ROWS = {"resnet18": 1040, "mlp": 16_400}  # the last batch is smaller than the others
HAND = {"torch": "hooks+np.save"}  # the loop that the ratios are to; elsewhere "hand+np.save"


def one(means, method: str, model_name: str, rows: int, out: Path) -> dict[str, float]:
    """Run one method once, in this process; seconds and peak memory (MiB) beyond the start."""
    model = means.model(model_name)
    warm = out / "warm"
    warm.mkdir()
    for size in (2 * means.SIZES[model_name][0], rows % means.SIZES[model_name][0]):
        means.METHODS[method](model, means.batches(model_name, size), warm)
        shutil.rmtree(warm)
        warm.mkdir()
    watch = Watch(Compilations())
    wall, cpu = time.perf_counter(), time.process_time()
    means.METHODS[method](model, watch.watched(means.batches(model_name, rows)), out)
    done, cpu = time.perf_counter(), time.process_time() - cpu
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {
        "wall": done - wall,
        "steady": done - watch.second_batch,
        "cpu": cpu,
        "compiled": watch.compiled_since_the_second(),
        "peak": watch.peak,
        "disk": size / 2**20,
    }


def _child(framework: str, method: str, model_name: str, rows: int) -> dict[str, float] | None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--framework", framework, "--one", method, "--out", folder]
        command += ["--model", model_name, "--rows", str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {method}: not run ({reason[:120]})", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(framework: str, methods: list[str], model_name: str, rows: int, rounds: int) -> None:
    """Print the table of one model."""
    seen: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for number in range(rounds):
        for method in methods if number % 2 == 0 else reversed(methods):
            result = _child(framework, method, model_name, rows) if number == 0 or seen[method] else None
            if result is not None:
                seen[method].append(result)
    means = importlib.import_module(f"means_{framework}")
    shape = "×".join(map(str, means.SIZES[model_name]))
    hand = HAND.get(framework, "hand+np.save")
    print(f"\n{framework}, {model_name}, {rows} rows in batches of {shape}, 4 layers; medians of {rounds}\n")
    print(
        f"| means | wall s | CPU s | × bare | × {hand} | steady × {hand} | compiled | peak MiB | disk MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for method, results in seen.items():
        if results:
            figures = {key: statistics.median(r[key] for r in results) for key in results[0]}
            ratios = [_ratio(results, seen.get(base, []), "wall") for base in ("bare", hand)]
            ratios.append(_ratio(results, seen.get(hand, []), "steady"))
            print(
                f"| {method} | {figures['wall']:.2f} | {figures['cpu']:.2f} | {' | '.join(ratios)} "
                f"| {figures['compiled']:.0f} | {figures['peak']:.0f} | {figures['disk']:.0f} |",
                flush=True,
            )


def _ratio(results: list[dict[str, float]], base: list[dict[str, float]], what: str) -> str:
    """The median of the ratios of time, round by round."""
    pairs = [a[what] / b[what] for a, b in zip(results, base, strict=False)]
    return f"{statistics.median(pairs):.2f}" if pairs else "–"


def memory(model_name: str) -> None:
    """Print the peak memory of actlens.record by the number of rows."""
    from means_torch import LARGE

    print(f"\n{model_name}: peak private memory beyond the start, MiB\n")
    print("| rows | shards of 64 MiB (default) | of 256 MiB |")
    print("|---|---|---|")
    for rows in (1000, 3000, 10_000):
        peaks = [_child("torch", method, model_name, rows) for method in ("actlens", LARGE)]
        print(f"| {rows} | " + " | ".join(f"{peak['peak']:.0f}" if peak else "–" for peak in peaks) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--framework", choices=FRAMEWORKS, default="torch")
    parser.add_argument("--one")
    parser.add_argument("--model", choices=ROWS)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--methods", nargs="+")
    options = parser.parse_args()
    means = importlib.import_module(f"means_{options.framework}")
    if options.one:
        print(json.dumps(one(means, options.one, options.model, options.rows, options.out)))
    elif options.memory:
        for model_name in [options.model] if options.model else ROWS:
            memory(model_name)
    else:
        methods = options.methods or [name for name in means.METHODS if "256 MiB" not in name]
        unknown = set(methods) - set(means.METHODS)
        if unknown:
            parser.error(f"no such methods: {sorted(unknown)}; there are {sorted(means.METHODS)}")
        for model_name, rows in ROWS.items():
            if options.model in {None, model_name}:
                compare(options.framework, methods, model_name, options.rows or rows, options.rounds)


if __name__ == "__main__":
    main()
