"""The nested-tensor path of nn.TransformerEncoder, which no layer inside the encoder can be captured from.

With `src_key_padding_mask`, in evaluation, the encoder packs its input and returns zeros for the padding;
layer by layer it computes values there instead. A capture inside would therefore change the model's output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from actlens.errors import UncapturableValue


def refuse_packing(layer: str) -> Callable[..., None]:
    """Give a forward_pre_hook for an encoder, for a call in which the fast path is off to hear `layer`.

    It raises UncapturableValue if the encoder would take the nested-tensor path by itself.
    """

    def hook(encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if packs(encoder, *args, **kwargs):
            raise UncapturableValue(
                f"layer {layer!r} cannot be captured in this call: a {type(encoder).__name__} was given "
                "src_key_padding_mask in evaluation mode, and takes its nested-tensor path, which calls no "
                "hook of a layer inside and returns zeros for padded positions. Layer by layer it returns "
                "other values there, so the capture would change the model's output. Capture the encoder "
                "itself, without the layers inside, or build it with "
                "nn.TransformerEncoder(…, enable_nested_tensor=False), whose output is the same with and "
                "without capture."
            )

    return hook


def packs(
    encoder: Any, src: Any = None, mask: Any = None, src_key_padding_mask: Any = None, *_: Any, **__: Any
) -> bool:
    """Say whether an encoder, called like this, would take its nested-tensor path: torch's own conditions."""
    if not getattr(encoder, "use_nested_tensor", False) or not isinstance(src_key_padding_mask, Tensor):
        return False
    if mask is not None or not isinstance(src, Tensor) or src.dim() != 3 or src.is_nested:
        return False
    first = encoder.layers[0]
    if first.training or torch.is_autocast_enabled():
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (src, *first.parameters())):
        return False
    left_aligned = getattr(torch, "_nested_tensor_from_mask_left_aligned", None)  # private
    if left_aligned is None or not getattr(encoder, "mask_check", True):
        return True
    return bool(left_aligned(src, src_key_padding_mask.logical_not()))
