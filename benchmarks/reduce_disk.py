"""PCA of a layer far beyond memory: its passes beside reading the bytes, and beside the bare products."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from storage_measure import Peak


def make(folder: Path, samples: int, features: int) -> None:
    import actlens

    rng = np.random.default_rng(0)
    basis = rng.standard_normal((features, features)).astype("f4") * ((1 + np.arange(features)) ** -0.7)
    basis = basis.astype("f4")
    with actlens.Recorder(folder, durability="rename") as rec:
        for start in range(0, samples, 65536):
            count = min(65536, samples - start)
            rec.write({"l": rng.standard_normal((count, features), dtype="f4") @ basis})


def show(work: Path, samples: int, features: int) -> None:
    """Print seconds: of reading the files once, of the bare products, of the passes."""
    import actlens
    from actlens.reduce.components.axes import project
    from actlens.reduce.pca import fit_axes
    from actlens.reduce.source import rows_of

    folder = work / f"disk-{samples}x{features}"
    if not folder.exists():
        make(folder, samples, features)
    layer = actlens.open(folder)["l"]
    rows = rows_of(layer, "benchmark")
    for number in range(3):
        read = _timed(lambda: _read(folder))
        verified = _timed(lambda: [None for _ in layer.chunks()])
        product = _timed(lambda: _products(samples, features))
        with Peak() as peak:
            fit = _timed(lambda: fit_axes(rows, 50))
        axes = fit_axes(rows_of(layer[: 1 << 16], "benchmark"), 50)
        points = _timed(lambda: project(rows, axes))  # noqa: B023 - used at once
        longer = max(read, product) / fit
        print(
            f"round {number}: read {read:.1f} s, read and verified by chunks() {verified:.1f} s, "
            f"bare products {product:.1f} s; one pass of sums and the components {fit:.1f} s "
            f"({longer:.2f} of the longer), its memory {peak.mib:.0f} MiB; points {points:.1f} s",
            flush=True,
        )


def _timed(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _read(folder: Path) -> None:
    buffer = bytearray(16 << 20)
    for file in sorted(folder.rglob("*.safetensors")):
        fd = os.open(file, os.O_RDONLY)
        while os.readv(fd, [buffer]):
            pass
        os.close(fd)


def _products(samples: int, features: int) -> None:
    """Multiply as much as one pass must, from one block that stays in the cache, with all cores."""
    block = np.random.default_rng(0).standard_normal((4096, features)).astype("f4")
    for _ in range(0, samples, 4096):
        np.matmul(block.T, block)
