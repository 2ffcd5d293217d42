"""One means of PCA, in a process of its own: seconds, memory, and how far from float64.

python benchmarks/reduce_pca.py METHOD FOLDER     # what reduce.py runs
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

Array = np.ndarray[Any, Any]
COMPONENTS = 50


def make(folder: Path, samples: int, features: int, *, massive: bool) -> None:
    """Make rows with a power-law spectrum and noise, as an array on the disk and as a recording.

    `massive`: means of N(0, 20²), and four units about ± 1000, as transformers have them.
    """
    import actlens

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    width = min(256, features)
    basis = rng.standard_normal((width, features)) * ((1 + np.arange(width)) ** -0.7)[:, None]
    mean = rng.standard_normal(features) * (20 if massive else 1)
    mean[rng.choice(features, 4, replace=False)] = (
        [1000, -1000, 1200, -900] if massive else [50, -50, 50, -50]
    )
    array = np.lib.format.open_memmap(folder / "rows.npy", "w+", "f4", (samples, features))
    with actlens.Recorder(folder / "run", durability="rename") as rec:
        for start in range(0, samples, 8192):
            count = min(8192, samples - start)
            low = rng.standard_normal((count, width), dtype="f4") @ basis.astype("f4")
            rows = low + 0.1 * rng.standard_normal((count, features), dtype="f4") + mean.astype("f4")
            array[start : start + count] = rows
            rec.write({"l": rows})
    array.flush()


def truth(folder: Path) -> tuple[Array, Array]:
    """Give mean and covariance by two passes of float64, computed once."""
    kept = folder / "truth.npz"
    if not kept.exists():
        x = np.load(folder / "rows.npy", mmap_mode="r")
        mean = sum(x[a : a + 4096].sum(axis=0, dtype="f8") for a in range(0, len(x), 4096)) / len(x)
        scatter = np.zeros((x.shape[1], x.shape[1]))
        for start in range(0, len(x), 4096):
            centred = x[start : start + 4096] - mean
            scatter += centred.T @ centred
        np.savez(kept, mean=mean, covariance=scatter / (len(x) - 1))
    found = np.load(kept)
    return found["mean"], found["covariance"]


def _actlens(source: str) -> Callable[[Path], tuple[Array, Array]]:
    def run(folder: Path) -> tuple[Array, Array]:
        import actlens
        from actlens import reduce

        layer = actlens.open(folder / "run")["l"]
        z = reduce.pca(layer if source == "recording" else _array(folder), n_components=COMPONENTS, **_FRESH)
        return z.components, z.explained_variance

    return run


_FRESH: dict[str, Any] = {"cache": False}  # compute, each time


def _sklearn(solver: str) -> Callable[[Path], tuple[Array, Array]]:
    def run(folder: Path) -> tuple[Array, Array]:
        from sklearn.decomposition import PCA

        pca = PCA(COMPONENTS, svd_solver=solver, random_state=0)
        pca.fit_transform(_array(folder))
        return pca.components_, pca.explained_variance_

    return run


def _incremental(folder: Path) -> tuple[Array, Array]:
    from sklearn.decomposition import IncrementalPCA

    x = _array(folder)
    pca = IncrementalPCA(COMPONENTS, batch_size=4096)
    for start in range(0, len(x), 4096):
        pca.partial_fit(x[start : start + 4096])
    np.concatenate([pca.transform(x[start : start + 4096]) for start in range(0, len(x), 4096)])
    return pca.components_, pca.explained_variance_


def _dask_ml(folder: Path) -> tuple[Array, Array]:
    import dask.array as da
    from dask_ml.decomposition import PCA

    x = da.from_array(_array(folder), chunks=(8192, -1))
    pca = PCA(COMPONENTS, svd_solver="randomized", random_state=0, iterated_power=4)
    pca.fit_transform(x).compute()
    return np.asarray(pca.components_), np.asarray(pca.explained_variance_)


def _array(folder: Path) -> Array:
    return np.load(folder / "rows.npy", mmap_mode="r")


METHODS = {
    "actlens, recording": _actlens("recording"),
    "actlens, array": _actlens("array"),
    "PCA auto": _sklearn("auto"),
    "PCA randomized": _sklearn("randomized"),
    "PCA covariance_eigh": _sklearn("covariance_eigh"),
    "PCA arpack": _sklearn("arpack"),
    "PCA full": _sklearn("full"),
    "IncrementalPCA": _incremental,
    "dask-ml PCA": _dask_ml,
}


def figures(method: str, folder: Path) -> dict[str, float]:
    """Run once: fit and points. Imports are not counted."""
    import sklearn.decomposition  # noqa: F401

    import actlens.reduce

    assert actlens.reduce.pca
    if "dask" in method:
        import dask_ml.decomposition  # noqa: F401
    _array(folder)[:].max()  # into the page cache
    with Peak() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        components, variance = METHODS[method](folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    _, covariance = truth(folder)
    best = np.linalg.eigvalsh(covariance)[::-1][:COMPONENTS]
    turned, _ = np.linalg.qr(np.asarray(components, "f8").T)
    captured = float(np.trace(turned.T @ covariance @ turned))
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": peak.mib,
        "lost": 1 - captured / float(best.sum()),
        "off": float(np.abs(np.asarray(variance) / best - 1).max()),
    }


if __name__ == "__main__":
    print(json.dumps(figures(sys.argv[1], Path(sys.argv[2]))))
