"""Functions around the `call` of layers, for the time of one block."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

Call = Callable[..., Any]
Around = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""`around(call, args, kwargs)` gives what the layer returns; it calls `call` once."""

_NOTHING = object()
_MARK = "_actlens_heard"
_changing = threading.Lock()


@contextlib.contextmanager
def around_calls(layers: list[tuple[Any, Around]]) -> Iterator[None]:
    """Put functions around the calls of layers while the block runs; the first for a layer is the outermost.

    They stand on the instance, set past Keras's own bookkeeping of attributes, and are removed on errors too.
    Blocks may end in any order: two models in two threads may share a layer.
    """
    done: list[tuple[_Heard, Around]] = []
    try:
        for layer, around in reversed(layers):
            done.append((_put(layer, around), around))
        yield
    finally:
        for heard, around in done:
            _take_away(heard, around)


@dataclasses.dataclass(eq=False)
class _Heard:
    """The one function on a layer, and all that is around it at the moment, the outermost first."""

    layer: Any
    name: str
    call: Call
    before: Any
    arounds: list[Around] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        @functools.wraps(self.call)  # Keras reads the signature of `call`, also for its messages
        def called(*args: Any, **kwargs: Any) -> Any:
            call = self.call
            for around in reversed(self.arounds):
                call = _inside(around, call)
            return call(*args, **kwargs)

        setattr(called, _MARK, self)
        self.function = called


def _inside(around: Around, call: Call) -> Call:
    return lambda *args, **kwargs: around(call, args, kwargs)


def _put(layer: Any, around: Around) -> _Heard:
    name = "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"
    with _changing:
        before = vars(layer).get(name, _NOTHING)
        heard: _Heard | None = getattr(before, _MARK, None)
        if heard is None or heard.function is not before:  # somebody else's, maybe around one of ours
            heard = _Heard(layer, name, getattr(layer, name), before)
            object.__setattr__(layer, name, heard.function)
        heard.arounds = [around, *heard.arounds]
    return heard


def _take_away(heard: _Heard, around: Around) -> None:
    with _changing:
        rest = list(heard.arounds)
        rest.remove(around)
        heard.arounds = rest
        if rest or vars(heard.layer).get(heard.name) is not heard.function:
            return  # still in use, or inside of what somebody else has put there since
        if heard.before is _NOTHING:
            object.__delattr__(heard.layer, heard.name)
        else:
            object.__setattr__(heard.layer, heard.name, heard.before)
