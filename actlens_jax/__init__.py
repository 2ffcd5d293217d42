"""The adapter for Flax: `flax.linen` and `flax.nnx` modules, and jax arrays.

How it works: one call of `forward` has each selected module sow what it gives, into a collection (Linen)
or a variable (NNX) that jax's transformations carry along, calls the model once, unchanged, and takes it
out again. Importing this package registers `Activations` as a pytree, and does nothing else.
"""

from __future__ import annotations

import flax
import jax

from actlens_jax._capture import capture
from actlens_jax._host import fetch
from actlens_jax._inference import inference
from actlens_jax._layers import layers
from actlens_jax._pytree import register
from actlens_jax._weights import weights

__all__ = ["capture", "fetch", "inference", "layers", "name", "version", "weights"]

name: str = "flax"


def version() -> str:
    """Give the version of Flax, and behind a `+` that of jax."""
    return f"{flax.__version__}+jax.{jax.__version__}"


register()
