"""Whether a program does for a small batch what it does for a full one, but for the number of rows.

A model may use the size of its batch as a number: a capacity for each expert, a division by the number of
samples. What it gives for a filled batch is then not what it gives for the batch itself. Both are traced,
which compiles and computes nothing, and compared step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.extend.core as extend
import numpy as np


def shapes_alike(
    step: Callable[[list[Any]], Mapping[str, Any]], small: list[Any], full: list[Any], rows: int, size: int
) -> Mapping[str, Any] | None:
    """Give the shapes of what a step gives for a small batch; None where it treats a full one otherwise."""
    program, shapes = jax.make_jaxpr(step, return_shape=True)(small)
    other = jax.make_jaxpr(step)(full)
    given: Mapping[str, Any] = shapes
    return given if _alike(program.jaxpr, other.jaxpr, rows, size) else None


def _alike(small: Any, full: Any, rows: int, size: int) -> bool:
    if len(small.eqns) != len(full.eqns):
        return False
    return all(_same(a, b, rows, size) for a, b in zip(small.eqns, full.eqns, strict=True))


def _same(a: Any, b: Any, rows: int, size: int) -> bool:
    if a.primitive.name != b.primitive.name or len(a.invars) != len(b.invars):
        return False
    literals = [_literals(each) for each in (a, b)]
    if len(literals[0]) != len(literals[1]) or not all(map(np.array_equal, *literals)):
        return False
    shapes = [[tuple(getattr(var.aval, "shape", ())) for var in each.outvars] for each in (a, b)]
    if not all(_scales(x, y, rows, size) for x, y in zip(*shapes, strict=True)):
        return False
    inner = [list(_inside(each.params.values())) for each in (a, b)]
    return len(inner[0]) == len(inner[1]) and all(
        _alike(x, y, rows, size) for x, y in zip(*inner, strict=True)
    )


def _literals(equation: Any) -> list[Any]:
    return [var.val for var in equation.invars if isinstance(var, extend.Literal)]


def _scales(small: tuple[int, ...], full: tuple[int, ...], rows: int, size: int) -> bool:
    """Say whether each axis is the same, or as many times longer as the batch is."""
    return len(small) == len(full) and all(
        a == b or a * size == b * rows for a, b in zip(small, full, strict=True)
    )


def _inside(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, extend.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, extend.Jaxpr):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _inside(value)
