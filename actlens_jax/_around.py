"""Which `jax.vmap` and `jax.lax.scan` are around a module while it is traced.

A tracer says only of the innermost transformation what it is: inside `vmap(remat(…))` it no longer shows that
its value is one sample of a batch. So while a capture runs, the two note themselves.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax

from actlens.turns import Switch

Kind = Literal["vmap", "scan"]

_around: contextvars.ContextVar[tuple[Kind, ...]] = contextvars.ContextVar("around", default=())


def around() -> tuple[Kind, ...]:
    """Give what is around that which is traced now in this thread, outermost first."""
    return _around.get()


def _noting(transform: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
    @functools.wraps(transform)
    def noting(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        @functools.wraps(function)
        def inside(*given: Any, **named: Any) -> Any:
            token = _around.set((*_around.get(), kind))
            try:
                return function(*given, **named)
            finally:
                _around.reset(token)

        return transform(inside, *args, **kwargs)

    return noting


def _put() -> tuple[Any, Any]:
    before = jax.vmap, jax.lax.scan
    jax.vmap = _noting(jax.vmap, "vmap")
    jax.lax.scan = _noting(jax.lax.scan, "scan")
    return before


def _back(before: tuple[Any, Any]) -> None:
    jax.vmap, jax.lax.scan = before


noted: Switch[Any] = Switch(_put, _back)
"""`with noted.over()`: transformations that begin in the block note themselves."""
