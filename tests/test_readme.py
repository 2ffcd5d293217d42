"""The README's program prints what the README shows; the guide's code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actlens.errors

ROOT = Path(__file__).parents[1]
BLOCK = r"^```{}\n(.*?)^```$"
FLAGS = re.DOTALL | re.MULTILINE


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, kind):
    return re.findall(BLOCK.format(kind), text_of(page), FLAGS)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


def test_the_readme_program_prints_what_is_shown(elsewhere, capsys):
    model, program, *_ = blocks("README.md", "python")
    (shown,) = blocks("README.md", "text")
    exec(compile(model + program, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert capsys.readouterr().out == shown
    assert (elsewhere / "digits.png").stat().st_size > 5000


def test_the_code_of_the_guide_runs_as_one_program(elsewhere, capsys):
    space = {"__name__": "guide"}
    for number, block in enumerate(blocks("docs/guide.md", "python")):
        exec(compile(block, f"guide.md, block {number}", "exec"), space)  # noqa: S102
    said = capsys.readouterr().out
    assert "<Recording runs/first: 1797 rows × 3 layers (conv1, conv2, fc1)>" in said
    assert "float16" in said
    assert (elsewhere / "tsne.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0, ["blocks.5.fc", "<Recording runs/linen: 16 rows × 7 layers"]),
        (
            1,
            ["'shared', 'encoder.in', 'encoder.out', 'shared:2'", "<Recording runs/keras: 8 rows × 6 layers"],
        ),
    ],
    ids=["flax", "keras"],
)
def test_the_code_for_flax_and_for_keras_runs(part, said, tmp_path):
    """In a process of its own: what Keras runs on is decided once for each."""
    page = text_of("docs/frameworks.md").split("## Keras 3")[part]
    (tmp_path / "program.py").write_text("\n".join(re.findall(BLOCK.format("python"), page, FLAGS)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(text in done.stdout for text in said), done.stdout


def test_the_guide_explains_every_error():
    page = text_of("docs/guide.md")
    # Never raised as such, or for authors of adapters.
    roots = {"ActlensError", "InputError", "CaptureError", "BadAdapter"}
    names = {name for name in vars(actlens.errors) if name[0].isupper()} - roots
    assert not [name for name in sorted(names) if f"`{name}`" not in page]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "docs/guide.md", "docs/frameworks.md", "docs/cluster.md"]
)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#]+)", text_of(page))
    assert not [link for link in links if "://" not in link and not (folder / link).exists()]


def test_the_readme_names_commands_that_exist():
    from actlens.cli.app import app

    typer = pytest.importorskip("typer")
    commands = set(typer.main.get_command(app).commands)
    page = text_of("README.md") + (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`actlens (\w[\w-]*)", page))
    assert named <= commands
