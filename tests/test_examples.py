"""Each example runs as a program, and what it leaves is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xxhash

import actlens

ROOT = Path(__file__).parents[1]
pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def run_example(name, out):
    # One thread: the tests share the machine, and the networks are tiny.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", out],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_not_blank(path):
    from matplotlib.image import imread

    pixels = imread(path)[..., :3]
    assert pixels.std() > 0.02
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_sample_instead_of_pickle(tmp_path):
    said = run_example("sample_instead_of_pickle", tmp_path)
    run = actlens.open(tmp_path / "tenth")
    # The rule of docs/format.md, "Sampling", computed again without actlens.
    lowest_tenth = [
        ident
        for ident in range(1797)
        if xxhash.xxh3_64_intdigest(ident.to_bytes(8, "little", signed=True), seed=0) < int(0.1 * 2**64)
    ]
    assert run.ids.tolist() == lowest_tenth
    from sklearn.datasets import load_digits

    assert run.columns["label"].tolist() == load_digits().target[lowest_tenth].tolist()
    assert run["fc1"].shape == (len(lowest_tenth), 64)
    assert f"{len(lowest_tenth)} rows × 2 layers (conv1, fc1)" in said
    assert (tmp_path / "tenth.pickle").stat().st_size > 100_000


@pytest.mark.slow
def test_tsne_scatter(tmp_path):
    run_example("tsne_scatter", tmp_path)
    z = actlens.reduce.Embedding.load(tmp_path / "tsne.safetensors")
    assert z.points.shape == (1797, 2)
    assert z.ids.tolist() == list(range(1797))
    # Neighbours in the picture are mostly of the same digit.
    from sklearn.neighbors import KNeighborsClassifier

    half = z.columns["label"][::2], z.points[::2]
    reader = KNeighborsClassifier(5).fit(half[1], half[0])
    assert reader.score(z.points[1::2], z.columns["label"][1::2]) > 0.9
    assert_not_blank(tmp_path / "tsne.png")
    assert_not_blank(tmp_path / "tsne_by_hand.png")


@pytest.mark.slow
def test_heatmap_one_sample(tmp_path):
    run_example("heatmap_one_sample", tmp_path)
    run = actlens.open(tmp_path / "one")
    assert run.ids.tolist() == [42]
    assert run["conv1"].shape == (1, 16, 8, 8)
    for name in ("conv1.png", "conv1_maps.png", "conv1_by_hand.png"):
        assert_not_blank(tmp_path / name)


@pytest.mark.slow
def test_three_frameworks(tmp_path):
    for framework in ("flax", "keras", "tensorflow"):
        pytest.importorskip(framework)
    said = run_example("three_frameworks", tmp_path / "compared.png")
    pairs = [line.split(" ", 3) for line in said.splitlines()]
    assert [pair[:2] for pair in pairs] == [["torch", "flax"], ["torch", "keras"], ["flax", "keras"]]
    for _, _, largest, values in pairs:
        assert (
            float(largest) == 0.01
        )  # the smallest p of 99 permutations: no pair of layers is alike by chance
        assert np.diag(json.loads(values)).min() > 0.8
    assert_not_blank(tmp_path / "compared.png")
