"""Recording in Flax NNX, by every means."""

from means_flax import LARGE, LAYERS, METHODS, SIZES, batches
from means_flax import nnx as model

__all__ = ["LARGE", "LAYERS", "METHODS", "SIZES", "batches", "model"]
