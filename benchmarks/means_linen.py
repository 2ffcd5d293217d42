"""Recording in Flax Linen, by every means."""

from means_flax import LARGE, LAYERS, METHODS, SIZES, batches
from means_flax import linen as model

__all__ = ["LARGE", "LAYERS", "METHODS", "SIZES", "batches", "model"]
