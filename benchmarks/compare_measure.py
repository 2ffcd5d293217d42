"""How one means of comparing is measured, in a process of its own; and the layers it compares."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Figures = dict[str, float]
Pair = tuple[int, int]


def residual_stream(
    folder: Path, layers: int, rows: int, units: int, *, massive: bool = True, normalised: bool = False
) -> None:
    """Make the layers of two related models, (rows, units) each, as float32 files.

    Each layer adds to the one before; means are shifted as behind a ReLU, and three units are massive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rank = min(256, units, rows)
    state = rng.standard_normal((rows, rank), dtype="f4")
    for side in "ab":
        stream = state + 0.5 * rng.standard_normal((rows, rank), dtype="f4")
        for number in range(layers):
            stream = stream + np.maximum(stream @ _mixing(rng, rank, rank), 0)
            stream /= stream.std()
            x = stream @ _mixing(rng, rank, units) + 0.3 * rng.standard_normal((rows, units), dtype="f4")
            x += np.abs(rng.standard_normal(units, dtype="f4"))
            if massive:
                x[:, rng.choice(units, 3, replace=False)] *= 15
            if normalised:
                x /= np.linalg.norm(x, axis=1, keepdims=True)
            np.save(folder / f"{side}{number}.npy", x)


def _mixing(rng: np.random.Generator, units_in: int, units_out: int) -> Array:
    return rng.standard_normal((units_in, units_out), dtype="f4") / np.float32(np.sqrt(units_in))


def load(folder: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Read all layers into memory."""
    sides = []
    for side in "ab":
        files = sorted(folder.glob(f"{side}[0-9]*.npy"), key=lambda file: int(file.stem[1:]))
        sides.append({file.stem: np.load(file) for file in files})
    return sides[0], sides[1]


def truth(folder: Path) -> None:
    """Compute debiased and biased CKA of all pairs in float64, one layer's Gram matrix after the other."""
    a, b = load(folder)
    grams = [_centred_gram(x) for x in (*a.values(), *b.values())]
    values = np.empty((2, len(a), len(b)))
    for debiased in (0, 1):
        made = [_without_diagonal(gram) for gram in grams] if debiased else grams
        norms = [float(np.linalg.norm(gram)) for gram in made]
        for i in range(len(a)):
            for j in range(len(b)):
                inner = float(np.vdot(made[i], made[len(a) + j]))
                values[debiased, i, j] = inner / norms[i] / norms[len(a) + j]
    np.save(folder / "truth.npy", values)


def _centred_gram(x: Array) -> Array:
    wide = x.astype("f8")
    wide -= wide.mean(axis=0)
    return wide @ wide.T


def _without_diagonal(gram: Array) -> Array:
    """U-centre, in place (Székely and Rizzo 2014)."""
    n = len(gram)
    np.fill_diagonal(gram, 0)
    means = gram.sum(axis=0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    gram -= means[:, None]
    gram -= means
    np.fill_diagonal(gram, 0)
    return gram


def some_pairs(layers: int, count: int, number: int) -> list[Pair]:
    """Draw pairs, others in each round; all of them for a count of 0."""
    every = [(i, j) for i in range(layers) for j in range(layers)]
    if not count or count >= len(every):
        return every
    drawn = np.random.default_rng(number).choice(len(every), count, replace=False)
    return [every[place] for place in drawn]


def timed(action: Callable[[], Any]) -> tuple[Any, Figures]:
    """Run once; wall and CPU seconds of all threads, and the highest resident memory of the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return result, figures | {"peak": _highest_mib()}


def _highest_mib() -> float:
    """Read what ru_maxrss would say, but for the memory of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
