"""Functions around the `call` of layers, for the time of one block."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

Call = Callable[..., Any]
Around = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""`around(call, args, kwargs)` gives what the layer returns; it calls `call` once."""

_NOTHING = object()


@contextlib.contextmanager
def around_calls(layers: list[tuple[Any, Around]]) -> Iterator[None]:
    """Put functions around the calls of layers while the block runs; the first for a layer is the outermost.

    They stand on the instance, set past Keras's own bookkeeping of attributes, and are removed on errors too.
    """
    undo: list[tuple[Any, str, Any]] = []
    try:
        for layer, around in reversed(layers):
            name = "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"
            call = getattr(layer, name)
            undo.append((layer, name, vars(layer).get(name, _NOTHING)))
            object.__setattr__(layer, name, _bound(call, around))
        yield
    finally:
        for layer, name, before in reversed(undo):
            if before is _NOTHING:
                object.__delattr__(layer, name)
            else:
                object.__setattr__(layer, name, before)


def _bound(call: Call, around: Around) -> Call:
    @functools.wraps(call)  # Keras reads the signature of `call`, also for its messages
    def called(*args: Any, **kwargs: Any) -> Any:
        return around(call, args, kwargs)

    return called
