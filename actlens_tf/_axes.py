"""Names of the axes of what a layer returns, for the layer types of Keras.

A subclass has the names of its nearest ancestor in the table. Where a rank leaves it open (an activation on
rank 4 may have its channels first or last), there is no name: better none than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from actlens.activations import Axes

_Rule = Callable[[Any, str, int], "Axes | None"]

_UNIT: Axes = ("sample", "unit")
_TOKENS: Axes = ("sample", "token", "unit")
_STEPS: Axes = ("sample", "time", "unit")
_SPACE: dict[int, Axes] = {1: ("time",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def axes_of(layer: Any) -> Callable[[str, Any], Axes | None]:
    """Give the function (leaf suffix, array) → names of axes of a layer's output."""
    return lambda suffix, array: _names(layer, suffix, _rank(array))


def _rank(array: Any) -> int:
    rank = getattr(array.shape, "rank", -1)  # of a tf.TensorShape, None where it is not known
    return len(array.shape) if rank == -1 else rank or 0


def _names(layer: Any, suffix: str, rank: int) -> Axes | None:
    rule = next((_RULES[base] for base in type(layer).__mro__ if base in _RULES), None)
    return rule(layer, suffix, rank) if rule else None


def _by_rank(*choices: Axes) -> _Rule:
    ranks = {len(names): names for names in choices}
    return lambda _layer, suffix, rank: None if suffix else ranks.get(rank)


def _image(space: Axes, data_format: str) -> Axes:
    first = data_format == "channels_first"
    return ("sample", "channel", *space) if first else ("sample", *space, "channel")


def _spatial(dims: int) -> _Rule:
    def rule(layer: Any, suffix: str, rank: int) -> Axes | None:
        data_format = getattr(layer, "data_format", None) or "channels_last"
        return None if suffix or rank != dims + 2 else _image(_SPACE[dims], data_format)

    return rule


def _pooled(dims: int) -> _Rule:
    whole = _spatial(dims)
    return lambda layer, suffix, rank: (
        ("sample", "channel") if rank == 2 and not suffix else whole(layer, suffix, rank)
    )


def _by_axis(layer: Any, suffix: str, rank: int) -> Axes | None:
    """Name after the axis that is normalized: the channel."""
    axis = layer.axis
    if suffix or not isinstance(axis, int) or not 2 <= rank <= 5:
        return None
    if rank == 2:
        return _UNIT
    at = axis % rank
    if at not in {1, rank - 1}:
        return None
    return _image(_SPACE[rank - 2], "channels_first" if at == 1 else "channels_last")


def _recurrent(layer: Any, suffix: str, rank: int) -> Axes | None:
    if rank == 3 and layer.return_sequences and suffix in {"", "[0]"}:
        return _STEPS
    return _UNIT if rank == 2 else None


def _convolutional(dims: int) -> _Rule:
    def rule(layer: Any, suffix: str, rank: int) -> Axes | None:
        names = _image(_SPACE[dims], getattr(layer.cell, "data_format", "channels_last"))
        if dims > 1 and rank == dims + 3 and layer.return_sequences and suffix in {"", "[0]"}:
            return ("sample", "time", *names[1:])
        return names if dims > 1 and rank == dims + 2 else None

    return rule


def _bidirectional(layer: Any, suffix: str, rank: int) -> Axes | None:
    return _names(layer.forward_layer, suffix, rank)


def _each_step(layer: Any, suffix: str, rank: int) -> Axes | None:
    inner = _names(layer.layer, suffix, rank - 1)
    return None if inner is None or "time" in inner else ("sample", "time", *inner[1:])


def _attention(layer: Any, suffix: str, rank: int) -> Axes | None:
    del layer
    if suffix == "[1]":
        return {3: ("sample", "query", "key"), 4: ("sample", "head", "query", "key")}.get(rank)
    return _TOKENS if rank == 3 and suffix in {"", "[0]"} else None


def _last(model: Any, suffix: str, rank: int) -> Axes | None:
    """Name what a model returns as its last layer does."""
    return _names(model.layers[-1], suffix, rank) if model.layers else None


def _rules(rule: _Rule, *names: str) -> dict[type, _Rule]:
    """Give the types of these names that this version of Keras has."""
    return {getattr(keras.layers, name): rule for name in names if hasattr(keras.layers, name)}


def _families(rule: Callable[[int], _Rule], *families: str) -> dict[type, _Rule]:
    return {
        kind: made
        for dims in (1, 2, 3)
        for kind, made in _rules(rule(dims), *(family.format(f"{dims}D") for family in families)).items()
    }


_CONVOLUTIONS = (
    *("Conv{}", "Conv{}Transpose", "SeparableConv{}", "DepthwiseConv{}", "MaxPooling{}", "AveragePooling{}"),
    *("AdaptiveMaxPooling{}", "AdaptiveAveragePooling{}", "ZeroPadding{}", "Cropping{}", "UpSampling{}"),
    "SpatialDropout{}",
)
_RULES: dict[type, _Rule] = {
    **_rules(_by_rank(_UNIT, _TOKENS), "Dense", "LayerNormalization", "RMSNormalization"),
    **_rules(_by_rank(_TOKENS), "Embedding"),
    **_families(_spatial, *_CONVOLUTIONS),
    **_families(_pooled, "GlobalMaxPooling{}", "GlobalAveragePooling{}"),
    **_rules(_by_axis, "BatchNormalization", "GroupNormalization"),
    **_rules(_by_rank(_UNIT), "Flatten", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"),
    **_rules(_by_rank(_UNIT), "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity"),
    **_rules(_by_rank(_UNIT), "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    **_rules(
        lambda _layer, _suffix, rank: _UNIT if rank == 2 else None, "LSTMCell", "GRUCell", "SimpleRNNCell"
    ),
    **_rules(_by_rank(_STEPS), "RepeatVector"),
    **_rules(_recurrent, "RNN", "LSTM", "GRU", "SimpleRNN"),
    **_families(_convolutional, "ConvLSTM{}"),
    **_rules(_bidirectional, "Bidirectional"),
    **_rules(_each_step, "TimeDistributed"),
    **_rules(_attention, "MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention"),
    keras.Sequential: _last,
}
