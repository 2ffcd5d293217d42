"""What goes wrong when a network is ported: each mistake, where it shows first, and what it is called.

Some are large and some are small: what they make of a layer's values differs by six orders of magnitude.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Port:
    """How the network was written down in a framework: as it is, but for one thing."""

    same_padding: bool = False  # where it is one on each side
    bn_eps: float = 1e-5
    swapped: bool = False  # the running mean and variance
    approximate: bool = False  # GELU
    negative_slope: float = 0.01
    flipped: bool = True  # the kernel of the transposed convolution, where a framework needs it
    reordered: bool = True  # what a dense layer has for each place, after images were flattened
    ln_eps: float = 1e-5
    gates_in_order: bool = True
    divisor: float = 255.0
    shuffled: bool = False
    counted: bool = False  # ids are positions, whatever the order


PORTS = {
    None: Port(),
    "same_padding": Port(same_padding=True),
    "bn_eps_1e-3": Port(bn_eps=1e-3),
    "bn_swapped": Port(swapped=True),
    "tanh_gelu": Port(approximate=True),
    "negative_slope": Port(negative_slope=0.3),
    "up_not_flipped": Port(flipped=False),
    "flatten_order": Port(reordered=False),
    "ln_eps_1e-6": Port(ln_eps=1e-6),
    "ln_eps_1e-3": Port(ln_eps=1e-3),
    "gru_gates": Port(gates_in_order=False),
    "scale": Port(divisor=1.0),
    "wrong_ids": Port(shuffled=True, counted=True),
    "shuffled": Port(shuffled=True),
}

MISTAKES: dict[str, tuple[str | None, tuple[str, ...]]] = {  # name → (first layer, words of the diagnosis)
    "same_padding": ("conv1", ("SAME",)),
    "bn_eps_1e-3": ("bn", ("eps",)),
    "bn_swapped": ("bn", ("mean and variance",)),
    "tanh_gelu": ("gelu", ("tanh", "GELU")),
    "negative_slope": ("leaky", ("negative slope",)),
    "up_not_flipped": ("up", ()),
    "flatten_order": ("fc", ("flatten",)),
    "ln_eps_1e-6": ("ln", ("eps",)),
    "ln_eps_1e-3": ("ln", ("eps",)),
    "gru_gates": ("gru", ()),
    "scale": ("conv1", ("scale",)),
    "wrong_ids": ("conv1", ("order of rows",)),
    "shuffled": (None, ()),  # no mistake: rows are joined by their ids
}


def folder_of(framework: str, mistake: str | None) -> str:
    """Name a folder; `mistake_of` reads it."""
    return f"{framework}+{mistake or 'clean'}"


def mistake_of(path: Path) -> str | None:
    mistake = path.name.partition("+")[2]
    return None if mistake == "clean" else mistake
