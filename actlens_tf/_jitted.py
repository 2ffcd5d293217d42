"""A step that jax.jit compiles: arrays are arguments, the rest is baked in, a last batch is filled up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from actlens.activations import Activations
from actlens.padding import Filler

Result = tuple[Activations, dict[int, Any]]
Step = Callable[[Any, Any, Any, Any], Result]


class Jitted:
    """`step(values, written, args, kwargs)`, compiled once for each kind of argument.

    A batch with fewer samples is filled up to the size of the others, and the copies are cut off again, where
    the model neither mixes the samples of a batch (see actlens.padding) nor writes into its variables.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._functions: dict[object, Callable[..., Result]] = {}
        self._filler = Filler()

    def __call__(self, values: Any, written: Any, args: Any, kwargs: Any) -> Result:
        """Run the step."""
        leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
        at = [n for n, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
        try:
            function = self._function(leaves, tree, at)
        except TypeError:  # an argument that cannot be compared
            return self._step(values, written, args, kwargs)
        arrays = [leaves[n] for n in at]
        if written:  # a copy of a sample must not be counted, nor move a state on
            return function(values, written, arrays)
        writes: list[dict[int, Any]] = []

        def run(arrays: list[Any]) -> Activations:
            acts, changed = function(values, written, arrays)
            writes.append(changed)
            return acts

        def shapes(_step: object, small: list[Any], *_: object) -> Any:
            return jax.eval_shape(function, values, written, small)[0]

        acts = self._filler.run(run, arrays, shapes)
        return (
            (acts, writes[-1]) if len(writes) == 1 or not any(writes) else function(values, written, arrays)
        )

    def _function(self, leaves: list[Any], tree: Any, at: list[int]) -> Callable[..., Result]:
        fixed = tuple((n, type(leaf), leaf) for n, leaf in enumerate(leaves) if n not in at)
        key = (tree, tuple(at), fixed)
        if key not in self._functions:

            def on_arrays(values: Any, written: Any, arrays: list[Any]) -> Result:
                rest = {n: leaf for n, _, leaf in fixed} | dict(zip(at, arrays, strict=True))
                args, kwargs = jax.tree_util.tree_unflatten(tree, [rest[n] for n in range(len(rest))])
                return self._step(values, written, args, kwargs)

            self._functions[key] = jax.jit(on_arrays)
        return self._functions[key]


def traced_shapes(run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call `run(*args, **kwargs)` with arrays that have a shape and no values."""
    leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
    arrays = {n: leaf for n, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}

    def traced(arrays: dict[int, Any]) -> None:
        both = dict(enumerate(leaves)) | arrays
        args, kwargs = jax.tree_util.tree_unflatten(tree, [both[n] for n in range(len(both))])
        run(*args, **kwargs)

    jax.eval_shape(traced, arrays)
