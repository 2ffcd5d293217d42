"""layers(): what there is in a model, and with example arguments, in which order and shape it fires."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from actlens.activations import INPUT, Axes, LayerInfo, Report, Tape
from actlens_torch._capture import Ears
from actlens_torch._inference import device_of, moved
from actlens_torch._modes import check_model, evaluation
from actlens_torch._naming import Place, places
from actlens_torch._values import is_array

_BYPASSED = "the model may use its weights, or call .forward() itself, which no hook sees"


def layers(model: Any, /, *args: Any, **kwargs: Any) -> dict[str, LayerInfo]:
    """Give path → LayerInfo. With example arguments: every key in the order of the forward, with shapes.

    The forward is a dry one on fake tensors, which computes nothing; where the model needs values, it is
    a real one without gradients. Layers that it does not call come last, with a note.

    Raises:
        UnsupportedModel: the layers cannot be seen (torch.jit, torch.export), or this is no model.
    """
    module = check_model(model)
    found = {place.path: place for place in places(module)}
    if not args and not kwargs:
        return {
            path: LayerInfo(place.type, note=place.why_not or _hidden(place), aliases=place.aliases)
            for path, place in found.items()
        }
    report = _dry_report(module, args, kwargs)
    infos = {key: _known(info, found.get(key)) for key, info in report.layers.items()}
    for path, place in found.items():
        if path not in report.calls:
            why = place.why_not or _hidden(place) or _BYPASSED
            infos[path] = LayerInfo(place.type, note=f"never called: {why}", aliases=place.aliases)
        elif not _gave_arrays(path, report):
            infos[path] = LayerInfo(place.type, note="returned no tensor", aliases=place.aliases)
    return infos


def _hidden(place: Place) -> str:
    return "inside a torch.jit module, where no hook fires" if place.scripted else ""


def _known(info: LayerInfo, place: Place | None) -> LayerInfo:
    return dataclasses.replace(info, aliases=place.aliases) if place else info


def _gave_arrays(path: str, report: Report) -> bool:
    return any(key == path or key.startswith((f"{path}[", f"{path}:")) for key in report.layers)


class _Everything:
    """The selector of a dry run: the output of every layer that can be heard."""

    def __init__(self, hidden: set[str]) -> None:
        self._hidden = hidden

    def layer(self, name: str) -> bool:
        return not name.endswith(INPUT) and name not in self._hidden

    def wants(self, key: str) -> bool:
        return bool(key)

    def transform(self, key: str, array: Any) -> Any:
        del key
        return array

    def axes(self, key: str, axes: Axes | None) -> Axes | None:
        del key
        return axes


def _dry_report(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report:
    device = device_of(model)
    with evaluation(model), _untouched(model), torch.no_grad(), torch.random.fork_rng(_cuda(device)):
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        try:
            with fake:
                return _forward(model, *_example(fake, args, kwargs, device))
        except Exception:  # whatever the fake run met, the real run decides whether it is an error
            return _forward(model, *_example(None, args, kwargs, device))


def _forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report:
    select = _Everything({place.path for place in places(model) if place.scripted})
    tape = Tape(select, is_array=is_array, keep=_described)
    Ears(model, select).listen(tape, args, kwargs)
    report = tape.activations().report
    assert report is not None  # noqa: S101 - a tape always gives one
    return report


def _described(_key: str, tensor: Tensor) -> Any:
    """Keep only what describes a tensor: a real run must not hold every activation at once."""
    return SimpleNamespace(shape=() if tensor.is_nested else tuple(tensor.shape), dtype=tensor.dtype)


def _example(
    fake: FakeTensorMode | None, args: tuple[Any, ...], kwargs: dict[str, Any], device: torch.device | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copy the example: a model may write into it, e.g. into a cache of keys and values."""

    def example(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return copy.deepcopy(leaf)
        return fake.from_tensor(leaf.detach()) if fake else leaf.detach().clone()

    result: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map(example, moved((args, kwargs), device))
    return result


def _cuda(device: torch.device | None) -> list[torch.device]:
    return [device] if device is not None and device.type == "cuda" else []


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Take back what a forward writes onto modules, so that no fake tensor stays in a model's cache."""
    before = [(module, vars(module).copy(), _containers(module)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if buffer.device.type != "meta"]
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
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _containers(module: nn.Module) -> list[tuple[Any, Any]]:
    """Give the dicts, lists and sets that a module holds, each with a copy."""
    held = [value for value in vars(module).values() if isinstance(value, (dict, list, set))]
    return [(value, copy.copy(value)) for value in held]
