"""One call of a model, as its modules fire.

A value inside `scan`, `vmap`, `jit` or `remat` cannot simply be kept in a list: it has to leave the
transformation as a part of its result. So each module sows its values, into a collection (Linen) or a
variable (NNX) that the transformation carries outside. Beside each array go two marks of 2s and 3s:
outside, the axes on which the two marks agree are those that a transformation has added.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.extend.core as extend
import jax.numpy as jnp

from actlens.keys import INPUT, arguments
from actlens_jax._around import around
from actlens_jax._memory import IN, INNER, MARK, OUT, Memory, Seen, Slot
from actlens_jax._values import is_array, opened

Sow = Callable[[Slot, dict[str, Any]], bool]
"""Keep a value on the module; False where the transformation around it does not carry it outside."""


class Hearing:
    """Hears every module of one call, and has those that are wanted sow what they give."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.sown: list[str] = []
        self.sown_inside: list[str] = []
        self._inside: list[Any] = []
        self._calls: Counter[tuple[str, Slot]] = Counter()
        self._root = _trace()
        self._outside = len(around())
        self._thread = threading.get_ident()

    @contextmanager
    def call(
        self, seen: Seen, sow: Sow, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[list[Any]]:
        """Hear one call of a module; what it returned is put into the list that is given."""
        path = seen.layer.path
        inner = _trace() != self._root
        (self.memory.inner if inner else self.memory.seen)[path] = seen
        if inner:
            self.memory.around[path] = around()[self._outside :]
        before = len(self.sown_inside)
        if self.memory.wants(path + INPUT, inner=inner):
            self._take(path, IN, arguments(args, kwargs, is_array), sow, inner=inner)
        returned: list[Any] = []
        yield returned
        for output in returned:
            if self.memory.wants(path, inner=inner):
                self._take(path, OUT, output, sow, inner=inner)
            elif inner and len(self.sown_inside) > before:
                sow(MARK, {"": (None, *_marks(2))})  # a rank that an axis other than the first fits too

    def other_method(self, path: str, method: str) -> None:
        """Remember that another method than `__call__` was used, as a reason for not firing."""
        self.memory.methods.setdefault(path, method)

    def is_mine(self) -> bool:
        """Say whether this thread is the one that listens."""
        return threading.get_ident() == self._thread

    def never_left(self, array: Any) -> bool:
        """Say whether a value is still the one inside of a transformation, which is over."""
        return any(array is other for other in self._inside)

    def fired(self, path: str, slot: Slot) -> bool:
        """Say whether the module's Python ran in this call, in this slot."""
        return (path, slot) in self._calls

    def _take(self, path: str, slot: Slot, value: Any, sow: Sow, *, inner: bool) -> None:
        slot += INNER if inner else ""
        self._calls[path, slot] += 1
        self.memory.place(path, slot, self._calls[path, slot])
        self.sown.append(path)
        if inner:
            self.sown_inside.append(path)
        found = opened(value)
        odd = {suffix: None if is_array(leaf) else leaf for suffix, leaf in found.items()}
        self.memory.suffixes.setdefault((path, slot), {}).update(odd)
        arrays = {suffix: leaf for suffix, leaf in found.items() if is_array(leaf)}
        if inner:
            self._inside.extend(leaf for leaf in arrays.values() if isinstance(leaf, jax.core.Tracer))
        carried = sow(slot, {suffix: (leaf, *_marks(len(leaf.shape))) for suffix, leaf in arrays.items()})
        if not carried:
            self.memory.lost.add((path, slot))


def _trace() -> Any:
    home = extend if hasattr(extend, "get_opaque_trace_state") else jax.core  # jax moved it in 0.9
    return home.get_opaque_trace_state()  # type: ignore[no-untyped-call,attr-defined,unused-ignore]


def _marks(rank: int) -> tuple[Any, Any]:
    return jnp.zeros((2,) * rank, bool), jnp.zeros((3,) * rank, bool)
