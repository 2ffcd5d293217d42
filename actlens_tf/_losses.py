"""Losses that layers wrote down (activity regularizers, add_loss): every call of a model forgets them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from actlens_tf._naming import places


@contextlib.contextmanager
def kept_losses(model: Any) -> Iterator[None]:
    """Put back what `model.losses` gave: a training loop may record between its forward and its gradients."""
    layers = [model, *(place.layer for place in places(model))]
    # Keras empties these lists even in a StatelessScope, and offers no other way to them
    kept = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in layers]
    try:
        yield
    finally:
        for layer, losses, ids in kept:
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)
