"""The README's program in each framework: the same keys, shapes, axes, columns, samples and manifest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
FRAMEWORKS = {  # name → (which of the README's models, what Keras runs on)
    "torch": ("torch", ""),
    "nnx": ("nnx", ""),
    "linen": ("linen", ""),
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
}
OF_THE_FRAMEWORK = {"framework", "framework_version", "model", "type"}
OF_THE_RUN = {
    "recording",
    "created",
    "weights",
    "digest",
    "path",
}  # drawn by chance, the time, and digests of other numbers
EPILOGUE = """
import json, sys
import numpy as np
from pathlib import Path

manifest = json.loads(Path("runs/digits/manifest.json").read_text())
again = actlens.open("runs/digits", verify="all")
assert all(np.isfinite(again[key][:]).all() for key in again)
seen = {
    "layers": {key: [again[key].shape, str(again[key].dtype), again[key].axes] for key in again},
    "columns": {name: np.asarray(values).tolist() for name, values in again.columns.items()},
    "ids": again.ids.tolist(),
    "manifest": manifest,
    "loaded": sorted({"torch", "tensorflow", "flax", "keras"} & set(sys.modules)),
}
Path("seen.json").write_text(json.dumps(seen))
"""


def program(model: str) -> str:
    """The model of one framework, and what is the same for all."""
    torch, common, nnx, linen, keras = re.findall(
        r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return {"torch": torch, "nnx": nnx, "linen": linen, "keras": keras}[model] + common + EPILOGUE


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run a framework's program once, in a process and a folder of its own."""
    done = {}

    def run(name: str) -> dict:
        if name not in done:
            model, keras = FRAMEWORKS[name]
            folder = tmp_path_factory.mktemp(name)
            (folder / "program.py").write_text(program(model))
            quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": keras or "tensorflow"}
            environment = {**os.environ, **quiet, "PYTHONPATH": str(README.parent)}
            child = subprocess.run(
                [sys.executable, "program.py"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert child.returncode == 0, child.stderr[-3000:]
            done[name] = json.loads((folder / "seen.json").read_text())
        return done[name]

    return run


def comparable(manifest: object) -> object:
    """A manifest without what differs from one run to the next, and from one framework to another."""
    if isinstance(manifest, dict):
        return {
            key: comparable(value)
            for key, value in manifest.items()
            if key not in OF_THE_FRAMEWORK | OF_THE_RUN
        }
    return [comparable(item) for item in manifest] if isinstance(manifest, list) else manifest


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FRAMEWORKS if name != "torch"])
def test_the_same_program_gives_the_same_recording(runs, name):
    here, there = runs("torch"), runs(name)
    assert here["layers"] == {
        "rows": [[190, 32], "float32", ["sample", "unit"]],
        "head": [[190, 10], "float32", ["sample", "unit"]],
    }
    for part in ("layers", "columns", "ids"):
        assert there[part] == here[part]
    assert comparable(there["manifest"]) == comparable(here["manifest"])


@pytest.mark.slow
def test_only_the_framework_of_the_model_is_loaded(runs):
    assert runs("torch")["loaded"] == ["torch"]
    assert not {"tensorflow", "torch", "keras"} & set(runs("nnx")["loaded"])
