"""The network of port_weights.py, recorded in any framework; each recording is made once, when asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from port_mistakes import MISTAKES, folder_of

import actlens

FRAMEWORKS = ("torch", "linen", "nnx", "keras")
NEEDS = {
    "torch": ("torch",),
    "linen": ("jax", "flax"),
    "nnx": ("jax", "flax"),
    "keras": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
}
TESTS = Path(__file__).parent


class Runs:
    """`runs("keras", "tanh_gelu")` gives a recording; the test is skipped without the framework."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, framework: str, mistake: str | None = None, *, inputs: bool = False
    ) -> actlens.Recording:
        for package in NEEDS[framework]:
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        folder = self.folder / ("inputs" if inputs else "layers")
        path = folder / folder_of(framework, mistake)
        if not path.exists():
            if framework.startswith("keras"):
                together = MISTAKES if mistake else [None]  # most of the time goes into starting
                paths = [folder / folder_of(framework, name) for name in together]
                _in_a_process(NEEDS[framework][1], paths)
            else:
                importlib.import_module(f"port_{framework}").record(path, mistake=mistake, inputs=inputs)
        return actlens.open(path, verify="all")


def _in_a_process(backend: str, paths: list[Path]) -> None:
    """A process has one backend of Keras, and tests/keras may want another one."""
    env = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(TESTS.parent),
    }
    command = [sys.executable, "port_keras.py", paths[0].parent.name, *map(str, paths)]
    done = subprocess.run(command, env=env, cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
