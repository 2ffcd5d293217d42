"""Writing one shard by every means. The file is removed before each call: the page cache is used again."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from storage_measure import ROW, WIDTH, Figures, Means, Sizes, measured

import actlens
from actlens.format.commit import Durability
from actlens.format.local import LocalPlace
from actlens.format.schema import VERSION, ColumnSpec, LayerSpec, Origin, Schema, ShardMeta
from actlens.format.shard import write_shard

_SHARDS = 4
"""Shards in a row through a Recorder, one in the background while the next one fills."""

Write = Callable[[Path, np.ndarray], object]


def noise(rows: int) -> np.ndarray:
    """Give (rows, 2048) floats that do not compress."""
    return np.random.default_rng(0).standard_normal((rows, WIDTH), dtype=np.float32)


def meta_of(rows: int, width: int = WIDTH, seq: int = 0) -> ShardMeta:
    """Say of a shard what a Recorder says."""
    layer = LayerSpec(key="fc", dtype="F32", shape=(width,), axes=("sample", "unit"))
    origin = Origin(created="2026-01-01T00:00:00+00:00", actlens="0", python="3", platform="linux")
    return ShardMeta(
        version=VERSION, recording="0" * 32, rank=0, attempt="000000000000-00000000", seq=seq, rows=rows,
        last=False, prev="", digests={}, origin=origin,
        schema=Schema(layers=(layer,), columns=(ColumnSpec(name="id", dtype="I64"),)),
    )  # fmt: skip


def raw(folder: Path, data: np.ndarray, *, sync: bool, copy: bool = False) -> None:
    """Write the bytes and nothing more; or a copy of them, which a Recorder has to make."""
    data = data.copy() if copy else data
    fd = os.open(folder / "raw", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    view = data.reshape(-1).view(np.uint8).data
    while view:
        view = view[os.writev(fd, [view]) :]
    if sync:
        os.fsync(fd)
    os.close(fd)


def shard(folder: Path, data: np.ndarray, *, durability: Durability) -> None:
    """Commit a shard."""
    ids = np.arange(len(data))
    meta = meta_of(len(data))
    (folder / "shards" / meta.writer).mkdir(parents=True, exist_ok=True)
    write_shard(LocalPlace(folder, durability), meta, {"act:fc": [data], "col:id": [ids]})


def recorder(folder: Path, sizes: Sizes, *, durability: Durability) -> Figures:
    """Write batches of 8 MiB until some shards are full, and flush; the recording is begun before."""
    batch = noise((8 << 20) // ROW)
    count = _SHARDS * sizes.shard // batch.nbytes
    made: list[actlens.Recorder] = []

    def prepare() -> None:
        if made:
            made.pop().abandon()
        _emptied(folder)
        path = folder / secrets.token_hex(4)
        made.append(actlens.Recorder(path, shard_bytes=sizes.shard, durability=durability))

    def write() -> None:
        for _ in range(count):
            made[0].write({"fc": batch})
        made[0].flush()

    figures = measured(write, prepare=prepare, repeat=3, per=_SHARDS)
    made.pop().abandon()
    return figures


def safetensors(folder: Path, data: np.ndarray) -> None:
    from safetensors.numpy import save_file

    save_file({"fc": data}, folder / "x.safetensors")


def h5py(folder: Path, data: np.ndarray, *, chunks: tuple[int, int] | None) -> None:
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("fc", data=data, chunks=chunks)


def zarr(folder: Path, data: np.ndarray, **options: object) -> None:
    import zarr

    zarr.create_array(folder / "x.zarr", data=data, chunks=(256, WIDTH), **options)


def _means(write: Write) -> Callable[[Path, Sizes], Figures]:
    def run(folder: Path, sizes: Sizes) -> Figures:
        data = noise(sizes.rows)
        return measured(lambda: write(folder, data), prepare=lambda: _emptied(folder))

    return run


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    os.sync()  # nothing of the call before is left to write
    time.sleep(0.01)


_RAW, _SYNCED = "os.writev", "os.writev + fsync"
MEANS = {
    _RAW: Means(_means(partial(raw, sync=False))),
    _SYNCED: Means(_means(partial(raw, sync=True)), _RAW),
    "copy, os.writev": Means(_means(partial(raw, sync=False, copy=True)), _RAW),
    "actlens write_shard, rename": Means(_means(partial(shard, durability="rename")), _RAW, 1.15, 8),
    "actlens write_shard, fsync": Means(_means(partial(shard, durability="fsync")), _SYNCED, 1.3, 8),
    "actlens Recorder, rename": Means(partial(recorder, durability="rename"), _RAW, 1.15),
    "actlens Recorder, fsync": Means(partial(recorder, durability="fsync"), _SYNCED, 1.3),
    "np.save": Means(_means(lambda folder, data: np.save(folder / "x.npy", data)), _RAW),
    "safetensors save_file": Means(_means(safetensors), _RAW),
    "h5py contiguous": Means(_means(partial(h5py, chunks=None)), _RAW),
    "h5py chunked": Means(_means(partial(h5py, chunks=(256, WIDTH))), _RAW),
    "zarr plain": Means(_means(partial(zarr, compressors=None)), _RAW),
    "zarr default": Means(_means(zarr), _RAW),
}
