"""What recording costs: the same model, data and layers by every means, interleaved.

    python benchmarks/capture.py                           # PyTorch; about ten minutes
    python benchmarks/capture.py --framework linen         # or nnx, keras (on TensorFlow)
    python benchmarks/capture.py --framework linen --cold  # nothing compiled before: as a script runs
    python benchmarks/capture.py --memory                  # peak memory at 1,000 and 10,000 rows
    python benchmarks/capture.py --rounds 3 --model mlp --methods bare actlens

Each run is a process of its own, which first runs the method on a few batches to warm up. A loop written
by hand keeps its compiled function from there; actlens.record compiles in each call, so that its whole run
has a compilation in it that the loop's has not. Hence two ratios to the loop: of the whole run, and of its
steady part, from the end of the first batch on, which is what grows with the data. "first batch" is the
whole less the steady. "compiled" counts, and times, what jax or TensorFlow compiles in the steady part: the
last batch, which is smaller than the others, may be there. Peak is private memory over what there was
before the first counted batch.
`pip install 'actlens[bench]'` brings the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import table
from watching import Compilations, Watch

FRAMEWORKS = ("torch", "linen", "nnx", "keras")
ROWS = {"resnet18": 1040, "mlp": 16_400}  # the last batch is smaller than the others
HAND = {"torch": "hooks+np.save"}  # the loop that the ratios are to; elsewhere "hand+np.save"


def one(means, method: str, model_name: str, rows: int, out: Path, *, cold: bool = False) -> table.Figures:
    """Run one method once, in this process; seconds and peak memory (MiB) beyond the start."""
    model = means.model(model_name)
    batch = means.SIZES[model_name][0]
    for size in () if cold else filter(None, (2 * batch, rows % batch)):
        with tempfile.TemporaryDirectory(dir=out) as warm:
            means.METHODS[method](model, means.batches(model_name, size), Path(warm))
    watch = Watch(Compilations())
    wall, cpu = time.perf_counter(), time.process_time()
    means.METHODS[method](model, watch.watched(means.batches(model_name, rows)), out)
    done, cpu = time.perf_counter(), time.process_time() - cpu
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    count, seconds = watch.compiled_since_the_second()
    return {
        "wall": done - wall,
        "steady": done - watch.second_batch,
        "cpu": cpu,
        "compiled": count,
        "compiling": seconds,
        "peak": watch.peak,
        "disk": size / 2**20,
    }


def _child(framework: str, method: str, model_name: str, rows: int, *more: str) -> table.Figures | None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--framework", framework, "--one", method, "--out", folder]
        command += ["--model", model_name, "--rows", str(rows), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {method}: not run ({reason[:120]})", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(framework: str, methods: list[str], model_name: str, rows: int, rounds: int, *more: str) -> None:
    """Run all methods in turn, and print the table of one model."""
    seen: dict[str, dict[int, table.Figures]] = {method: {} for method in methods}
    for number in range(rounds):
        for method in methods if number % 2 == 0 else reversed(methods):
            if number == 0 or seen[method]:
                result = _child(framework, method, model_name, rows, *more)
                if result is not None:
                    seen[method][number] = result
    shape = "×".join(map(str, importlib.import_module(f"means_{framework}").SIZES[model_name]))
    print(f"\n{framework}, {model_name}, {rows} rows in batches of {shape}, 4 layers; medians of {rounds}\n")
    table.show(seen, HAND.get(framework, "hand+np.save"))


def memory(framework: str, model_name: str) -> None:
    """Print the peak memory of actlens.record by the number of rows."""
    large = importlib.import_module(f"means_{framework}").LARGE
    print(f"\n{framework}, {model_name}: peak private memory beyond the start, MiB\n")
    print("| rows | shards of 64 MiB (default) | of 256 MiB |")
    print("|---|---|---|")
    for rows in (1000, 3000, 10_000):
        peaks = [_child(framework, method, model_name, rows) for method in ("actlens", large)]
        print(f"| {rows} | " + " | ".join(f"{peak['peak']:.0f}" if peak else "–" for peak in peaks) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=FRAMEWORKS, default="torch")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=ROWS, help="both where it is not given")
    parser.add_argument("--rows", type=int, help="no multiple of the batch, so that the last one is smaller")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="no warming up: every means compiles")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--methods", nargs="+")
    options = parser.parse_args()
    means = importlib.import_module(f"means_{options.framework}")
    if options.one:
        result = one(means, options.one, options.model, options.rows, options.out, cold=options.cold)
        print(json.dumps(result))
        return
    models = [options.model] if options.model else list(ROWS)
    if options.memory:
        for model_name in models:
            memory(options.framework, model_name)
        return
    methods = options.methods or [name for name in means.METHODS if name != means.LARGE]
    unknown = set(methods) - set(means.METHODS)
    if unknown:
        parser.error(f"no such methods: {sorted(unknown)}; there are {sorted(means.METHODS)}")
    for model_name in models:
        rows = options.rows or ROWS[model_name]
        compare(options.framework, methods, model_name, rows, options.rounds, *["--cold"] * options.cold)


if __name__ == "__main__":
    main()
