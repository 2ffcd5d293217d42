"""Activation functions as frameworks have them, on a few values; what each is called in a sentence."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

_SLOPES = (0.01, 0.1, 0.2, 0.3)
_SELU = (1.0507009873554805, 1.6732632423543772)


def _erf(x: Array) -> Array:
    return np.array([math.erf(value) for value in x.reshape(-1).tolist()]).reshape(x.shape)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^−x), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def gelu(x: Array) -> Array:
    """x·Φ(x)."""
    return np.asarray(x * (1 + _erf(x / math.sqrt(2))) / 2)


def gelu_tanh(x: Array) -> Array:
    """Its approximation (Hendrycks and Gimpel 2016)."""
    return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)


def leaky(x: Array, slope: float) -> Array:
    """x, or slope·x where x is negative."""
    return np.where(x >= 0, x, slope * x)


def elu(x: Array) -> Array:
    """x, or e^x − 1 where x is negative."""
    return np.where(x >= 0, x, np.expm1(np.minimum(x, 0)))


def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


FUNCTIONS: dict[str, Function] = {
    "its input, unchanged (no activation)": lambda x: x,
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "exact GELU": gelu,
    "tanh-approximated GELU": gelu_tanh,
    "quick GELU (x·sigmoid(1.702·x))": lambda x: x * sigmoid(1.702 * x),
    "SiLU": lambda x: x * sigmoid(x),
    "ELU": elu,
    "SELU": lambda x: _SELU[0] * np.where(x >= 0, x, _SELU[1] * np.expm1(np.minimum(x, 0))),
    "softplus": softplus,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard sigmoid (relu6(x + 3) / 6)": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard sigmoid (0.2·x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    **{f"leaky ReLU of negative slope {slope:g}": functools.partial(leaky, slope=slope) for slope in _SLOPES},
}
"""Name → function of float64 values."""
