"""What can be captured from, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import keras

from actlens.errors import UnsupportedModel
from actlens_tf._naming import places


def check_model(model: Any) -> Any:
    """Give the model if its layers can be heard.

    Raises:
        UnsupportedModel: a SavedModel, a legacy Keras model, a tf.Module, or not a model at all.
    """
    if type(model).__name__ == "TFSMLayer":
        raise UnsupportedModel.hidden(
            "a TFSMLayer",
            "runs a SavedModel, a graph without Keras layers",
            "Load the model as it was saved by Keras, keras.saving.load_model('….keras'); or make the "
            "TFSMLayer a layer of a model, to capture what it returns.",
        )
    if isinstance(model, keras.layers.Layer):
        return model
    kind = f"a {type(model).__module__}.{type(model).__qualname__}"
    raise UnsupportedModel.hidden(kind, *_other(model))


def _other(model: Any) -> tuple[str, str]:
    modules = [base.__module__ for base in type(model).__mro__]
    if any(module.startswith(("tf_keras", "tensorflow.python.keras")) for module in modules):
        return (
            "is a model of Keras 2 (tf_keras), which has another kind of layers",
            "Save its weights and build it with Keras 3: import keras.",
        )
    if any(module.startswith("tensorflow.python.saved_model") for module in modules):
        return (
            "was loaded from a SavedModel, a graph without Keras layers",
            "Load the model as it was saved by Keras: keras.saving.load_model('….keras').",
        )
    if any(module == "tensorflow.python.module.module" for module in modules):
        return (
            "is a tf.Module, whose methods nothing can listen to",
            "Make it a keras.Model or keras.layers.Layer.",
        )
    return "is not a model", "Give the keras.Model whose layers you want."


def check_built(model: Any) -> None:
    """Refuse a model whose weights would be made, at random, by the capture itself.

    Raises:
        UnsupportedModel: the model was never called, and has layers that make their weights in a call.
    """
    if getattr(model, "built", True):
        return
    waiting = [place.path for place in places(model) if _waits(place.layer)]
    if waiting:
        raise UnsupportedModel.hidden(
            f"this {type(model).__name__}",
            f"was never built: its weights do not exist yet (layer {waiting[0]!r})",
            "Call model(x) or model.build(…), or load its weights, first.",
        )


def _waits(layer: Any) -> bool:
    """Say whether a layer has a `build` of its own that has not run: it may make weights."""
    return not layer.built and not getattr(type(layer).build, "_is_default", False)
