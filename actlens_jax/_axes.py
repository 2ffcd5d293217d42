"""Names of the axes of what a module returns, for the layers of flax.linen and flax.nnx: channels last.

A subclass has the names of its nearest ancestor in the table. Better no name than a wrong one. Nothing here
keeps a module: one that is being traced may not outlive its trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen, nnx

from actlens.activations import Axes

_Names = Callable[[str, Any], "Axes | None"]
_Rule = Callable[[Any], _Names]

_ORDER = frozenset({"time_major", "return_carry"})
_UNIT: Axes = ("sample", "unit")
_TOKENS: Axes = ("sample", "token", "unit")
_SPATIAL: dict[int, Axes] = {
    1: ("sample", "time", "channel"),
    2: ("sample", "height", "width", "channel"),
    3: ("sample", "depth", "height", "width", "channel"),
}


def axes_of(module: Any, kwargs: Mapping[str, Any]) -> _Names:
    """Give the function (leaf suffix, array) → names of axes of a module's output.

    None are given where a subclass computes something of its own, or a call overrides the order of the axes.
    """
    base = next((base for base in type(module).__mro__ if base in _RULES), None)
    own = getattr(type(module).__call__, "__qualname__", "")
    if base is None or own != base.__call__.__qualname__ or not _ORDER.isdisjoint(kwargs):
        return lambda _suffix, _array: None
    return _RULES[base](module)


def _by_rank(*choices: Axes) -> _Rule:
    ranks = {len(names): names for names in choices}
    return lambda _module: lambda _suffix, array: ranks.get(len(array.shape))


def _convolution(module: Any) -> _Names:
    size = module.kernel_size
    names = _SPATIAL.get(1 if isinstance(size, int) else len(size))
    return lambda _suffix, array: names if names and len(array.shape) == len(names) else None


def _norm(module: Any) -> _Names:
    if getattr(module, "axis", -1) != -1:
        return lambda _suffix, _array: None
    return lambda _suffix, array: {2: _UNIT, 3: _SPATIAL[1], 4: _SPATIAL[2], 5: _SPATIAL[3]}.get(
        len(array.shape)
    )


def _recurrent(module: Any) -> _Names:
    names = ("time", "sample", "unit") if module.time_major else ("sample", "time", "unit")
    leaf = "[1]" if module.return_carry else ""
    return lambda suffix, array: names if suffix == leaf and len(array.shape) == 3 else None


def _rules(rule: _Rule, *names: str) -> dict[Any, _Rule]:
    """Give the types of these names that either of the two has."""
    homes = (linen, nnx)
    return {getattr(home, name): rule for name in names for home in homes if hasattr(home, name)}


_RULES: dict[Any, _Rule] = {
    **_rules(_by_rank(_UNIT, _TOKENS), "Dense", "Linear", "LayerNorm", "RMSNorm"),
    **_rules(
        _by_rank(_TOKENS), "Embed", "MultiHeadAttention", "MultiHeadDotProductAttention", "SelfAttention"
    ),
    **_rules(_by_rank(_UNIT), "Dropout"),
    **_rules(_convolution, "Conv", "ConvLocal", "ConvTranspose"),
    **_rules(_norm, "BatchNorm", "GroupNorm", "InstanceNorm"),
    **_rules(_recurrent, "RNN"),
}
