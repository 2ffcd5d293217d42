"""`MODULE:FACTORY` and `--input SHAPE`: a person's model, and example arrays for it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from actlens.backend import root_of
from actlens.cli.problems import Misuse, blamed

_SHAPE = re.compile(r"(\d+(?:x\d+)*)(?::([a-z]+\d*))?")
_FROM_NUMPY = {"torch": ("torch", "from_numpy")}  # a framework whose models take no numpy arrays


@contextmanager
def model_of(target: str) -> Iterator[Any]:
    """Import the module and call the factory; what either prints or raises is theirs.

    Raises:
        Misuse: the target is no MODULE:FACTORY, or gives no model.
        Failed: the module or the factory raised.
    """
    name, _, factory = target.rpartition(":")
    if not name or not factory:
        raise Misuse.target(target)
    path = Path(name) if name.endswith(".py") else None
    if path is not None and not path.is_file():
        raise Misuse.no_file(path)
    with _first_on_path(path.resolve().parent if path is not None else Path.cwd()):
        module = _file(path) if path is not None else _module(name)
        if not hasattr(module, factory):
            raise Misuse.no_factory(name, factory, _callables(module))
        yield _made(target, getattr(module, factory))


def arrays(shapes: list[str], model: Any) -> list[Any]:
    """Give an array of zeros for each shape, of the model's framework.

    Raises:
        Misuse: something is not a shape.
    """
    made = [_zeros(text) for text in shapes]
    module, function = _FROM_NUMPY.get(root_of(type(model)) or "", ("numpy", "asarray"))
    convert = getattr(importlib.import_module(module), function)
    return [convert(array) for array in made]


def _zeros(text: str) -> np.ndarray[Any, Any]:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise Misuse.shape(text)
    try:
        return np.zeros([int(size) for size in match[1].split("x")], match[2] or "float32")
    except (TypeError, ValueError, MemoryError) as error:  # no such dtype, more than numpy's axes or memory
        raise Misuse.shape(text) from error


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Import from a folder, as `python` does from the one it is started in."""
    before = list(sys.path)
    sys.path.insert(0, os.fspath(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the suffix is .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickle look a class's module up
    with blamed(f"importing {path}"):
        spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    with blamed(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name == missing or name.startswith(f"{missing}."):
                raise Misuse.no_module(name, Path.cwd()) from error
            raise


def _made(target: str, factory: Any) -> Any:
    if not isinstance(factory, type) and root_of(type(factory)) is not None:
        return factory  # a model that stands ready in the module
    if not callable(factory):
        raise Misuse.not_a_model(target, factory)
    with blamed(f"{target}()"):
        model = factory()
    if isinstance(model, type) or root_of(type(model)) is None:
        raise Misuse.not_a_model(target, model)
    return model


def _callables(module: ModuleType) -> list[str]:
    """List what the module itself defines, for a message."""
    return [
        name
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__
    ]
