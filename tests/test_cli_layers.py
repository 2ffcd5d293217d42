"""`actlens layers`: where a model comes from, and every way in which it does not."""

from __future__ import annotations

import sys

import pytest
from cli_run import CommandLine

pytest.importorskip("torch")

MODELS = """
import torch
from torch import nn

class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 3)
        self.fc2 = nn.Linear(3, 2)
    def forward(self, x):
        return self.fc2(self.fc1(x).relu())

def make(): return MLP()
def embedding(): return nn.Sequential(nn.Embedding(10, 3))
def two(): return Two()
class Two(MLP):
    def forward(self, x, y): return super().forward(x + y)
def fails(): raise ValueError("no weights\\nhere")
def leaves(): raise SystemExit(3)
def silent(): raise RuntimeError
def number(): return 3
def a_class(): return MLP
ready = MLP()
nothing = 3
"""

TABLE = """\
layer  type    shape  dtype    axes         bytes/sample
fc1    Linear  8×3    float32  sample unit  12 B
fc2    Linear  8×2    float32  sample unit  8 B
"""


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_models.py").write_text(MODELS)
    (tmp_path / "cli_broken.py").write_text("import no_such_package_at_all")
    (tmp_path / "cli_leaves.py").write_text("raise SystemExit('usage: …')")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield CommandLine(capsys)
    for name in ("cli_models", "cli_broken", "cli_leaves"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "target", ["cli_models:make", "cli_models:MLP", "cli_models:ready", "cli_models.py:make"]
)
def test_a_model_from_a_module_or_a_file(cli, target):
    assert cli("layers", target, "--input", "8x4").out == TABLE


def test_a_file_elsewhere_can_import_its_neighbours(cli, tmp_path, monkeypatch):
    (tmp_path / "cli_other.py").write_text("from cli_models import make")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert cli("layers", "../cli_other.py:make", "--input", "8x4").out == TABLE


def test_without_input_names_and_types(cli):
    assert cli("layers", "cli_models:make").out == "layer  type\nfc1    Linear\nfc2    Linear\n"


def test_integers_and_two_inputs(cli):
    assert "2×5×3" in cli("layers", "cli_models:embedding", "--input", "2x5:int64").out
    assert "8×3" in cli("layers", "cli_models:two", "--input", "8x4", "--input", "8x4").out


def test_the_path_of_imports_is_as_before(cli):
    before = list(sys.path)
    cli("layers", "cli_models:make")
    assert sys.path == before


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("cli_models", "'cli_models' is not MODULE:FACTORY"),
        ("cli_models:", "is not MODULE:FACTORY"),
        (":make", "is not MODULE:FACTORY"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        ("no_such.py:make", "there is no file no_such.py."),
        ("cli_models:nope", "cli_models has no 'nope'. Functions and classes in it: MLP, make, embedding"),
        ("cli_models:number", "cli_models:number gave a int, which is not a model"),
        ("cli_models:a_class", "cli_models:a_class gave a type"),
        ("cli_models:nothing", "cli_models:nothing gave a int"),
    ],
)
def test_a_target_that_is_no_model(cli, target, text):
    assert text in cli.refused("layers", target)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("cli_broken:make", "importing cli_broken failed: ModuleNotFoundError"),
        ("cli_broken.py:make", "importing cli_broken.py failed: ModuleNotFoundError"),
        ("cli_leaves:make", "importing cli_leaves failed: SystemExit: usage"),
        ("cli_models:fails", "cli_models:fails() failed: ValueError: no weights (--debug"),
        ("cli_models:leaves", "cli_models:leaves() failed: SystemExit: 3"),
        ("cli_models:silent", "cli_models:silent() failed: RuntimeError: no message"),
    ],
)
def test_code_that_raises_is_named(cli, target, text):
    assert text in cli.refused("layers", target, code=1)


@pytest.mark.parametrize("shape", ["8xx4", "eight", "8x4:foo", "8x4:", "-1x4", "9999999999x9999999999"])
def test_what_is_no_shape(cli, shape):
    assert f"--input {shape!r} is not a shape" in cli.refused("layers", "cli_models:make", f"--input={shape}")


def test_an_input_that_does_not_fit(cli):
    said = cli.refused("layers", "cli_models:make", "--input", "8x4", "--input", "1x1", code=1)
    assert said.startswith("cli_models:make()(8x4, 1x1) failed: TypeError: ")
