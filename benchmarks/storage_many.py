"""Recordings of many small shards: what one more costs, and what opening costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from storage_measure import Figures, Means, Sizes
from storage_write import meta_of

import actlens
from actlens.format.local import LocalPlace
from actlens.format.shard import write_shard

MANY, UNSEALED, FEW = 10_000, 4096, 10
_COMMITS = 40


def make(folder: Path, _sizes: Sizes) -> None:
    """Write a recording of 10,000 shards and one of 10; and the first 4,096 of the many with no manifest."""
    for count in (FEW, MANY):
        with actlens.Recorder(folder / str(count), shard_bytes=1, durability="rename") as rec:
            rec.write({"fc": np.zeros((count, 4), np.float32)}, id=np.arange(count), label=0)
    (writer,) = (folder / str(MANY) / "shards").iterdir()
    part = folder / str(UNSEALED) / "shards" / writer.name
    part.mkdir(parents=True)
    for path in sorted(writer.iterdir())[:UNSEALED]:
        os.link(path, part / path.name)
    os.sync()


def _commits(count: int) -> Callable[[Path, Sizes], Figures]:
    """Commit shards durably into the folder of a writer that has `count` already; then remove them."""

    def run(folder: Path, _sizes: Sizes) -> Figures:
        (writer,) = (folder / str(count) / "shards").iterdir()
        place = LocalPlace(folder / str(count))
        values, ids = [np.zeros((1, 4), np.float32)], [np.zeros(1, np.int64)]
        times, cpu = [], time.process_time()
        for seq in range(2 * MANY, 2 * MANY + _COMMITS):
            start = time.perf_counter()
            meta = msgspec.structs.replace(meta_of(1, 4, seq), attempt=writer.name[6:])
            made = write_shard(place, meta, {"act:fc": values, "col:id": ids})
            times.append(time.perf_counter() - start)
            place.at(made.path).unlink()
        cpu = (time.process_time() - cpu) / len(times)
        return {"seconds": float(np.median(times)), "cpu": cpu, "first": times[0], "peak": 0.0}

    return run


def _added(count: int) -> Callable[[Path, Sizes], Figures]:
    """Go on with a recording of `count` shards: the time of one flush."""

    def run(folder: Path, _sizes: Sizes) -> Figures:
        path = folder / str(count)
        was = set((path / "shards").iterdir())
        rec = actlens.Recorder(path, resume=True)
        times, cpu = [], time.process_time()
        for number in range(_COMMITS):
            start = time.perf_counter()
            rec.write({"fc": np.zeros((1, 4), np.float32)}, id=[MANY + number], label=0)
            rec.flush()
            times.append(time.perf_counter() - start)
        rec.abandon()
        for writer in set((path / "shards").iterdir()) - was:
            for made in writer.iterdir():
                made.unlink()
            writer.rmdir()
        cpu = (time.process_time() - cpu) / len(times)
        return {"seconds": float(np.median(times)), "cpu": cpu, "first": times[0], "peak": 0.0}

    return run


def _opened(count: int) -> Callable[[Path, Sizes], Figures]:
    """Open in a new process, once: what is loaded late is loaded here."""

    def run(folder: Path, _sizes: Sizes) -> Figures:
        times, cpu = [], time.process_time()
        for _ in range(4):
            start = time.perf_counter()
            opened = actlens.open(folder / str(count))
            times.append(time.perf_counter() - start)
            assert opened.rows == count
        return {"seconds": float(np.median(times[1:])), "cpu": cpu, "first": times[0], "peak": 0.0}

    return run


COMMITS = {
    "write_shard, 10 shards there": Means(_commits(FEW)),
    "write_shard, 10,000 there": Means(_commits(MANY), "write_shard, 10 shards there", 1.3),
    "Recorder.flush, 10 shards there": Means(_added(FEW)),
    "Recorder.flush, 10,000 there": Means(_added(MANY), "Recorder.flush, 10 shards there", 1.3),
}
OPENED = {
    "sealed, 10,000 shards": Means(_opened(MANY), None, 0.1),
    "not sealed, 4,096 shards": Means(_opened(UNSEALED), None, 1.5),
}
