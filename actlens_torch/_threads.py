"""One model at a time to one thread."""

from __future__ import annotations

import contextlib

from torch import nn

from actlens.turns import turn_of as lock_of
from actlens_torch._naming import unwrapped


def turn_of(model: nn.Module) -> contextlib.AbstractContextManager[bool]:
    """Give the lock of a model, the same with and without wrappers.

    Hooks and training flags are the model's own, so a second thread that captures from it has to wait.
    """
    return lock_of(unwrapped(model))
