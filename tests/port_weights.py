"""One set of weights and images for the same network in every framework, in PyTorch's layout.

    conv1 → bn → gelu → depthwise → leaky → conv2 → up → fc → ln → attn → gru → lstm

No wrong transpose keeps shape and values: height, width and channels differ, and so do the number of heads
and their width. Convolutions have stride 2 on even sizes; statistics and biases are not what they start as.
What is flattened (96) is less than the number of images, so that a dense layer can be fitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from port_mistakes import Port

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, Array]

IMAGES, HEIGHT, WIDTH, COLORS = 256, 16, 12, 3
CONV1, MULTIPLIER, CONV2, UP = 7, 2, 9, 2  # channels; the depthwise convolution has CONV1 * MULTIPLIER
STRIDE, KERNEL, UP_KERNEL = 2, (3, 3), (4, 2)
UP_HEIGHT, UP_WIDTH = HEIGHT // 2, WIDTH // 2
FLAT = UP * UP_HEIGHT * UP_WIDTH
TOKENS, EMBEDDING, HEADS = 5, 12, 3
GRU, LSTM = 7, 6

LAYERS = ("conv1", "bn", "gelu", "depthwise", "leaky", "conv2", "up", "fc", "ln", "attn", "gru", "lstm")
INPUTS = ("conv1@input", "fc@input")  # what goes in where no layer before it gives the same


def layers(image: str, *, inputs: bool = False) -> dict[str, str | None]:
    """Give what to record; names of axes for layers that have none of their own, such as activations.

    `image` names the axes of an image: "sample channel height width", or with the channel last.
    """
    named = {"gelu": image, "leaky": image, "attn": "sample token unit", "conv1@input": image}
    named |= {"gru": "sample time unit", "lstm": "sample time unit", "fc@input": "sample unit"}
    names = (*INPUTS, *LAYERS) if inputs else LAYERS
    return {name: f"{named[name]} -> {named[name]}" if name in named else None for name in names}


def images() -> Array:
    """(images, height, width, colors) whole numbers from 0 to 255."""
    return np.random.default_rng(1).integers(0, 256, (IMAGES, HEIGHT, WIDTH, COLORS), "uint8")


def batches(port: Port, size: int, order: Array | None = None) -> Iterator[tuple[Array, Array]]:
    """Give images, channels last, and their ids, in small batches; in another order where one is given."""
    x = images().astype("f4") / np.float32(port.divisor)
    shuffled = np.random.default_rng(2).permutation(IMAGES)
    rows = order if order is not None else shuffled if port.shuffled else np.arange(IMAGES)
    ids = np.arange(len(rows)) if port.counted else rows
    for at in range(0, len(rows), size):
        yield x[rows[at : at + size]], ids[at : at + size]


def weights(port: Port) -> Weights:
    """Give all weights as PyTorch has them; with the one mistake that the port makes."""
    made = _convolutional(np.random.default_rng(3)) | _sequential(np.random.default_rng(4))
    if port.swapped:
        mean, variance = made["bn.running_mean"], made["bn.running_var"]
        made |= {"bn.running_mean": variance, "bn.running_var": mean}
    if not port.reordered:
        columns = np.arange(FLAT).reshape(UP_HEIGHT, UP_WIDTH, UP).transpose(2, 0, 1).reshape(-1)
        made["fc.weight"] = made["fc.weight"][:, columns]
    if not port.flipped:
        made["up.weight"] = made["up.weight"][:, :, ::-1, ::-1]
    if not port.gates_in_order:
        for name in [name for name in made if name.startswith("gru.")]:
            reset, update, new = np.split(made[name], 3)
            made[name] = np.concatenate([update, reset, new])
    return {name: np.ascontiguousarray(value, "f4") for name, value in made.items()}


def _convolutional(rng: np.random.Generator) -> Weights:
    """Draw conv1 to fc. Statistics are near what images give, and means positive, as variances are."""
    conv1 = rng.normal(0, 0.15, (CONV1, COLORS, *KERNEL))
    conv1 *= np.sign(conv1.sum((1, 2, 3), keepdims=True))
    wide = CONV1 * MULTIPLIER
    return {
        "conv1.weight": conv1,
        "bn.weight": rng.uniform(0.7, 1.4, CONV1),
        "bn.bias": rng.normal(0, 0.3, CONV1),
        "bn.running_mean": conv1.sum((1, 2, 3)) / 2 * rng.uniform(0.8, 1.2, CONV1),
        "bn.running_var": (conv1**2).sum((1, 2, 3)) / 12 * rng.uniform(0.7, 1.4, CONV1),
        "depthwise.weight": rng.normal(0, 1 / 3, (wide, 1, *KERNEL)),
        "depthwise.bias": rng.normal(0, 0.2, wide),
        "conv2.weight": rng.normal(0, (9 * wide) ** -0.5, (CONV2, wide, *KERNEL)),
        "conv2.bias": rng.normal(0, 0.2, CONV2),
        "up.weight": rng.normal(0, (2 * CONV2) ** -0.5, (CONV2, UP, *UP_KERNEL)),
        "up.bias": rng.normal(0, 0.2, UP),
        "fc.weight": rng.normal(0, 0.56 * FLAT**-0.5, (TOKENS * EMBEDDING, FLAT)),
        "fc.bias": rng.normal(0, 0.1, TOKENS * EMBEDDING),
    }


def _sequential(rng: np.random.Generator) -> Weights:
    made = {
        "ln.weight": rng.uniform(0.7, 1.4, EMBEDDING),
        "ln.bias": rng.normal(0, 0.3, EMBEDDING),
        "attn.in_proj_weight": rng.normal(0, EMBEDDING**-0.5, (3 * EMBEDDING, EMBEDDING)),
        "attn.in_proj_bias": rng.normal(0, 0.3, 3 * EMBEDDING),
        "attn.out_proj.weight": rng.normal(0, EMBEDDING**-0.5, (EMBEDDING, EMBEDDING)),
        "attn.out_proj.bias": rng.normal(0, 0.3, EMBEDDING),
    }
    for name, gates, wide, units in (("gru", 3, EMBEDDING, GRU), ("lstm", 4, GRU, LSTM)):
        made |= {
            f"{name}.weight_ih_l0": rng.normal(0, wide**-0.5, (gates * units, wide)),
            f"{name}.weight_hh_l0": rng.normal(0, units**-0.5, (gates * units, units)),
            f"{name}.bias_ih_l0": rng.normal(0, 0.3, gates * units),
            f"{name}.bias_hh_l0": rng.normal(0, 0.3, gates * units),
        }
    return made
