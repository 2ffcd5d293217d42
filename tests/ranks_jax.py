"""One process of a jax.distributed job that records its share of a data set."""

from __future__ import annotations

import sys

import jax
import numpy as np
from flax import nnx

import actlens


def samples(count):
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self):
        self.first, self.second = nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 2, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def main(path, address, ranks, rank, count):
    jax.distributed.initialize(address, num_processes=int(ranks), process_id=int(rank))
    x = samples(int(count))
    share = np.array_split(np.arange(len(x)), jax.process_count())[jax.process_index()]
    share = np.union1d(share, [0])  # every process has sample 0 as well
    batches = [{"x": x[some], "id": some} for some in np.array_split(share, 3)]
    actlens.record(
        Net(),
        batches,
        path,
        layers="**",
        inputs="x",
        rank=jax.process_index(),
        ranks=jax.process_count(),
        durability="rename",
    )
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
