"""The adapter for Flax (Linen and NNX) and JAX arrays."""

from actlens.errors import BadAdapter

raise BadAdapter.not_built("actlens_jax", "Flax")
