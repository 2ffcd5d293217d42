"""tests/keras, once on each backend of Keras: a process can have only one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "keras"
LEAST = 190  # tests that have to pass: a run that collects nothing is no success


def _run(backend, what):
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec(backend) is None:
        pytest.skip(f"Keras and {backend} are not installed")
    env = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling is most of what JAX does here
    }
    command = [sys.executable, "-m", "pytest", str(what), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, cwd=FOLDER.parent.parent, check=False
    )
    tail = "\n".join(done.stdout.splitlines()[-60:] + done.stderr.splitlines()[-20:])
    assert done.returncode == 0, tail
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, tail
    return int(passed[1])


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_contract_on(backend):
    assert _run(backend, FOLDER / "test_keras_contract.py") >= 25


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_everything_on(backend):
    assert _run(backend, FOLDER) >= LEAST
