"""Which modules are layers, and what each is called: one name, with or without wrappers.

`torch.compile`, DataParallel, FSDP and checkpoint wrappers add a module that holds the real one. Their
parts of a dotted path are dropped, so that a model has the same names before and after wrapping.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator

import torch
from torch import nn

WEIGHTS_ONLY = "MultiheadAttention uses its weights without calling it; capture the MultiheadAttention itself"
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_DISTRIBUTED = frozenset({"DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"})
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_SEQUENCE = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.MultiheadAttention)


@dataclasses.dataclass(slots=True)
class Place:
    """A layer in a model: its path, the module behind all wrappers, and what decides how it is read."""

    path: str
    module: nn.Module
    why_not: str = ""
    scripted: bool = False
    token_first: bool = False
    fast_path: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The class's own name."""
        return type(self.module).__name__


@dataclasses.dataclass(frozen=True, slots=True)
class _Around:
    """What the modules above say about those below."""

    scripted: bool = False
    token_first: bool = False
    fast_path: bool = False


def places(model: nn.Module) -> list[Place]:
    """List the layers of a model in the order in which they were registered.

    The model itself is not a layer, nor are containers that are never called (ModuleList), nor
    parametrizations of weights. A module that stands in two places has the first path as its name.
    """
    found: dict[int, Place] = {}
    root = unwrapped(model)
    for path, module, parent, around in _walk(root, "", _around(root, _Around()), (id(root),)):
        place = found.get(id(module))
        if place is not None:
            place.aliases = (*place.aliases, path)
        elif is_layer(module):
            found[id(module)] = Place(
                path,
                module,
                _why_not(module, parent),
                around.scripted,
                around.token_first,
                around.fast_path,
            )
    return list(found.values())


def unwrapped(module: nn.Module) -> nn.Module:
    """Give the module behind torch.compile, FSDP, checkpoint and data-parallel wrappers."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def distributed_by(module: nn.Module) -> str:
    """Name the class by which several processes share a module; empty where none does."""
    return next((base.__name__ for base in type(module).__mro__ if base.__name__ in _DISTRIBUTED), "")


def is_layer(module: nn.Module) -> bool:
    """Say whether a module can be called: ModuleList, ModuleDict and ParameterList cannot."""
    # static, because scripted modules have a descriptor here that answers on instances only
    inherited = inspect.getattr_static(type(module), "forward", None)
    return inherited is not nn.Module.forward or "forward" in vars(module)


def _inner(module: nn.Module) -> nn.Module | None:
    children = module._modules
    if isinstance(module, _PARALLEL):
        return children.get("module")
    return next((child for name, child in children.items() if name in _WRAPPED), None)


def _walk(
    parent: nn.Module, prefix: str, around: _Around, above: tuple[int, ...]
) -> Iterator[tuple[str, nn.Module, nn.Module, _Around]]:
    for name, child in parent._modules.items():
        if child is None or (name == "parametrizations" and hasattr(parent, "parametrizations")):
            continue
        module = unwrapped(child)
        if id(module) in above:  # a module that holds itself
            continue
        here = _around(module, around)
        # an encoder by itself is heard on its fast path, the layers inside it are not
        own = dataclasses.replace(here, fast_path=around.fast_path) if _is_encoder(module) else here
        yield prefix + name, module, parent, own
        yield from _walk(module, f"{prefix}{name}.", here, (*above, id(module)))


def _around(module: nn.Module, above: _Around) -> _Around:
    sequence = isinstance(module, _SEQUENCE)
    return _Around(
        above.scripted or isinstance(module, torch.jit.ScriptModule),
        is_token_first(module) if sequence else above.token_first,
        above.fast_path or sequence or _is_encoder(module),
    )


def _is_encoder(module: nn.Module) -> bool:
    return isinstance(module, nn.TransformerEncoder)


def is_token_first(module: nn.Module) -> bool:
    """Say whether an attention or transformer layer was built with batch_first=False."""
    attention = module if hasattr(module, "batch_first") else getattr(module, "self_attn", None)
    return not getattr(attention, "batch_first", True)


def _why_not(module: nn.Module, parent: nn.Module) -> str:
    inside = isinstance(parent, nn.MultiheadAttention) and module is getattr(parent, "out_proj", None)
    return WEIGHTS_ONLY if inside else ""
