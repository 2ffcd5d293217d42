"""Switches that decide whether hooks fire: compilation, the attention fast path, train and eval."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from actlens.errors import UnsupportedModel
from actlens.turns import Switch


def check_model(model: Any) -> nn.Module:
    """Give the model if hooks on its layers can fire.

    Raises:
        UnsupportedModel: scripted, traced, exported, or not a model at all.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise scripted("this model")
    if isinstance(model, nn.Module):
        return model
    if type(model).__name__ == "ExportedProgram":
        raise UnsupportedModel.hidden(
            "an ExportedProgram",
            "is a flat graph without layers",
            "Restore them: actlens.capture(torch.export.unflatten(program), …).",
        )
    raise UnsupportedModel.hidden(
        f"a {type(model).__module__}.{type(model).__qualname__}",
        "is not a model",
        "Give the torch.nn.Module whose layers you want.",
    )


def scripted(what: str) -> UnsupportedModel:
    """Give the error for a layer, or a model, that runs outside of Python."""
    return UnsupportedModel.hidden(
        what,
        "is a torch.jit module (traced or scripted), whose layers run outside of Python, where no hook fires",
        "Capture the model as it was before torch.jit.trace or torch.jit.script.",
    )


def being_compiled() -> bool:
    """Say whether a torch.compile further up would compile what is called from here."""
    if "torch._dynamo" not in sys.modules:
        return False
    frames = sys.modules.get("torch._C._dynamo.eval_frame")  # private, and absent in some builds
    ask = getattr(frames, "get_eval_frame_callback", None)
    return ask is not None and callable(ask())


@contextlib.contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Run compiled models and functions eagerly: compiled code keeps no account of new hooks.

    The switch is torch's, for the whole process: a compiled model that another thread runs meanwhile is
    slower for as long.
    """
    if "torch._dynamo" not in sys.modules:  # then nothing can have been compiled
        yield
    elif hasattr(torch.compiler, "set_stance"):
        with _EAGER.over():
            yield
    else:
        refuse_compiled(model)
        yield


def refuse_compiled(model: nn.Module) -> None:
    """Refuse compiled modules under a torch (< 2.6) that cannot run them eagerly for once."""
    for module in model.modules():
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None):
            raise UnsupportedModel.hidden(
                f"a compiled {type(module).__name__}",
                "cannot be run eagerly by this version of torch, and hooks do not fire in compiled code",
                "Upgrade to torch >= 2.6, or capture the model as it was before torch.compile.",
            )


@contextlib.contextmanager
def slow_path() -> Iterator[bool]:
    """Let MultiheadAttention and TransformerEncoder call their layers instead of one fused kernel.

    The switch is torch's, for the whole process: attention that another thread runs meanwhile is slower.
    Gives whether the fast path was on.
    """
    with _SLOW.over() as was_on:
        yield was_on


def _slow() -> bool:
    was: bool = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    return was


def _force_eager() -> Any:
    stance = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return stance


_SLOW = Switch(_slow, torch.backends.mha.set_fastpath_enabled)
_EAGER = Switch(_force_eager, lambda stance: stance.__exit__(None, None, None))


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Set every module to eval, and give each its own flag back.

    By attribute: `.eval()` does more in some libraries (LoRA layers merge their weights there).
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, flag in flags:
            if flag:  # setting an attribute of a module is slow
                module.training = False
        yield
    finally:
        for module, flag in flags:
            if module.training != flag:
                module.training = flag
