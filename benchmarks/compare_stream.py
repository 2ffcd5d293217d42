"""CKA of two layers far beyond memory, streamed from a recording, in a process of its own.

python benchmarks/compare_stream.py METHOD FOLDER ROUND     # what compare.py runs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from compare_measure import timed

BLOCK = 8192


def make(folder: Path, rows: int, units: int) -> None:
    """Record two related layers, their means far from 0, and the value of float64 sums."""
    import actlens

    rng = np.random.default_rng(0)
    rank = min(64, units)
    basis = rng.standard_normal((2, rank, units)).astype("f4") * (1 + np.arange(units, dtype="f4")) ** -0.3
    means = 20 * rng.standard_normal((2, units)).astype("f4")
    with actlens.Recorder(folder, durability="rename") as rec:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            shared = rng.standard_normal((count, rank), dtype="f4")
            parts = [
                shared @ basis[side] + rng.standard_normal((count, units), dtype="f4") + means[side]
                for side in range(2)
            ]
            rec.write({"x": parts[0], "y": parts[1]})
    np.save(folder.with_suffix(".npy"), np.array([_truth(folder)]))


def _truth(folder: Path) -> float:
    """Debiased CKA by two passes of float64 (the closed form of Google's demo)."""
    import actlens

    run = actlens.open(folder)
    n = len(run["x"])
    means = [sum(chunk.sum(axis=0, dtype="f8") for chunk in run[name].chunks(BLOCK)) / n for name in "xy"]
    sums: Any = dict.fromkeys(("xx", "yy", "xy"), 0.0)
    rows: Any = dict.fromkeys(sums, 0.0)
    trace = {"x": 0.0, "y": 0.0}
    for chunks in zip(*(run[name].chunks(BLOCK) for name in "xy"), strict=True):
        wide = {
            name: chunk.astype("f8") - mean for name, chunk, mean in zip("xy", chunks, means, strict=True)
        }
        norms = {name: np.square(each).sum(axis=1) for name, each in wide.items()}
        for pair in sums:
            sums[pair] = sums[pair] + wide[pair[0]].T @ wide[pair[1]]
            rows[pair] += float(norms[pair[0]] @ norms[pair[1]])
        for name in trace:
            trace[name] += float(norms[name].sum())

    def hsic(pair: str) -> float:
        tail = trace[pair[0]] * trace[pair[1]] / ((n - 1) * (n - 2))
        return float(np.square(sums[pair]).sum()) - n / (n - 2) * rows[pair] + tail

    return hsic("xy") / float(np.sqrt(hsic("xx") * hsic("yy")))


def _read(run: Any) -> None:
    for name in "xy":
        for _ in run[name].chunks():
            pass


def _cka(run: Any) -> float:
    from actlens import compare

    return float(compare.matrix({"x": run["x"]}, {"y": run["y"]}, cache=False).values[0, 0])


def _moments(run: Any) -> float:
    from actlens import compare

    sums = compare.Moments(precision="float32")
    for x, y in zip(run["x"].chunks(BLOCK), run["y"].chunks(BLOCK), strict=True):
        sums.update({"x": x}, {"y": y})
    return float(sums.matrix().values[0, 0])


def _products(run: Any) -> None:
    """Xᵀ X, Yᵀ Y and Xᵀ Y of as many rows, from one block that stays in the cache; one block a thread."""
    from actlens.streaming.threads import single_threaded_blas, threads_here

    x, y = (next(iter(run[name].chunks(BLOCK))) for name in "xy")

    def multiply(_start: int) -> None:
        for left, right in ((x, x), (y, y), (x, y)):
            np.matmul(left.T, right)

    with single_threaded_blas(), ThreadPoolExecutor(threads_here()) as team:
        list(team.map(multiply, range(0, len(run["x"]), len(x))))


METHODS: dict[str, Callable[[Any], float | None]] = {
    "read": _read,
    "bare products": _products,
    "actlens": _cka,
    "actlens, Moments": _moments,
}


def main(method: str, folder: str, _round: str) -> None:
    import actlens
    from actlens import compare

    assert compare
    run = actlens.open(folder)
    found, figures = timed(lambda: METHODS[method](run))
    exact = float(np.load(Path(folder).with_suffix(".npy"))[0])
    error = -1.0 if found is None else abs(found - exact)
    print(json.dumps(figures | {"error": error, "ran": 1}))


if __name__ == "__main__":
    main(*sys.argv[1:])
