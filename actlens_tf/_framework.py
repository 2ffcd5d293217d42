"""The backend that Keras runs on: one module for each, with the same functions."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import keras

from actlens.backend import Forward


class Framework(Protocol):
    """What the adapter asks of the backend of Keras."""

    TRACES: bool
    """Whether `compiled` and `dry_run` trace the model, which fails where it looks at values."""

    def version(self) -> str:
        """Give the backend's own version."""

    def context(self) -> object:
        """Give a token of the graph or trace that runs; equal tokens mean that values can pass between."""

    def tracing(self) -> bool:
        """Say whether what runs now is written down for later, and not computed."""

    def owned(self, array: Any) -> Any:
        """Give an array that nothing the model does later can change."""

    def unusual(self, array: Any) -> tuple[str, str] | None:
        """Name what hinders an array from being a plain one, and the remedy; None where nothing does."""

    def converted(self, array: Any) -> Any:
        """Give an array of numpy or of the framework as the framework's own."""

    def compiled(self, step: Callable[..., Any], model: Any) -> Callable[..., Any]:
        """Give `step(values, overlay, args, kwargs)` in the fast form; for inference, without gradients."""

    def weights(self, variables: list[Any]) -> list[Any]:
        """Give the values of variables that have to be arguments of a compiled step."""

    def dry_run(self, run: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Call `run(*args, **kwargs)` without computing, where the framework can."""

    def kept_modes(self, model: Any) -> Any:
        """Give a context manager after which every mode of the model is as before."""

    def opaque(self, forward: Forward) -> Forward:
        """Give a function whose source the framework leaves alone."""

    def register(self, cls: type) -> None:
        """Tell the framework's pytrees about a class of Activations."""


@functools.cache
def framework() -> Framework:
    """Give the module for the backend that Keras runs on; it cannot change in a running process."""
    return cast("Framework", importlib.import_module(f"actlens_tf._on_{keras.backend.backend()}"))


def version() -> str:
    """Give the version of Keras, of its backend and the backend's version: 3.15.1+tensorflow.2.21.0."""
    own = framework().version().replace("+", ".")
    return f"{keras.__version__}+{keras.backend.backend()}.{own}"
