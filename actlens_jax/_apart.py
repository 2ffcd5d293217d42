"""Parts of a Linen model under `nn.jit`, each traced for itself while a capture runs.

flax compiles a part once for all modules that look alike: of two blocks of the same shape, the Python of the
second never runs, and what the first was told to sow holds for both.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flax.linen import transforms

from actlens.turns import Switch

_ears: contextvars.ContextVar[str] = contextvars.ContextVar("ears", default="")


@contextmanager
def each_part_for_itself(ears: str) -> Iterator[None]:
    """Have `nn.jit` tell apart modules by their path, and forwards by the name `ears`."""
    token = _ears.set(ears)
    try:
        with _switch.over():
            yield
    finally:
        _ears.reset(token)


def _put() -> Any:
    proxy = getattr(transforms, "_HashableProxy", None)  # private: what nn.jit compares modules by
    if proxy is None:
        return None
    before = proxy.__dict__["from_module"]

    def from_module(cls: Any, module: Any) -> Any:
        found = before.__get__(None, cls)(module)
        ears = _ears.get()
        if not ears or module.scope is None:
            return found
        return cls(found.module_ref, hash((found.hash_key, ears, tuple(module.scope.path))))

    proxy.from_module = classmethod(from_module)
    return before


def _back(before: Any) -> None:
    if before is not None:
        setattr(transforms._HashableProxy, "from_module", before)  # noqa: B010 - a method, to mypy


_switch: Switch[Any] = Switch(_put, _back)
