"""Shared by all tests: hypothesis profiles, and small recordings."""

from __future__ import annotations

import os

import hypothesis
import numpy as np
import pytest

import actlens

hypothesis.settings.register_profile("quick", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
os.environ.setdefault("MPLBACKEND", "Agg")
# read when jax first looks for devices: four of them, on the CPU, for meshes and pmap
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def two_steps(tmp_path, rng):
    """A sealed recording of 100 samples at two steps, several shards, text and number columns."""
    path = tmp_path / "run"
    truth = {"conv": rng.normal(size=(200, 3, 4, 2)).astype("f4"), "fc": rng.normal(size=(200, 5))}
    labels = np.array([f"class {i % 7}" for i in range(100)] * 2)
    with actlens.Recorder(path, shard_bytes=6000, durability="rename") as rec:
        for at in range(0, 200, 25):
            rows = slice(at, at + 25)
            rec.write(
                {key: value[rows] for key, value in truth.items()},
                id=np.arange(at, at + 25) % 100,
                label=labels[rows],
                score=np.linspace(0, 1, 200, dtype="f4")[rows],
                step=at // 100,
            )
    return path, truth, labels
