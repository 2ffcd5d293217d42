"""CKA of all pairs of layers by one means, in a process of its own.

python benchmarks/compare_pairs.py METHOD FOLDER ROUND     # what compare.py runs
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import compare_peers as peers
import numpy as np
from compare_measure import Array, Figures, load, residual_stream, some_pairs, timed, truth

OURS = "actlens"
Sides = tuple[dict[str, Array], dict[str, Array]]
Values = dict[tuple[int, int], float]


def make(folder: Path, layers: int, rows: int, units: int) -> None:
    """Make the layers, a recording of each side, and the values of float64."""
    import actlens

    residual_stream(folder, layers, rows, units)
    for side, layers_of in zip("ab", load(folder), strict=True):
        with actlens.Recorder(folder / f"run-{side}", durability="rename") as rec:
            for start in range(0, rows, 500):
                rec.write({name: x[start : start + 500] for name, x in layers_of.items()})
    truth(folder)


def _matrix(source: str) -> Callable[[Sides, Path], Values]:
    def run(sides: Sides, folder: Path) -> Values:
        import actlens
        from actlens import compare

        given: tuple[Any, Any] = sides
        if source == "recording":
            given = tuple(actlens.open(folder / f"run-{side}") for side in "ab")  # type: ignore[assignment]
        found = compare.matrix(*given, cache=False).values
        return {(i, j): float(value) for (i, j), value in np.ndenumerate(found)}

    return run


def _bare_gram(sides: Sides, _folder: Path) -> Values:
    """The tiles of all layers' Gram matrices above the diagonal, shared out as ours are: nothing is kept."""
    from actlens.compare.tiles import TILE
    from actlens.streaming.threads import single_threaded_blas, threads_here

    layers = [*sides[0].values(), *sides[1].values()]
    starts = range(0, len(layers[0]), TILE)

    def strip(left: int) -> None:
        buffer = np.empty(TILE * TILE, layers[0].dtype)
        for right in starts:
            if right >= left:
                for x in layers:
                    rows, columns = x[left : left + TILE], x[right : right + TILE]
                    out = buffer[: len(rows) * len(columns)].reshape(len(rows), len(columns))
                    np.matmul(rows, columns.T, out=out)

    with single_threaded_blas(), ThreadPoolExecutor(threads_here()) as team:
        list(team.map(strip, starts))
    return {}


def _bare_covariance(sides: Sides, _folder: Path) -> Values:
    """Xᵀ Y of all pairs and of each layer with itself, shared out as ours are."""
    from actlens.streaming.threads import single_threaded_blas, threads_here

    a, b = (list(side.values()) for side in sides)
    pairs = [(x, x) for x in (*a, *b)] + [(x, y) for x in a for y in b]
    with single_threaded_blas(), ThreadPoolExecutor(threads_here()) as team:
        list(team.map(lambda pair: float((pair[0].T @ pair[1])[0, 0]), pairs))
    return {}


WHOLE: dict[str, Callable[[Sides, Path], Values]] = {
    "bare products, Gram": _bare_gram,
    "bare products, covariance": _bare_covariance,
    OURS: _matrix("arrays"),
    "actlens, recordings": _matrix("recording"),
}
# How many pairs one run takes (0: all), of the debiased value or not.
PAIRWISE: dict[str, tuple[Callable[[], peers.OnePair], int, bool]] = {
    "feature space or Gram, torch": (peers.by_width, 24, False),
    "Google's demo": (peers.kornblith, 12, True),
    "thingsvision's formula": (peers.thingsvision, 2, True),
    "platonic's formula": (peers.platonic, 1, True),
    "ckatorch.cka_base": (peers.ckatorch, 2, True),
    "rsatoolbox cosine_cov": (peers.rsatoolbox, 1, False),
}
METHODS = (*WHOLE, *PAIRWISE, "torch_cka, batches of 64", "torch_cka, batches of 256")


def _warm(sides: Sides, method: str) -> None:
    """Import, and start threads, before the clock runs."""
    few = tuple({"0": next(iter(side.values()))[:64]} for side in sides)
    if method in PAIRWISE:
        PAIRWISE[method][0]()(*(side["0"] for side in few))
    elif method.startswith("torch_cka"):
        peers.torch_cka(few[0], few[1], 32)
    else:
        WHOLE[OURS if method.startswith(OURS) else method]((few[0], few[1]), Path())


def main(method: str, folder: str, number: str) -> None:
    sides = load(Path(folder))
    if method == "Google's demo" and next(iter(sides[0].values())).shape[1] > 4096:
        raise SystemExit("three covariances of 25,088² for each pair: hours")
    _warm(sides, method)
    values, figures, ran, debiased = _run(method, sides, Path(folder), int(number))
    exact = np.load(Path(folder) / "truth.npy")[int(debiased)]
    error = max((abs(value - exact[pair]) for pair, value in values.items()), default=-1.0)
    print(json.dumps(figures | {"error": float(error), "ran": ran}))


def _run(method: str, sides: Sides, folder: Path, number: int) -> tuple[Values, Figures, int, bool]:
    every = len(sides[0]) * len(sides[1])
    if method.startswith("torch_cka"):
        found, figures = timed(functools.partial(peers.torch_cka, *sides, int(method.rsplit(maxsplit=1)[-1])))
        return {place: float(value) for place, value in np.ndenumerate(found)}, figures, every, True
    if method not in PAIRWISE:
        values, figures = timed(lambda: WHOLE[method](sides, folder))
        return values, figures, every, True
    start, count, debiased = PAIRWISE[method]
    value, pairs = start(), some_pairs(len(sides[0]), count, number)
    a, b = (list(side.values()) for side in sides)
    values, figures = timed(lambda: {(i, j): value(a[i], b[j]) for i, j in pairs})
    scale = every / len(pairs)
    return values, figures | {key: figures[key] * scale for key in ("wall", "cpu")}, len(pairs), debiased


if __name__ == "__main__":
    main(*sys.argv[1:])
