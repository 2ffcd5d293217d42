"""capture(): hooks for the time of one call."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from actlens.activations import Activations, Layer, Selector, Tape
from actlens.backend import Forward
from actlens.keys import INPUT, arguments
from actlens.stopping import Stopped, StopPlan
from actlens_torch._axes import axes_of
from actlens_torch._modes import being_compiled, check_model, eager, scripted, slow_path
from actlens_torch._naming import Place, places
from actlens_torch._padding import refuse_packing
from actlens_torch._stop import of_tensor, why_in_full
from actlens_torch._threads import turn_of
from actlens_torch._values import Keeper, is_array, opened

_SLOW_PATH_NOTE = (
    "the fast path of MultiheadAttention/TransformerEncoder was off for this call, because it does not call "
    "the layers inside; results can differ from it in the last bits"
)


def capture(model: Any, select: Selector, /, *, stop: bool = False) -> Forward:
    """Give a forward that calls the model once, unchanged, and captures what `select` asks for.

    Hooks are on the model only during the call. Compiled modules run eagerly in it. With `stop`, the
    first call for each kind of input runs in full and learns what fires; later ones end there.

    Raises:
        UnsupportedModel: the layers cannot be seen (torch.jit, torch.export), or this is no model.
    """
    ears = Ears(check_model(model), select)
    plan = StopPlan() if stop else None

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        keeper = Keeper(select)
        tape = Tape(select, is_array=is_array, keep=keeper.keep)
        if plan is None:
            output, notes = ears.listen(tape, args, kwargs)
        else:
            output = None  # also where the forward runs in full: no call differs from another
            given = (ears.model.training, args, kwargs)
            notes = plan.run(
                lambda fired: ears.listen(tape, args, kwargs, fired)[1],
                given,
                of_array=of_tensor,
                why_in_full=why_in_full(ears.model),
            )
        return output, tape.activations(*notes, finish=keeper.finish)

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, Activations]:
        # Inside somebody's torch.compile the call breaks the graph and runs eagerly as a whole: a compiled
        # model that is found in the cache would call no hooks.
        if torch.compiler.is_compiling() or being_compiled():
            return torch.compiler.disable(run)(*args, **kwargs)  # type: ignore[no-any-return, no-untyped-call]
        return run(*args, **kwargs)

    return forward


class Ears:
    """The layers of a model that a selector listens to, and one call of the model with hooks on them.

    `same`: refuse a call whose output would differ from the model's own; False where only shapes matter.
    """

    def __init__(self, model: nn.Module, select: Selector, *, same: bool = True) -> None:
        self.model = model
        self._select = select
        self._same = same
        self._turn = turn_of(model)
        self._seen: list[tuple[str, nn.Module]] = []
        self._outputs: list[Place] = []
        self._inputs: list[Place] = []
        self._look()

    def _look(self) -> None:
        """Find the layers again if the model's modules, or their names, are others than last time."""
        modules = list(self.model.named_modules())
        if len(modules) == len(self._seen) and all(map(_same, modules, self._seen)):
            return
        found = places(self.model)
        self._outputs = [place for place in found if self._select.layer(place.path)]
        self._inputs = [place for place in found if self._select.layer(place.path + INPUT)]
        for place in [*self._outputs, *self._inputs]:
            if place.scripted:
                raise scripted(f"layer {place.path!r}")
        self._seen = modules

    def listen(
        self,
        tape: Tape,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fired: Callable[[str], None] | None = None,
    ) -> tuple[Any, tuple[str, ...]]:
        """Call the model once; give its output, and notes for the report.

        `fired(name)` is called after each `path` or `path@input`; with Stopped it ends the call. A second
        thread waits for the end of it: hooks that come and go during a call break it.
        """
        with self._turn:
            return self._listen(tape, args, kwargs, fired)

    def _listen(
        self,
        tape: Tape,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fired: Callable[[str], None] | None,
    ) -> tuple[Any, tuple[str, ...]]:
        self._look()
        for place in self._outputs:
            tape.expect(place.path, place.why_not)
        for place in self._inputs:
            tape.expect(place.path + INPUT, place.why_not)
        slow = next((place.path for place in [*self._outputs, *self._inputs] if place.fast_path), None)
        moment = _Moment(fired)
        try:
            output = self._call(tape, args, kwargs, moment, slow)
        except Stopped:
            output = None
        elsewhere = moment.elsewhere()
        for name, why in elsewhere.items():
            tape.expect(name, why)
        notes = [_SLOW_PATH_NOTE] if slow else []
        notes += [f"{name}: {why}; call it in the thread of the forward" for name, why in elsewhere.items()]
        return output, tuple(notes)

    def _call(
        self, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any], moment: _Moment, slow: str | None
    ) -> Any:
        """Call the model once; `slow`: a layer for which the fast path of attention has to be off."""
        handles: list[Any] = []
        try:
            for place in self._inputs:
                hook = _input_hook(tape, _layer(place), moment)
                handles.append(place.module.register_forward_pre_hook(hook, with_kwargs=True))
            for place in self._outputs:
                hook = _output_hook(tape, _layer(place), moment)
                handles.append(place.module.register_forward_hook(hook, with_kwargs=True))
            with (
                eager(self.model),
                slow_path() if slow else contextlib.nullcontext(enter_result=False) as was_fast,
            ):
                if slow and was_fast and self._same:
                    handles += self._refuse_packing(slow)
                return _callee(self.model)(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()

    def _refuse_packing(self, layer: str) -> list[Any]:
        encoders = [module for _, module in self._seen if isinstance(module, nn.TransformerEncoder)]
        return [e.register_forward_pre_hook(refuse_packing(layer), with_kwargs=True) for e in encoders]


class _Moment:
    """When a hook counts: in the thread of the call, and not when backward computes a region again."""

    def __init__(self, fired: Callable[[str], None] | None) -> None:
        self._fired = fired
        self._thread = threading.get_ident()
        self._backward = _backward_id()
        self._elsewhere: list[str] = []

    def counts(self, name: str) -> bool:
        """Say whether what fires now belongs to this forward; remember what another thread calls."""
        backward = _backward_id()
        if threading.get_ident() == self._thread:
            return backward == self._backward
        if backward == -1:  # threads of a backward compute what this forward has already given
            self._elsewhere.append(name)
        return False

    def elsewhere(self) -> dict[str, str]:
        """Give for each `path` or `path@input` how often another thread called it, in words."""
        return {
            name: f"{count} {'call' if count == 1 else 'calls'} from another thread not captured"
            for name, count in Counter(self._elsewhere).items()
        }

    def fired(self, name: str) -> None:
        """Pass on that a layer was taken down."""
        if self._fired is not None:
            self._fired(name)


def _backward_id() -> int:
    ask = getattr(torch._C, "_current_graph_task_id", None)  # private; -1 outside of a backward
    return int(ask()) if ask is not None else -1


def _input_hook(tape: Tape, layer: Layer, moment: _Moment) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if moment.counts(layer.path + INPUT):
            tape.input(layer, opened(arguments(args, kwargs, is_array)))
            moment.fired(layer.path + INPUT)

    return hook


def _output_hook(tape: Tape, layer: Layer, moment: _Moment) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        if moment.counts(layer.path):
            tape.output(layer, opened(output))
            moment.fired(layer.path)

    return hook


def _layer(place: Place) -> Layer:
    return Layer(place.path, place.type, axes_of(place.module, token_first=place.token_first))


def _callee(model: nn.Module) -> nn.Module:
    """Step out of DataParallel: its replicas run in threads, each with a part of the batch."""
    while isinstance(model, nn.DataParallel):
        model = model.module
    return model


def _same(a: tuple[str, nn.Module], b: tuple[str, nn.Module]) -> bool:
    return a[1] is b[1] and a[0] == b[0]
