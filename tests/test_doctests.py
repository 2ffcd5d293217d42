"""Every example in a docstring runs; it may use `run`, a small recording, and `x`, images."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import actlens
from actlens import plot, reduce
from actlens.activations import Activations

pytest.importorskip("torch")

# They compile for half a minute.
_SLOW = {"actlens.reduce.umap", "actlens.reduce.densmap", "actlens.reduce.pacmap"}


def _modules():
    names = [info.name for info in pkgutil.walk_packages(actlens.__path__, "actlens.")]
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name
        for name in names
        if not name.endswith("__main__")
    ]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.random((120, 8, 8))
    acts = Activations(
        {
            "conv1": rng.normal(size=(120, 8, 6, 6)).astype("f4"),
            "fc1": rng.normal(size=(120, 40)).astype("f4"),
        },
        {"conv1": ("sample", "channel", "height", "width"), "fc1": ("sample", "unit")},
    )
    with actlens.Recorder(tmp_path_factory.mktemp("doc") / "run") as rec:
        rec.write(acts, label=np.arange(120) % 10)
    run = actlens.open(rec.path)
    return {
        "run": run,
        "x": images,
        "plot": plot,
        "reduce": reduce,
        "z": reduce.pca(run["fc1"]),
        "actlens": actlens,
    }


@pytest.mark.parametrize("name", _modules())
def test_examples(name, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags, extraglobs=names)
    assert result.failed == 0
