"""weights(): a few values of each parameter, by which two states of a model are told apart."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from flax import linen as nn
from flax import nnx

_VALUES = 64


def weights(model: Any) -> list[npt.NDArray[Any]]:
    """Give up to 64 values of each parameter, evenly spread; none of an unbound Linen module.

    Nothing either of a model that processes share out: each would give the values of its own part.
    """
    if isinstance(model, nn.Module):
        kept: Any = model.variables.get("params", {}) if model.scope is not None else {}
    else:
        kept = nnx.state(model, nnx.Param)
    leaves = [leaf for leaf in jax.tree.leaves(kept) if _plain(leaf)]
    if not all(isinstance(leaf, np.ndarray) or leaf.is_fully_addressable for leaf in leaves):
        return []
    return [_sample(leaf) for leaf in leaves]


def _plain(leaf: Any) -> bool:
    concrete = isinstance(leaf, (jax.Array, np.ndarray)) and not isinstance(leaf, jax.core.Tracer)
    return concrete and not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)


def _sample(leaf: Any) -> npt.NDArray[Any]:
    flat = np.asarray(leaf).reshape(-1)
    return flat[:: max(1, len(flat) // _VALUES)][:_VALUES]
