"""stop=True: end the forward after the last layer that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from actlens.activations import Tape
from actlens_torch._naming import distributed_by

if TYPE_CHECKING:
    from actlens_torch._capture import Ears

_REMEMBERED = 256  # kinds of input; beyond it, all are learned again


class Stopped(BaseException):
    """Leaves the model's forward. Not an Exception, so that the model's own handlers let it pass."""


class StopPlan:
    """Learns, for each kind of input, which layers fire; later ends the forward when all have.

    A layer whose number of calls depends on the values of the input is outside of what this can see: it
    is heard until every layer has fired once.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[frozenset[str], str]] = {}

    def run(
        self, ears: Ears, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[None, tuple[str, ...]]:
        """Call the model as far as it is needed; the output is None, so that no call differs from another."""
        why = why_in_full(ears.model)
        if why:
            _, notes = ears.listen(tape, args, kwargs)
            return None, (*notes, f"stop=True: the forward ran in full, because {why}")
        try:
            kind = (ears.model.training, signature(args), signature(kwargs))
        except Unknown as unknown:
            _, notes = ears.listen(tape, args, kwargs)
            what = f"an argument is {unknown}, whose content may decide which layers fire"
            return None, (*notes, f"stop=True: the forward ran in full, because {what}")
        needed, why = self._known.get(kind, (None, ""))
        if needed is None:
            return None, self._learn(kind, ears, tape, args, kwargs)
        waiting = set(needed)

        def fired(name: str) -> None:
            waiting.discard(name)
            if not waiting:
                raise Stopped

        _, notes = ears.listen(tape, args, kwargs, None if why else fired)
        return None, (*notes, why) if why else notes

    def _learn(
        self, kind: object, ears: Ears, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, ...]:
        calls: dict[str, int] = {}

        def fired(name: str) -> None:
            calls[name] = calls.get(name, 0) + 1

        _, notes = ears.listen(tape, args, kwargs, fired)
        often = next((name for name, count in calls.items() if count > 1), None)
        why = (
            f"stop=True: every forward runs in full, because {often!r} is called more than once"
            if often
            else ""
        )
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[kind] = (frozenset(calls), why)
        return (*notes, why or "stop=True: the first forward ran in full to learn which layers fire")


def why_in_full(model: nn.Module) -> str:
    """Say why a model must not be stopped half way; empty where it may be."""
    for module in model.modules():
        if name := distributed_by(module):
            return f"{name} needs every process to finish it"
        if getattr(module, "_forward_hooks_always_called", None):
            return f"a hook of {type(module).__name__} is registered with always_call=True"
    return ""


class Unknown(Exception):
    """An argument whose content cannot be told from another's; its text says which type."""


def signature(value: Any) -> object:
    """Give what decides the path through a model: shapes, dtypes, devices, and plain values.

    One number on the host counts by its value: it is a count of steps as often as data.

    >>> import torch
    >>> signature((torch.zeros(2, 3), True))
    (((2, 3), torch.float32, device(type='cpu')), ('bool', True))
    >>> signature(torch.tensor(3))
    ((), torch.int64, device(type='cpu'), 3)

    Raises:
        Unknown: an object that may hold anything, e.g. a config.
    """
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, (np.ndarray, np.generic)):
        what: tuple[object, ...] = ("numpy", value.shape, value.dtype.str)
        if value.dtype.hasobject or value.dtype.names:
            raise Unknown(f"a numpy array of {value.dtype}")
        return (*what, value.item()) if value.size == 1 else what
    if isinstance(value, Mapping):
        return tuple((key, signature(item)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(signature(item) for item in value)
    if value is None or isinstance(value, (int, float, complex, str, bytes, torch.dtype, torch.device)):
        return value if value is None or type(value) in {int, str} else (type(value).__name__, value)
    raise Unknown(f"a {type(value).__module__}.{type(value).__qualname__}")


def _of_tensor(tensor: Tensor) -> object:
    if tensor.is_nested:
        raise Unknown("a nested tensor")
    what = (tuple(tensor.shape), tensor.dtype, tensor.device)
    if tensor.numel() != 1 or tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return what
    try:
        return (*what, tensor.item())
    except RuntimeError as error:  # inside vmap, or without values
        raise Unknown("a tensor whose value cannot be read") from error
