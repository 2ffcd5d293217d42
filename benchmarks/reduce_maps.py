"""One two-dimensional map, in a process of its own: seconds and how many true neighbours it keeps.

python benchmarks/reduce_maps.py METHOD FILE     # what reduce.py runs
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
QUERIES, K = 2000, 10


def make(file: Path, samples: int, features: int) -> None:
    """Make 40 unequal clusters in 8 larger ones, and a curve through 15 % of the rows."""
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    centres = np.repeat(6 * rng.standard_normal((8, features)), 5, axis=0)
    centres += 2 * rng.standard_normal(centres.shape)
    shares = rng.dirichlet(np.full(40, 2.0))
    curve = int(0.15 * samples)
    which = rng.choice(40, samples - curve, p=shares)
    spread = rng.uniform(0.5, 1.5, 40)[which, None]
    rows = centres[which] + spread * rng.standard_normal((samples - curve, features))
    along = np.linspace(0, 1, curve)[:, None]
    line = 8 * np.sin(along * np.arange(1, features + 1) * 0.5) + 0.3 * rng.standard_normal((curve, features))
    np.save(file, rng.permutation(np.concatenate([rows, line])).astype("f4"))


def _ours(name: str) -> Callable[[Array], Array]:
    def run(x: Array) -> Array:
        from actlens import reduce

        return getattr(reduce, name)(x, random_state=0).points

    return run


def _sklearn(x: Array) -> Array:
    from sklearn.manifold import TSNE

    return TSNE(random_state=0).fit_transform(x)


def _opentsne(x: Array) -> Array:
    import openTSNE

    return np.asarray(openTSNE.TSNE(n_jobs=2, random_state=0).fit(x))


def _umap(x: Array) -> Array:
    import umap

    return umap.UMAP(random_state=0, n_jobs=1).fit_transform(x)


METHODS = {
    "actlens tsne": _ours("tsne"),
    "scikit-learn TSNE": _sklearn,
    "openTSNE": _opentsne,
    "actlens umap": _ours("umap"),
    "umap-learn": _umap,
}


def recall(x: Array, points: Array) -> float:
    """Give the share of the 10 nearest rows, of all rows, that are among the 10 nearest points."""
    from sklearn.neighbors import NearestNeighbors

    queries = np.random.default_rng(0).choice(len(x), min(QUERIES, len(x)), replace=False)
    near = [
        NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(of).kneighbors(of[queries])[1]
        for of in (x, points)
    ]
    kept = [len(({*a} - {q}) & ({*b} - {q})) for q, a, b in zip(queries, *near, strict=True)]
    return float(np.mean(kept)) / K


def trust(x: Array, points: Array) -> float:
    """Give scikit-learn's trustworthiness of 3,000 rows."""
    from sklearn.manifold import trustworthiness

    some = np.random.default_rng(0).choice(len(x), min(3000, len(x)), replace=False)
    return float(trustworthiness(x[some], points[some], n_neighbors=K))


def main(method: str, file: str) -> None:
    x = np.load(file)
    if "umap" in method:  # the compilation, which is once a process
        METHODS[method](x[:500])
    else:
        METHODS[method](x[:200])
    wall, cpu = time.perf_counter(), time.process_time()
    points = METHODS[method](x)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "recall": recall(x, points), "trust": trust(x, points)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
