"""The frameworks: what an adapter must offer, which there are, and whose a model is.

This table is the only place in the core that knows the names of frameworks. An adapter is a module; it
is imported when a model of its framework is first seen, and checked against the protocol then. Adapters
that are not in the table register through the entry-point group `actlens.backends`: the name of the
entry point is the root package of the framework's classes, its value the adapter's module.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from actlens.activations import Activations, LayerInfo, Selector
from actlens.errors import BadAdapter, MissingDependency, UnsupportedModel

Forward = Callable[..., tuple[Any, Activations]]
"""`forward(*args, **kwargs) → (output, activations)`: one call of the model."""


class Backend(Protocol):
    """An adapter: a module with these names in its `__all__`, and no others.

    `actlens.testing.BackendTests` is the contract as a test suite.
    """

    @property
    def name(self) -> str:
        """The framework's import name, written to the manifest."""

    def version(self) -> str:
        """Give the framework's version."""

    def layers(self, model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
        """Give path → LayerInfo, in execution order where known.

        With example arguments: one run in evaluation mode, without computing where the framework can, with a
        line for every captured key, and one with a note for every layer that was not called. Without:
        names and types.
        """

    def capture(self, model: Any, select: Selector, /, *, stop: bool = False) -> Forward:
        """Give a forward that calls the model once, unchanged, and captures what `select` asks for.

        Traceable by the framework's own jit and autograd. Leaves nothing on the model, also on error.
        With `stop`, ends after the last layer that is needed; the output is then None.
        """

    def inference(self, model: Any, forward: Forward, /) -> AbstractContextManager[Forward]:
        """Give the fast form for `record()`: eval mode, no gradient, inputs moved to the model's device.

        The output may be None. Everything is as it was when the context ends.
        """

    def fetch(
        self, arrays: Mapping[str, Any], /, rows: npt.NDArray[np.int64] | None = None
    ) -> Callable[[], dict[str, npt.NDArray[Any]]]:
        """Start the copy to the host, of some rows only where `rows` is given; return what waits for it.

        The result is C-contiguous numpy with the dtype kept (bfloat16 and float8 through ml_dtypes),
        sharing no memory with the model or with `arrays`.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """A row of the table: where the adapter is, and what it needs."""

    module: str
    package: str
    minimum: str
    extra: str


_JAX = Adapter("actlens_jax", "flax", "0.12.4", "jax")
_KERAS = Adapter("actlens_tf", "keras", "3.5", "tf")

ADAPTERS: dict[str, Adapter] = {  # root package of a class → its adapter; sorted
    "flax": _JAX,
    "jax": _JAX,
    "jaxlib": _JAX,
    "keras": _KERAS,
    "tensorflow": _KERAS,
    "torch": Adapter("actlens_torch", "torch", "2.4", "torch"),
}

_CALLS: dict[str, tuple[int, dict[str, Any]]] = {  # member → positional arguments and keywords it must take
    "version": (0, {}),
    "layers": (2, {"mask": None}),
    "capture": (2, {"stop": True}),
    "inference": (2, {}),
    "fetch": (1, {"rows": None}),
}
PROTOCOL = ("name", *_CALLS)
OPTIONAL = ("weights",)


def backend_of(thing: object) -> Backend:
    """Give the adapter of a model or of an array, by the ancestry of its class.

    What happens to be imported decides nothing: under KERAS_BACKEND=torch a Keras model *is* a
    torch.nn.Module, and importing keras loads tensorflow and jax. The first class in the method
    resolution order whose root package is known names the adapter.
    """
    root = root_of(type(thing))
    if root is None:
        raise UnsupportedModel.unknown(thing, [*ADAPTERS, *_registered()])
    return load(root)


def root_of(cls: type) -> str | None:
    """Give the root package that decides for a class, or None where no adapter is known."""
    roots = [base.__module__.partition(".")[0] for base in cls.__mro__]
    others = _registered()
    return next((root for root in roots if root in ADAPTERS or root in others), None)


@functools.cache
def load(root: str) -> Backend:
    """Import the adapter of a root package and hold it to the protocol."""
    row = ADAPTERS.get(root)
    module_name = row.module if row else _registered()[root]
    if row is not None:
        _refuse_older(row, _installed(row.package))  # before the import: an adapter may not import at all
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if row is None or (error.name or "").partition(".")[0] not in {row.package, root}:
            raise
        raise MissingDependency.for_feature(module_name, row.package, row.extra) from error
    backend = verified(module, module_name)
    if row is not None:
        _refuse_older(row, backend.version())
    return backend


def verified(module: Any, name: str) -> Backend:
    """Check that a module keeps the protocol; errors name the adapter and the member."""
    missing = [member for member in PROTOCOL if not hasattr(module, member)]
    if missing:
        raise BadAdapter.missing(name, missing)
    exported = getattr(module, "__all__", PROTOCOL)
    unknown = sorted(set(exported) - {*PROTOCOL, *OPTIONAL})
    if unknown:
        raise BadAdapter.unknown(name, unknown, PROTOCOL)
    for member, (count, keywords) in _CALLS.items():
        _check_call(getattr(module, member), name, member, (None,) * count, keywords)
    return cast("Backend", module)


def _check_call(
    function: Any, adapter: str, member: str, args: tuple[None, ...], keywords: dict[str, Any]
) -> None:
    shown = ", ".join([*("…" for _ in args), *(f"{key}=…" for key in keywords)])
    try:
        inspect.signature(function).bind(*args, **keywords)
    except TypeError as error:
        raise BadAdapter.signature(adapter, member, f"{member}({shown})") from error


@functools.cache
def _registered() -> dict[str, str]:
    entries = importlib.metadata.entry_points(group="actlens.backends")
    return {entry.name: entry.value for entry in entries}


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # built from source, or not there
        return None


def _refuse_older(row: Adapter, found: str | None) -> None:
    if found is not None and _older(found, row.minimum):
        raise MissingDependency.too_old(row.package, found, row.minimum, row.extra)


def _older(found: str, least: str) -> bool:
    return _numbers(found) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.partition("+")[0].split(".")
    digits = ["".join(c for c in part if c.isdigit()) for part in parts]
    return tuple(int(part) for part in digits if part)[:3]
