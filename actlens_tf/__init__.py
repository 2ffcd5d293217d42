"""The adapter for Keras 3 on any of its backends: TensorFlow, JAX or PyTorch.

How it works: Keras has no hooks, so one call of `forward` puts a function around the `call` of each
selected layer, as an attribute of the instance, calls the model once, unchanged, and removes it. Importing
this package imports of TensorFlow, JAX and PyTorch only the one that Keras itself runs on.
"""

from __future__ import annotations

from actlens_tf._activations import register
from actlens_tf._capture import capture
from actlens_tf._framework import version
from actlens_tf._host import fetch
from actlens_tf._inference import inference
from actlens_tf._layers import layers
from actlens_tf._weights import weights

__all__ = ["capture", "fetch", "inference", "layers", "name", "version", "weights"]

name: str = "keras"

register()
