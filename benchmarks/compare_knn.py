"""Mutual 10-nearest neighbours of all pairs of layers, in a process of its own.

python benchmarks/compare_knn.py METHOD FOLDER ROUND     # what compare.py runs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from compare_measure import Array, load, residual_stream, some_pairs, timed

OURS, PEER = "actlens", "platonic's loop over pairs"
METHODS = (OURS, PEER)
K = 10


def make(folder: Path, layers: int, rows: int, units: int) -> None:
    """Make layers whose rows have norm 1, so that the nearest are those of the largest product, as there."""
    residual_stream(folder, layers, rows, units, massive=False, normalised=True)


def _ours(a: dict[str, Array], b: dict[str, Array]) -> Array:
    from actlens import compare

    return compare.matrix(a, b, measure=compare.mutual_knn.with_options(k=K), cache=False).values


def _pair(x: Array, y: Array) -> float:
    """mutual_knn of platonic-rep, on torch."""
    import torch

    masks = []
    for v in (x, y):
        rows = torch.from_numpy(v)
        nearest = (rows @ rows.T).fill_diagonal_(-1e8).argsort(dim=1, descending=True)[:, :K]
        mask = torch.zeros(len(rows), len(rows))
        mask[torch.arange(len(rows))[:, None], nearest] = 1.0
        masks.append(mask)
    return float(((masks[0] * masks[1]).sum(dim=1) / K).mean())


def main(method: str, folder: str, number: str) -> None:
    a, b = load(Path(folder))
    few = [next(iter(side.values()))[:64] for side in (a, b)]
    pairs = some_pairs(len(a), 4, int(number))
    every = len(a) * len(b)
    if method == OURS:
        _ours({"few": few[0]}, {"few": few[1]})
        values, figures = timed(lambda: _ours(a, b))
        checked: Any = {
            pair: _pair(list(a.values())[pair[0]], list(b.values())[pair[1]]) for pair in pairs[:2]
        }
        error = max(abs(values[pair] - value) for pair, value in checked.items())
        print(json.dumps(figures | {"error": float(error), "ran": every}))
        return
    _pair(*few)
    _, figures = timed(lambda: [_pair(list(a.values())[i], list(b.values())[j]) for i, j in pairs])
    scaled = {key: figures[key] * every / len(pairs) for key in ("wall", "cpu")}
    print(json.dumps(figures | scaled | {"error": -1.0, "ran": len(pairs)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
