"""What recording costs: the same model, data and layers by every means, interleaved.

    python benchmarks/capture.py                    # the table; about ten minutes
    python benchmarks/capture.py --memory           # peak memory at 1,000 and 10,000 rows
    python benchmarks/capture.py --rounds 3 --methods bare actlens hooks+np.save

Each run is a process of its own. Prints medians, ratios to the bare forward and to plain hooks + np.save of
the same round, and the peak of private memory over what the process had before its first counted batch.
`pip install 'actlens[bench]'` brings the peers.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
SIZES = {"resnet18": (32, 3, 64, 64), "mlp": (256, 256)}  # one batch


LARGE = "actlens 256 MiB shards"
TORCHLENS_BATCH = 32  # as resnet18's batch


def _batches(model_name: str, rows: int) -> Iterator:
    """Give batches of noise; one tensor, so that the data takes no memory that grows."""
    import torch

    batch = torch.randn(SIZES[model_name], generator=torch.Generator().manual_seed(0))
    for at in range(0, rows, len(batch)):
        yield batch[: min(len(batch), rows - at)]


def bare(model, batches, _out: Path) -> None:
    import torch

    with torch.no_grad():
        for batch in batches:
            model(batch)


def _hooked(model, batches, keep: Callable[[str, object], None]) -> None:
    """The loop that people write: a hook a layer, which clones."""
    import torch

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, y, name=name: keep(name, y.detach().clone())
        )
        for name in LAYERS
    ]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()


def hooks_np_save(model, batches, out: Path) -> None:
    import numpy as np

    counts = dict.fromkeys(LAYERS, 0)

    def keep(name, value):
        np.save(out / f"{name}-{counts[name]}.npy", value.numpy())
        counts[name] += 1

    _hooked(model, batches, keep)


def hooks_np_save_durable(model, batches, out: Path) -> None:
    """As hooks_np_save, each file synced to the disk, as actlens does by default."""
    import os

    import numpy as np

    counts = dict.fromkeys(LAYERS, 0)

    def keep(name, value):
        with (out / f"{name}-{counts[name]}.npy").open("wb") as file:
            np.save(file, value.numpy())
            file.flush()
            os.fsync(file.fileno())
        counts[name] += 1

    _hooked(model, batches, keep)


def hooks_pickle(model, batches, out: Path) -> None:
    import pickle

    kept = {name: [] for name in LAYERS}
    _hooked(model, batches, lambda name, value: kept[name].append(value.numpy()))
    with (out / "activations.pkl").open("wb") as file:
        pickle.dump(kept, file, protocol=5)


def hooks_h5py(model, batches, out: Path) -> None:
    import h5py

    with h5py.File(out / "activations.h5", "w") as file:

        def keep(name, value):
            array = value.numpy()
            if name not in file:
                shape = (0, *array.shape[1:])
                file.create_dataset(name, shape, "f4", maxshape=(None, *shape[1:]), chunks=array.shape)
            data = file[name]
            data.resize(len(data) + len(array), 0)
            data[-len(array) :] = array

        _hooked(model, batches, keep)


def torchvision_np_save(model, batches, out: Path) -> None:
    import numpy as np
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor = create_feature_extractor(model, LAYERS)
    with torch.no_grad():
        for i, batch in enumerate(batches):
            for name, value in extractor(batch).items():
                np.save(out / f"{name}-{i}.npy", value.numpy())


def torchlens_extract(model, batches, out: Path) -> None:
    import torchlens

    stimuli = (row for batch in batches for row in batch)  # it batches anew, to the same size
    torchlens.extract_dataset(
        model, stimuli, LAYERS, TORCHLENS_BATCH, output_dir=out / "lens", progress=False
    )


def actlens_record(model, batches, out: Path, **options) -> None:
    import actlens

    actlens.record(model, batches, out / "run", layers=LAYERS, progress=False, **options)


METHODS: dict[str, Callable] = {
    "bare": bare,
    "hooks+np.save": hooks_np_save,
    "hooks+np.save+fsync": hooks_np_save_durable,
    "hooks+pickle": hooks_pickle,
    "hooks+h5py": hooks_h5py,
    "torchvision+np.save": torchvision_np_save,
    "torchlens": torchlens_extract,
    "actlens": actlens_record,
    "actlens rename": lambda *a: actlens_record(*a, durability="rename"),
    "actlens float16": lambda *a: actlens_record(*a, dtype="float16"),
}


def one(method: str, model_name: str, rows: int, out: Path) -> dict[str, float]:
    """Run one method once, in this process; give seconds and peak memory (MiB) beyond the start."""
    import models
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = {"resnet18": models.ResNet18, "mlp": models.MLP}[model_name]().eval()
    warm = out / "warm"
    warm.mkdir()
    METHODS[method](model, _batches(model_name, 2 * SIZES[model_name][0]), warm)
    shutil.rmtree(warm)
    before = _private_mib()
    peak = _Peak(before)
    wall, cpu = time.perf_counter(), time.process_time()
    METHODS[method](model, peak.watched(_batches(model_name, rows)), out)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {"wall": wall, "cpu": cpu, "peak": peak.highest - before, "disk": size / 2**20}


class _Peak:
    """The most private memory seen while batches go by."""

    def __init__(self, start: float) -> None:
        self.highest = start

    def watched(self, batches: Iterator) -> Iterator:
        for batch in batches:
            self.highest = max(self.highest, _private_mib())
            yield batch
        self.highest = max(self.highest, _private_mib())


def _private_mib() -> float:
    """Anonymous memory: what the out-of-memory killer counts."""
    try:
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(method: str, model_name: str, rows: int) -> dict[str, float] | None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", method, "--model", model_name, "--rows", str(rows)]
        done = subprocess.run([*command, "--out", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {method}: not run ({reason[:120]})", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(methods: list[str], model_name: str, rows: int, rounds: int) -> None:
    """Print the table of one model."""
    seen: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for number in range(rounds):
        for method in methods if number % 2 == 0 else reversed(methods):
            result = _child(method, model_name, rows) if number == 0 or seen[method] else None
            if result is not None:
                seen[method].append(result)
    shape = "×".join(map(str, SIZES[model_name]))
    print(f"\n{model_name}, {rows} rows in batches of {shape}, 4 layers; medians of {rounds}\n")
    print("| means | wall s | CPU s | × bare | × hooks+np.save | peak MiB | disk MiB |")
    print("|---|---|---|---|---|---|---|")
    for method, results in seen.items():
        if results:
            figures = {key: statistics.median(r[key] for r in results) for key in results[0]}
            ratios = [_ratio(results, seen.get(base, [])) for base in ("bare", "hooks+np.save")]
            print(
                f"| {method} | {figures['wall']:.2f} | {figures['cpu']:.2f} | {ratios[0]} | {ratios[1]} "
                f"| {figures['peak']:.0f} | {figures['disk']:.0f} |"
            )


def _ratio(results: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    """The median of the ratios of wall time, round by round."""
    pairs = [a["wall"] / b["wall"] for a, b in zip(results, base, strict=False)]
    return f"{statistics.median(pairs):.2f}" if pairs else "–"


def memory(model_name: str) -> None:
    """Print the peak memory of actlens.record by the number of rows."""
    print(f"\n{model_name}: peak private memory beyond the start, MiB\n")
    print("| rows | shards of 64 MiB (default) | of 256 MiB |")
    print("|---|---|---|")
    for rows in (1000, 3000, 10_000):
        peaks = [_child(method, model_name, rows) for method in ("actlens", LARGE)]
        print(f"| {rows} | " + " | ".join(f"{peak['peak']:.0f}" if peak else "–" for peak in peaks) + " |")


METHODS[LARGE] = lambda *a: actlens_record(*a, shard_bytes=256 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", choices=METHODS)
    parser.add_argument("--model", choices=SIZES)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.model, options.rows, options.out)))
    elif options.memory:
        for model_name in [options.model] if options.model else SIZES:
            memory(model_name)
    else:
        methods = options.methods or [name for name in METHODS if name != LARGE]
        for model_name, rows in {"resnet18": 1024, "mlp": 16_384}.items():
            if options.model in {None, model_name}:
                compare(methods, model_name, options.rows or rows, options.rounds)


if __name__ == "__main__":
    main()
