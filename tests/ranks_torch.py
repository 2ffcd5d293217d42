"""One rank of a torch.distributed job that records a data set, started by torchrun or by hand."""

from __future__ import annotations

import sys

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import actlens


class Squares(Dataset):
    """Sample i is (x, id, label)."""

    def __init__(self, count):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], index, index % 3


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def main(path, count):
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    data = Squares(int(count))
    sampler = DistributedSampler(data, ranks, rank, shuffle=True, seed=3)  # pads: all ranks get as many
    run = actlens.record(
        torch.nn.parallel.DistributedDataParallel(model()),
        DataLoader(data, batch_size=3, sampler=sampler),
        path,
        layers=["0", "2"],
        columns=["id", "label"],
        rank=rank,
        ranks=ranks,
        shard_bytes=400,
        durability="rename",
    )
    print(f"rank {rank} of {ranks} wrote; it sees {run.rows} rows")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
