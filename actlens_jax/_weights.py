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
    """Give up to 64 values of each parameter and statistic, evenly spread; none of an unbound one."""
    if isinstance(model, nn.Module):
        kept: Any = model.variables if model.scope is not None else {}
    else:
        kept = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))  # not the counters of random streams
    return [_sample(leaf) for leaf in jax.tree.leaves(kept) if _plain(leaf)]


def _plain(leaf: Any) -> bool:
    concrete = isinstance(leaf, (jax.Array, np.ndarray)) and not isinstance(leaf, jax.core.Tracer)
    return concrete and not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)


def _sample(leaf: Any) -> npt.NDArray[Any]:
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_data(0)  # of an array on several processes, this one's part
    flat = np.asarray(leaf).reshape(-1)
    return flat[:: max(1, len(flat) // _VALUES)][:_VALUES]
