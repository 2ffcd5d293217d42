"""The table of adapters, and the protocol that they are held to."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

from actlens import backend
from actlens.errors import BadAdapter, MissingDependency, UnsupportedModel


def test_the_table_is_sorted():
    assert list(backend.ADAPTERS) == sorted(backend.ADAPTERS)


def _adapter(**members):
    module = types.ModuleType("toy_adapter")
    contract = {
        "name": "toy",
        "version": lambda: "1",
        "layers": lambda model, /, *args, **kwargs: {},
        "capture": lambda model, select, /, *, stop=False: None,
        "inference": lambda model, forward, /: None,
        "fetch": lambda arrays, /, rows=None: None,
    }
    for name, value in (contract | members).items():
        if value is not None:
            setattr(module, name, value)
    return module


def test_an_adapter_is_held_to_the_protocol():
    backend.verified(_adapter(), "toy")
    with pytest.raises(BadAdapter, match="adapter toy lacks fetch, capture|adapter toy lacks capture, fetch"):
        backend.verified(_adapter(fetch=None, capture=None), "toy")
    with pytest.raises(
        BadAdapter, match="adapter toy exports fetchh, which the Backend protocol does not know"
    ):
        backend.verified(_adapter(__all__=["name", "fetchh"]), "toy")
    with pytest.raises(BadAdapter, match=r"adapter toy: fetch cannot be called as fetch\(…, rows=…\)"):
        backend.verified(_adapter(fetch=lambda arrays: None), "toy")
    with pytest.raises(BadAdapter, match=r"capture cannot be called as capture\(…, …, stop=…\)"):
        backend.verified(_adapter(capture=lambda model, select: None), "toy")


class TorchLooking:
    __module__ = "torch.nn.fake"


class Mine(TorchLooking):
    pass


class KerasOnTorch(type("Model", (TorchLooking,), {"__module__": "keras.src.models"})):
    pass


def test_the_first_known_root_in_the_ancestry_decides():
    assert backend.root_of(Mine) == "torch"
    assert backend.root_of(KerasOnTorch) == "keras"
    assert backend.root_of(int) is None
    with pytest.raises(
        UnsupportedModel, match="no adapter for a builtins.int. actlens reads models of: flax, jax"
    ):
        backend.backend_of(3)
    with pytest.raises(UnsupportedModel, match="no adapter for a numpy.ndarray"):
        backend.backend_of(np.zeros(3))


@pytest.mark.parametrize(
    ("root", "package", "least"),
    [("flax", "flax", "0.12.4"), ("keras", "keras", "3"), ("torch", "torch", "2.4")],
)
def test_an_old_framework_is_refused_before_it_is_imported(monkeypatch, root, package, least):
    """What an adapter imports may not be there yet in an old version."""
    backend.load.cache_clear()
    monkeypatch.setattr(
        backend.importlib.metadata, "version", lambda name: "0.1.2" if name == package else "99"
    )
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(
        MissingDependency,
        match=rf"{package} 0.1.2 is installed; actlens needs {package} >= {least}.*pip install",
    ):
        backend.load(root)
    backend.load.cache_clear()


def test_a_missing_and_an_old_framework(monkeypatch):
    backend.load.cache_clear()
    row = backend.Adapter("toy_adapter", "toyfw", "2.4", "toy")
    monkeypatch.setitem(backend.ADAPTERS, "toyfw", row)

    def absent(name):
        raise ModuleNotFoundError("No module named 'toyfw'", name="toyfw")

    monkeypatch.setattr(backend.importlib, "import_module", absent)
    with pytest.raises(MissingDependency, match=r"toy_adapter needs toyfw, .*pip install 'actlens\[toy\]'"):
        backend.load("toyfw")
    monkeypatch.setattr(
        backend.importlib, "import_module", lambda name: _adapter(version=lambda: "2.3.9+cpu")
    )
    with pytest.raises(MissingDependency, match=r"toyfw 2.3.9\+cpu is installed; actlens needs toyfw >= 2.4"):
        backend.load("toyfw")
    for fine in ("2.4.0", "2.13.0+cpu", "10.0rc1"):
        monkeypatch.setattr(
            backend.importlib, "import_module", lambda name, v=fine: _adapter(version=lambda: v)
        )
        backend.load.cache_clear()
        backend.load("toyfw")
    backend.load.cache_clear()


def test_an_adapter_of_another_distribution_is_found_by_its_entry_point(tmp_path):
    """A real installed distribution, in a process of its own."""
    info = tmp_path / "toyfw_actlens-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toyfw-actlens\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[actlens.backends]\ntoyfw = toyfw_actlens\n")
    (tmp_path / "toyfw.py").write_text("class Model:\n    def __call__(self, x):\n        return x + 1\n")
    (tmp_path / "toyfw_actlens.py").write_text(
        textwrap.dedent(
            """
            import contextlib, numpy as np
            from actlens.activations import Layer, LayerInfo, Tape
            name = "toyfw"
            def version(): return "1.0"
            def layers(model, /, *args, **kwargs): return {"add": LayerInfo("Add")}
            def capture(model, select, /, *, stop=False):
                def forward(x):
                    tape = Tape(select, is_array=lambda v: isinstance(v, np.ndarray),
                                keep=lambda k, a: select.transform(k, a).copy())
                    tape.expect("add")
                    out = model(x)
                    tape.output(Layer("add", "Add", lambda s, a: ("sample", "unit")), out)
                    return out, tape.activations()
                return forward
            @contextlib.contextmanager
            def inference(model, forward, /): yield forward
            def fetch(arrays, /, rows=None): raise NotImplementedError
            """
        )
    )
    code = (
        "import sys, numpy as np, actlens, toyfw\n"
        "data = [np.zeros((4, 2)), np.ones((3, 2))]\n"
        "run = actlens.record(toyfw.Model(), data, sys.argv[1], layers='add')\n"
        "assert run['add'][:].sum() == 20, run['add'][:]\n"
        "assert run['add'].axes == ('sample', 'unit')\n"
        "assert run.info['model'] == 'Model' and run.info['layers'] == {'add': None}\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}:{':'.join(p for p in sys.path if p)}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
