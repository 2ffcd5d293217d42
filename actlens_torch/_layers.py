"""layers(): what there is in a model, and with example arguments, in which order and shape it fires."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actlens.activations import LayerInfo, Report, Tape
from actlens.errors import UnsupportedModel
from actlens.listing import Everything, listing
from actlens_torch._capture import Ears
from actlens_torch._inference import device_of, moved
from actlens_torch._modes import check_model, evaluation
from actlens_torch._naming import Place, distributed_by, places
from actlens_torch._threads import turn_of
from actlens_torch._values import is_array

_BYPASSED = "the model may use its weights, or call .forward() itself, which no hook sees"


def layers(model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
    """Give path → LayerInfo. With example arguments: every key in the order of the forward, with shapes.

    The model is called once, in evaluation mode, without gradients, on a copy of the example; its modules,
    buffers and torch's random numbers are as before afterwards. Layers that it does not call come last,
    with a note.

    Raises:
        UnsupportedModel: the layers cannot be seen (torch.jit, torch.export), this is no model, or its
            parameters are lazy.
    """
    module = check_model(model)
    found = places(module)
    whys = {place.path: place.why_not or _hidden(place) for place in found}
    inside = {
        place.path: LayerInfo(place.type, note=_inside(place), aliases=place.aliases) for place in found
    }
    if not args and not kwargs:
        return {
            path: dataclasses.replace(info, note=whys[path] or info.note) for path, info in inside.items()
        }
    why_not = {path: why or _BYPASSED for path, why in whys.items()}
    return listing(_report(module, args, kwargs), inside, why_not=why_not, nothing="tensor")


def _hidden(place: Place) -> str:
    return "inside a torch.jit module, where no hook fires" if place.scripted else ""


def _inside(place: Place) -> str:
    count = place.module.num_layers if isinstance(place.module, nn.RNNBase) else 1
    return f"only the last of its {count} layers is visible" if count > 1 else ""


def _report(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report:
    while isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module  # a call in one process must not wait for the others
    if any(map(is_lazy, itertools.chain(model.parameters(), model.buffers()))):
        raise UnsupportedModel.hidden(
            f"this {type(model).__name__}",
            "has lazy parameters, which take their shapes from the first call, for good",
            "Call it once before layers(model, x): model(x).",
        )
    args, kwargs = _example(*moved((args, kwargs), device_of(model)))
    # FSDP keeps account of its parameters elsewhere: nothing is put back there
    shared = any(map(distributed_by, model.modules()))
    untouched = contextlib.nullcontext() if shared else _untouched(model)
    random = torch.random.fork_rng(_cuda(model))
    with turn_of(model), evaluation(model), torch.no_grad(), random, untouched:
        return _forward(model, args, kwargs)


def _forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report:
    select = Everything(frozenset(place.path for place in places(model) if place.scripted))
    tape = Tape(select, is_array=is_array, keep=_described)
    Ears(model, select, same=False).listen(tape, args, kwargs)
    report = tape.activations().report
    assert report is not None  # noqa: S101 - a tape always gives one
    return report


def _described(_key: str, tensor: Tensor) -> Any:
    """Keep only what describes a tensor: one call must not hold every activation at once."""
    return SimpleNamespace(shape=() if tensor.is_nested else tuple(tensor.shape), dtype=tensor.dtype)


def _example(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copy the example: a model may write into it, e.g. into a cache of keys and values."""

    def example(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, Tensor) else copy.deepcopy(leaf)

    result: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map(example, (args, kwargs))
    return result


def _cuda(model: nn.Module) -> list[torch.device]:
    tensors = itertools.chain(model.parameters(), model.buffers())
    return list({tensor.device for tensor in tensors if tensor.is_cuda})


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Take back what a forward writes onto modules and into buffers."""
    before = [(module, vars(module).copy(), _containers(module)) for module in model.modules()]
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers() if not _fixed(buffer)]
    try:
        yield
    finally:
        for module, attributes, containers in before:
            vars(module).clear()
            vars(module).update(attributes)
            for container, content in containers:
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(content)
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)


def _fixed(buffer: Tensor) -> bool:
    return is_lazy(buffer) or buffer.is_inference() or buffer.device.type == "meta"


def _containers(module: nn.Module) -> list[tuple[Any, Any]]:
    """Give the dicts, lists and sets that a module holds, each with a copy."""
    plain = {dict, list, set, collections.OrderedDict, collections.defaultdict}
    held = [value for value in vars(module).values() if type(value) in plain]
    return [(value, copy.copy(value)) for value in held]
