"""The floors of docs/architecture.md: who may import whom; and that importing loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "jax", "jaxlib", "flax", "tensorflow", "keras"}
HEAVY = {"matplotlib", "sklearn", "umap", "openTSNE", "scipy", "pandas", "numba", "IPython"}
HEAVY |= {"obstore", "fsspec", "pacmap", "pynndescent", "faiss"}

FLOOR = {  # room → floor; a room imports at its top level only from lower floors, or from its own folder
    "errors": 0,
    "_version": 0,
    "table": 0.5,
    "format": 1,
    "keys": 1,
    "padding": 1.3,
    "stopping": 1,
    "listing": 1.3,
    "turns": 1,
    "activations": 1.2,
    "remote": 1.5,
    "backend": 1.5,
    "transforms": 1.5,
    "selection": 1.6,
    "_capture": 2,
    "writing": 2,
    "batches": 2,
    "budget": 2,
    "fingerprint": 1.55,
    "derived": 1.9,
    "shard_set": 2.1,
    "tokens": 2.25,
    "ragged_array": 2.35,
    "recorder": 2.5,
    "row_source": 2.2,
    "layer_array": 2.3,
    "recording": 2.4,
    "upkeep": 2.6,
    "compare": 2.7,
    "streaming": 1.9,
    "reduce": 2,
    "statistics": 2.5,
    "plot": 3,
    "_record": 3,
    "testing": 4,
    "demo": 4,
    "cli": 5,
    "__init__": 6,
}
FOR_ADAPTERS = {"errors", "backend", "activations", "keys", "listing", "padding", "stopping", "turns", "demo"}
ALLOWED_FRAMEWORK = {
    "actlens_torch": {"torch"},
    "actlens_jax": {"jax", "jaxlib", "flax"},
    # a Keras model runs on one of three: what a room of the adapter imports of them, it imports when it runs
    "actlens_tf": {"keras", "tensorflow", "jax", "torch"},
}


def _imports(path):
    """(module, at top level) of every import that runs; those under TYPE_CHECKING do not."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, id(node) in top
            if node.module == "actlens":
                yield from ((f"actlens.{alias.name}", id(node) in top) for alias in node.names)


def _files(package):
    return sorted((ROOT / package).rglob("*.py"))


def _room(path):
    return path.relative_to(ROOT / "actlens").parts[0].removesuffix(".py")


def test_every_room_has_a_floor():
    assert {_room(path) for path in _files("actlens")} == set(FLOOR)


@pytest.mark.parametrize("path", _files("actlens"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_downwards_only(path):
    for module, at_top in _imports(path):
        root, *rest = module.split(".")
        assert root not in FRAMEWORKS, f"{path} imports {module}"
        assert root not in {"actlens_torch", "actlens_jax", "actlens_tf"}, f"{path} imports {module}"
        if at_top:
            assert root not in HEAVY, f"{path} imports {module} at its top level"
        if root == "actlens" and rest and at_top and _room(path) != "__init__":
            mine, other = _room(path), rest[0]
            assert other == mine or FLOOR[other] < FLOOR[mine], f"{path} ({FLOOR[mine]}) imports {module}"


@pytest.mark.parametrize("package", ALLOWED_FRAMEWORK)
def test_an_adapter_imports_its_own_framework_only(package):
    for path in _files(package):
        for module, _ in _imports(path):
            root, *rest = module.split(".")
            assert root not in FRAMEWORKS - ALLOWED_FRAMEWORK[package], f"{path} imports {module}"
            if root == "actlens":
                assert rest[0] in FOR_ADAPTERS, f"{path} imports {module}"


def test_importing_actlens_loads_nothing_heavy():
    code = (
        "import sys, actlens\n"
        "[getattr(actlens, name) for name in actlens.__all__]\n"
        f"loaded = {sorted(FRAMEWORKS | HEAVY)!r}\n"
        "loaded = [name for name in loaded if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_actlens_has_no_effects():
    code = (
        "import sys, warnings, signal\n"
        "def state(): return sys.excepthook, list(warnings.filters), signal.getsignal(2)\n"
        "before = state()\n"
        "import actlens\n"
        "assert before == state()\n"
        "assert not [name for name in sys.modules if name.startswith('actlens.')], 'not lazy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    import actlens

    assert actlens.__all__ == sorted(actlens.__all__)
    assert set(dir(actlens)) == set(actlens.__all__)
    for name in actlens.__all__:
        assert getattr(actlens, name) is not None
    import actlens._capture
    import actlens._record
    import actlens.recording

    assert callable(actlens.capture)  # modules of similar names do not take their place
    assert callable(actlens.record)
    assert callable(actlens.open)
    with pytest.raises(
        AttributeError, match="module 'actlens' has no attribute 'trace'. It has: ActlensError"
    ):
        actlens.trace  # noqa: B018


def test_rooms_are_small():
    for package in ("actlens", *ALLOWED_FRAMEWORK):
        for path in _files(package):
            lines = path.read_text().splitlines()
            assert len(lines) <= 300, f"{path} has {len(lines)} lines"
            for node in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    body = [
                        n
                        for n in node.body
                        if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
                    ]
                    length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                    assert length <= 60, f"{path}: {node.name} has {length} lines"
