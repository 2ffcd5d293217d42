"""Programs for the tests of several writers, run as processes of their own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import actlens


def row_of(ids):
    """(rows, 3): what the layer of a sample is, by formula."""
    ids = np.asarray(ids, np.int64)
    return np.stack([ids, ids * 2, -ids], axis=1).astype(np.float64)


def write(path, rank, ids, *, ranks, batch, resume=False, pause=0.0, abandon_after=None):
    """Write rows of these ids, a shard for each batch; die without a word after so many batches."""
    rec = actlens.Recorder(path, rank=rank, ranks=ranks, durability="rename", resume=resume)
    for n, at in enumerate(range(0, len(ids), batch)):
        if n == abandon_after:
            os._exit(7)
        some = np.asarray(ids[at : at + batch])
        rec.write({"a": row_of(some)}, id=some, label=some % 7)
        rec.flush()
        time.sleep(pause)
    rec.close()


def forked(count, function):
    """Run function(rank) in `count` processes at once; give their exit codes."""
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            try:
                function(rank)
            except BaseException as error:
                print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def crowd(path, ranks, shards):
    """All ranks begin at once; the ids of rank r are r, r + ranks, …, and every rank repeats id 0."""
    ranks, shards = int(ranks), int(shards)

    def one(rank):
        ids = [*range(rank, ranks * shards, ranks)]
        write(path, rank, ids if rank == 0 else [*ids, 0], ranks=ranks, batch=1)

    sys.exit(any(forked(ranks, one)))


def sealers(path, count, rounds):
    """Seal at once, again and again; every time the bytes are the same."""
    from actlens.format.local import LocalPlace
    from actlens.format.manifest import MANIFEST
    from actlens.format.stock import seal

    place = LocalPlace(Path(path), "rename")
    recording = actlens.open(path).info["recording"]
    seen = set()

    def one(rank):
        for _ in range(int(rounds)):
            seal(place, recording=recording)
            with open(os.path.join(path, MANIFEST), "rb") as file:
                seen.add(file.read())
        if len(seen) != 1:
            raise AssertionError("manifests differ")

    sys.exit(any(forked(int(count), one)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
