"""Statistics of all layers of a recording, in a process of its own, beside reading them.

python benchmarks/reduce_stats.py METHOD FOLDER     # what reduce.py runs
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from storage_measure import Peak

LAYERS, ROWS, WIDTH = 4, 65_536, 1024  # 1 GiB


def make(folder: Path) -> None:
    """Record four layers as networks have them: about 0, of positive values, with a mean, half of it zero."""
    import actlens

    rng = np.random.default_rng(0)
    with actlens.Recorder(folder / "run", durability="rename") as rec:
        for start in range(0, ROWS, 4096):
            x = rng.standard_normal((4096, WIDTH), dtype="f4")
            acts = {"a": x, "b": np.abs(x), "c": x + np.float32(5), "d": np.maximum(x, 0)}
            rec.write(acts, label=np.arange(start, start + 4096) % 10)


def _read(run: Any) -> None:
    for layer in run.values():
        for _ in layer.chunks():
            pass


def _two_passes(run: Any) -> None:
    """What one would write by hand: mean, deviation, extremes and zeros, with numpy, chunk by chunk."""
    for layer in run.values():
        for chunk in layer.chunks():
            chunk.sum(axis=0, dtype=np.float64)
            np.square(chunk).sum(axis=0, dtype=np.float64)
            chunk.min(axis=0)
            chunk.max(axis=0)
            (chunk == 0).sum(axis=0)
            np.isfinite(chunk).all()


def _stats(**options: Any) -> Callable[[Any], None]:
    def run(recording: Any) -> None:
        import actlens

        actlens.stats(recording, **options, cache=False)

    return run


METHODS = {
    "read": _read,
    "by hand": _two_passes,
    "stats": _stats(),
    "stats, top=0": _stats(top=0),
    "stats, labels": _stats(labels="label"),
    "stats, correlation": _stats(correlation=True),
}


def main(method: str, folder: str) -> None:
    import actlens

    run = actlens.open(Path(folder) / "run")
    assert actlens.stats
    _read(run)  # into the page cache
    with Peak() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        METHODS[method](run)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak.mib}))


if __name__ == "__main__":
    main(*sys.argv[1:])
