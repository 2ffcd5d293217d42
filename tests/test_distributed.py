"""Real process groups record one data set into one recording: torchrun, subprocesses, jax.distributed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import actlens

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _environment(**variables):
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", **variables}


def _together(commands):
    """Run commands at once; all must end well."""
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command, env in commands
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(outputs)


def _is_whole(path, count, *, writers, duplicates):
    """Every sample once, with what the model computes of it in this process."""
    import torch
    from ranks_torch import Squares, model

    data = Squares(count)
    net = model()
    with torch.no_grad():
        hidden = net[0](data.x)
        wanted = {"0": hidden.numpy(), "2": net[2](hidden.relu()).numpy()}
    run = actlens.open(path, verify="all")
    assert sorted(run.ids.tolist()) == [*range(count)]
    assert (run.columns["label"] == run.ids % 3).all()
    for layer, values in wanted.items():
        np.testing.assert_allclose(run[layer][:], values[run.ids], rtol=1e-5, atol=1e-6)
    info = run.info
    assert (info["sealed"], info["writers"], info["duplicates"]) == (True, writers, duplicates)


@pytest.mark.parametrize(("ranks", "count", "padded"), [(2, 33, 1), (4, 33, 3)])
def test_torchrun(tmp_path, ranks, count, padded):
    """The distributed sampler pads to equal shares: what it repeats counts once."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*torchrun, str(HERE / "ranks_torch.py"), str(tmp_path / "r"), str(count)]
    _together([(command, _environment())])
    _is_whole(tmp_path / "r", count, writers=ranks, duplicates=padded)


def test_torch_ranks_as_subprocesses(tmp_path):
    command = [sys.executable, str(HERE / "ranks_torch.py"), str(tmp_path / "r"), "21"]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    _together([(command, _environment(**world, RANK=str(rank))) for rank in range(2)])
    _is_whole(tmp_path / "r", 21, writers=2, duplicates=1)


def test_jax_processes(tmp_path):
    from ranks_jax import Net, samples

    address = f"127.0.0.1:{_free_port()}"
    program = [sys.executable, str(HERE / "ranks_jax.py"), str(tmp_path / "r"), address, "2"]
    _together([([*program, str(rank), "20"], _environment(XLA_FLAGS="")) for rank in range(2)])
    run = actlens.open(tmp_path / "r", verify="all")
    assert sorted(run.ids.tolist()) == [*range(20)]
    assert run.info["duplicates"] == 1
    assert run.info["sealed"]
    wanted = np.asarray(Net()(samples(20)))
    np.testing.assert_allclose(run["second"][:], wanted[run.ids], rtol=1e-5, atol=1e-6)
