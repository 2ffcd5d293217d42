"""Names of the axes of what a layer returns, for the layer types of torch.nn.

A subclass has the names of its nearest ancestor in the table. Where a rank leaves it open (a GELU on
rank 4 is as often channels last as channels first), there is no name: better none than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from actlens.activations import Axes
from actlens_torch._naming import is_token_first

_Rule = Callable[[nn.Module, str, int], "Axes | None"]

_UNIT: Axes = ("sample", "unit")
_TOKENS: Axes = ("sample", "token", "unit")
_TIME: Axes = ("sample", "channel", "time")
_IMAGE: Axes = ("sample", "channel", "height", "width")
_VOLUME: Axes = ("sample", "channel", "depth", "height", "width")


def axes_of(module: nn.Module, *, token_first: bool = False) -> Callable[[str, Any], Axes | None]:
    """Give the function (leaf suffix, tensor) → names of axes of a module's output.

    `token_first`: the module is inside a transformer layer that was built with batch_first=False.
    """
    rule = next((_RULES[base] for base in type(module).__mro__ if base in _RULES), None)

    def axes(suffix: str, tensor: Any) -> Axes | None:
        if rule is None or tensor.is_nested:
            return None
        names = rule(module, suffix, len(tensor.shape))
        return ("token", "sample", "unit") if token_first and names == _TOKENS else names

    return axes


def _by_rank(*choices: Axes) -> _Rule:
    ranks = {len(names): names for names in choices}
    return lambda _module, _suffix, rank: ranks.get(rank)


def _flatten(module: nn.Module, _suffix: str, rank: int) -> Axes | None:
    return _UNIT if rank == 2 and module.start_dim == 1 else None


def _recurrent(module: nn.Module, suffix: str, rank: int) -> Axes | None:
    if rank != 3:
        return None
    if suffix == "[0]":
        return ("sample", "time", "unit") if module.batch_first else ("time", "sample", "unit")
    return ("layer", "sample", "unit") if suffix.startswith("[1]") else None


def _attention(module: nn.Module, suffix: str, rank: int) -> Axes | None:
    if suffix == "[1]":
        return {3: ("sample", "query", "key"), 4: ("sample", "head", "query", "key")}.get(rank)
    return _sequence(module, suffix, rank) if suffix == "[0]" else None


def _sequence(module: nn.Module, _suffix: str, rank: int) -> Axes | None:
    if rank != 3:
        return None
    return ("token", "sample", "unit") if is_token_first(module) else _TOKENS


def _stack(module: nn.Module, suffix: str, rank: int) -> Axes | None:
    layers: Any = module.layers
    return _sequence(layers[0], suffix, rank) if len(layers) else None


def _rules(rule: _Rule, *names: str) -> dict[type, _Rule]:
    """Give the types of these names in torch.nn that this version of torch has."""
    return {getattr(nn, name): rule for name in names if hasattr(nn, name)}


def _spatial(names: Axes, dims: int, *families: str) -> dict[type, _Rule]:
    return _rules(_by_rank(names), *(f"{family}{dims}d" for family in families))


_FAMILIES = (
    *("Conv", "ConvTranspose", "InstanceNorm", "MaxPool", "MaxUnpool", "AvgPool", "LPPool"),
    *("AdaptiveAvgPool", "AdaptiveMaxPool", "FractionalMaxPool", "ZeroPad", "ConstantPad", "ReflectionPad"),
    *("ReplicationPad", "CircularPad"),
)
_RULES: dict[type, _Rule] = {
    **_rules(_by_rank(_UNIT, _TOKENS), "Linear", "Bilinear", "LayerNorm", "RMSNorm"),
    **_rules(_by_rank(_TOKENS), "Embedding"),
    **_rules(_by_rank(_UNIT), "EmbeddingBag", "RNNCellBase"),
    **_spatial(_TIME, 1, *_FAMILIES),
    **_spatial(_IMAGE, 2, *_FAMILIES, "UpsamplingNearest", "UpsamplingBilinear", "Dropout"),
    **_spatial(_VOLUME, 3, *_FAMILIES, "Dropout"),
    **_rules(_by_rank(_UNIT, _TIME), "BatchNorm1d"),
    **_rules(_by_rank(_UNIT, _TIME, _IMAGE, _VOLUME), "GroupNorm", "SyncBatchNorm"),
    **_rules(_by_rank(_IMAGE), "BatchNorm2d", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
    **_rules(_by_rank(_IMAGE), "LocalResponseNorm", "Softmax2d"),
    **_rules(_by_rank(_VOLUME), "BatchNorm3d"),
    **_rules(_by_rank(_TIME, _IMAGE, _VOLUME), "Upsample"),
    **_rules(_by_rank(_UNIT, _IMAGE), "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "SiLU", "Hardswish"),
    **_rules(_by_rank(_UNIT, _IMAGE), "ELU", "CELU", "SELU", "Mish", "Hardtanh", "Hardsigmoid"),
    **_rules(_by_rank(_UNIT), "GELU", "Tanh", "Sigmoid", "Softplus", "Softsign", "Threshold", "LogSigmoid"),
    **_rules(_by_rank(_UNIT), "Dropout", "AlphaDropout", "Identity", "Softmax", "LogSoftmax"),
    **_rules(_flatten, "Flatten"),
    **_rules(_recurrent, "RNN", "LSTM", "GRU"),
    **_rules(_attention, "MultiheadAttention"),
    **_rules(_sequence, "TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer"),
    **_rules(_stack, "TransformerEncoder", "TransformerDecoder"),
}
