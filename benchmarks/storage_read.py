"""Reading one layer: whole, and by random rows. The files are in the page cache."""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from storage_files import Open, h5py_file, npy, recording, safetensors_files, zarr_array
from storage_measure import ROW, WIDTH, Figures, Means, Sizes, measured

ROWS = 10_000
_PIECE = 32 << 20


def preadv(folder: Path, sizes: Sizes, *, new: bool, aligned: bool = True) -> Figures:
    """Read the bytes into one buffer: a new array of the layer's size, or 32 MiB that are used again.

    Aligned, the buffer begins at a page's border: some processors copy from the page cache to where a large
    np.empty begins, 16 bytes after the border, at a third of their speed.
    """
    paths = sorted((folder / "run").rglob("*.safetensors"))
    files = [(os.open(path, os.O_RDONLY), *_place(path)) for path in paths]
    piece = _buffer(_PIECE, aligned=True)

    def into_new() -> memoryview:
        out = view = _buffer(sizes.layer, aligned=aligned)
        at = 0
        for fd, begin, end in files:
            _fill(fd, begin, view[at : at + end - begin])
            at += end - begin
        return out

    def into_piece() -> None:
        for fd, begin, end in files:
            for at in range(begin, end, _PIECE):
                _fill(fd, at, piece[: min(_PIECE, end - at)])

    return measured(into_new if new else into_piece)


def _buffer(size: int, *, aligned: bool) -> memoryview:
    out = np.empty(size + 4096, np.uint8)
    start = -out.ctypes.data % 4096 if aligned else 0
    return out[start : start + size].data


def _fill(fd: int, begin: int, view: memoryview) -> None:
    while view:
        count = os.preadv(fd, [view], begin)
        view, begin = view[count:], begin + count


def _place(path: Path) -> tuple[int, int]:
    """Say where in a shard the layer lies."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        begin, end = json.loads(file.read(length))["act:fc"]["data_offsets"]
    return 8 + length + begin, 8 + length + end


def _whole(opened: Open, read: Callable[[Any], Any] = lambda layer: layer[:]) -> Callable[..., Figures]:
    def run(folder: Path, _sizes: Sizes) -> Figures:
        layer = opened(folder)
        return measured(lambda: read(layer))

    return run


def _rows(layer: Any, rows: np.ndarray) -> Any:
    return layer[rows]


def _oindex(layer: Any, rows: np.ndarray) -> Any:
    return layer.oindex[rows]


def _picked(opened: Open, read: Callable[[Any, np.ndarray], Any] = _rows) -> Callable[..., Figures]:
    """Other rows in each call; the first call is on files that are newly opened."""

    def run(folder: Path, sizes: Sizes) -> Figures:
        layer, picks = opened(folder), _picks(sizes.layer // ROW)
        return measured(lambda: read(layer, next(picks)))

    return run


def _picks(rows: int) -> Iterator[np.ndarray]:
    for seed in itertools.count():
        yield np.random.default_rng(seed).choice(rows, min(ROWS, rows // 2), replace=False)


def _pass(layer: Any) -> None:
    for _chunk in layer.chunks():
        pass


def _sorted(layer: Any, rows: np.ndarray) -> np.ndarray:
    """h5py takes rows in ascending order only."""
    order = np.argsort(rows)
    out = np.empty((len(rows), WIDTH), np.float32)
    out[order] = layer[rows[order]]
    return out


def _sliced(files: list[Any], rows: np.ndarray) -> np.ndarray:
    slices = [file.get_slice("fc") for file in files]
    each = slices[0].get_shape()[0]
    out = np.empty((len(rows), WIDTH), np.float32)
    for place, row in enumerate(rows.tolist()):
        out[place] = slices[row // each][row % each]
    return out


def _joined(files: list[Any]) -> np.ndarray:
    return np.concatenate([file.get_tensor("fc") for file in files])


_NEW, _USED = "preadv, new array", "preadv, buffer used again"
WHOLE = {
    _NEW: Means(partial(preadv, new=True)),
    _USED: Means(partial(preadv, new=False), _NEW),
    "preadv, new np.empty": Means(partial(preadv, new=True, aligned=False), _NEW),
    "actlens layer[:], none": Means(_whole(recording("none")), _NEW, 1.2),
    "actlens layer[:], stream": Means(_whole(recording("stream")), _NEW, 1.5),
    "actlens chunks(), none": Means(_whole(recording("none"), _pass), _USED, 1.2),
    "actlens chunks(), stream": Means(_whole(recording("stream"), _pass), _USED, 1.5),
    "np.load(mmap), copied": Means(_whole(npy, np.array), _NEW),
    "safetensors get_tensor": Means(_whole(safetensors_files, _joined), _NEW),
    "h5py contiguous": Means(_whole(h5py_file("contiguous")), _NEW),
    "h5py chunked": Means(_whole(h5py_file("chunked")), _NEW),
    "zarr plain": Means(_whole(zarr_array("plain")), _NEW),
    "zarr default": Means(_whole(zarr_array("default")), _NEW),
}
_MAPPED = "np.load(mmap)[rows]"
PICKED = {
    _MAPPED: Means(_picked(npy)),
    "actlens layer[rows], stream": Means(_picked(recording("stream")), _MAPPED, 1.2),
    "actlens layer[rows], none": Means(_picked(recording("none")), _MAPPED),
    "safetensors get_slice": Means(_picked(safetensors_files, _sliced), _MAPPED),
    "h5py contiguous": Means(_picked(h5py_file("contiguous"), _sorted), _MAPPED),
    "h5py chunked": Means(_picked(h5py_file("chunked"), _sorted), _MAPPED),
    "zarr plain": Means(_picked(zarr_array("plain"), _oindex), _MAPPED),
    "zarr default": Means(_picked(zarr_array("default"), _oindex), _MAPPED),
}
