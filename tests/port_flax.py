"""What Linen and NNX share of the network of port_weights.py: paddings, and how weights are laid out."""

from __future__ import annotations

from typing import Any

import port_layouts as layout
import port_weights as sizes

ONE_EACH_SIDE = ((1, 1), (1, 1))
UP_PADDING = ((2, 2), (1, 1))  # for the same as PyTorch's (1, 0): each kernel size less 1, less that


def shared(w: sizes.Weights) -> dict[str, Any]:
    """Give the parameters of all layers but the recurrent ones."""
    image = (sizes.UP, sizes.UP_HEIGHT, sizes.UP_WIDTH)
    return {
        "conv1": {"kernel": layout.conv(w["conv1.weight"])},
        "bn": {"scale": w["bn.weight"], "bias": w["bn.bias"]},
        "depthwise": {"kernel": layout.conv(w["depthwise.weight"]), "bias": w["depthwise.bias"]},
        "conv2": {"kernel": layout.conv(w["conv2.weight"]), "bias": w["conv2.bias"]},
        "up": {"kernel": layout.transposed(w["up.weight"]), "bias": w["up.bias"]},
        "fc": {"kernel": layout.dense_after_flatten(w["fc.weight"], image), "bias": w["fc.bias"]},
        "ln": {"scale": w["ln.weight"], "bias": w["ln.bias"]},
        "attn": _attention(w),
    }


def _attention(w: sizes.Weights) -> dict[str, Any]:
    packed = iter(layout.heads(w["attn.in_proj_weight"], w["attn.in_proj_bias"]))
    out = {"kernel": layout.joined_heads(w["attn.out_proj.weight"]), "bias": w["attn.out_proj.bias"]}
    each = {name: {"kernel": next(packed), "bias": next(packed)} for name in ("query", "key", "value")}
    return {**each, "out": out}
