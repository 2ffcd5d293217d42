"""Which objects of flax and jax are models, and what to do with those that are not."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from actlens.errors import UnsupportedModel


def check_model(model: Any) -> Any:
    """Give the model back if its layers can be heard.

    Raises:
        UnsupportedModel: an array, a TrainState, a function: says what to give instead.
    """
    if isinstance(model, (nn.Module, nnx.Module)):
        return model
    name = type(model).__name__
    if isinstance(model, jax.Array):
        raise UnsupportedModel.hidden(
            f"this {name}", "is an array, not a model", "The model comes first: capture(model, layers)."
        )
    if hasattr(model, "apply_fn") and hasattr(model, "params"):
        raise UnsupportedModel.hidden(
            f"this {name}",
            "holds the parameters and the apply function of a model, not the model",
            "Give the Linen module bound to them: module.bind({'params': state.params}).",
        )
    raise UnsupportedModel.hidden(
        f"this {name}",
        "is neither a flax.linen.Module nor an nnx.Module",
        "Give the module whose layers are to be captured.",
    )
