"""One layer in the files of every means, and how each opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from storage_measure import ROW, WIDTH, Sizes
from storage_write import noise

import actlens
from actlens.format.reader import Verify

Open = Callable[[Path], Any]


def make(folder: Path, sizes: Sizes) -> None:
    """Write the same layer for every means that is installed."""
    data = noise(sizes.layer // ROW)
    parts = [data[at : at + sizes.rows] for at in range(0, len(data), sizes.rows)]
    with actlens.Recorder(folder / "run", shard_bytes=sizes.rows * (ROW + 8), durability="rename") as rec:
        for part in parts:
            rec.write({"fc": part})
    np.save(folder / "x.npy", data)
    for write in (_make_safetensors, _make_h5py, _make_zarr):
        try:
            write(folder, data, parts)
        except ImportError:
            continue
    os.sync()


def _make_safetensors(folder: Path, _data: np.ndarray, parts: list[np.ndarray]) -> None:
    from safetensors.numpy import save_file

    for number, part in enumerate(parts):
        save_file({"fc": part}, folder / f"{number}.safetensors")


def _make_h5py(folder: Path, data: np.ndarray, _parts: list[np.ndarray]) -> None:
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file["contiguous"] = data
        file.create_dataset("chunked", data=data, chunks=(256, WIDTH))


def _make_zarr(folder: Path, data: np.ndarray, _parts: list[np.ndarray]) -> None:
    import zarr

    zarr.create_array(folder / "plain.zarr", data=data, chunks=(256, WIDTH), compressors=None)
    zarr.create_array(folder / "default.zarr", data=data, chunks=(256, WIDTH))


def recording(verify: Verify) -> Open:
    return lambda folder: actlens.open(folder / "run", verify=verify)["fc"]


def npy(folder: Path) -> Any:
    return np.load(folder / "x.npy", mmap_mode="r")


def h5py_file(name: str) -> Open:
    def opened(folder: Path) -> Any:
        import h5py

        return h5py.File(folder / "x.h5")[name]

    return opened


def zarr_array(name: str) -> Open:
    def opened(folder: Path) -> Any:
        import zarr

        return zarr.open_array(folder / f"{name}.zarr", mode="r")

    return opened


def safetensors_files(folder: Path) -> list[Any]:
    from safetensors import safe_open

    names = sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem))
    return [safe_open(name, framework="numpy") for name in names]
