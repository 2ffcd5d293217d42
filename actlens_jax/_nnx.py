"""Flax NNX: `__call__` of each module's class is wrapped for the time of one call.

Each module gets a variable of our own for this time, and sows into it; a variable passes through nnx.jit,
nnx.scan, nnx.vmap and nnx.remat like any other state of the module. The wrapper is found through the whole
method resolution order: a subclass that inherits its `__call__` is heard too.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from flax import nnx
from flax.errors import TraceContextError

from actlens.activations import Activations, Layer, Selector
from actlens.errors import UncapturableValue
from actlens.keys import INPUT
from actlens_jax._around import noted
from actlens_jax._axes import axes_of
from actlens_jax._hearing import Hearing
from actlens_jax._memory import Memory, Seen, Slot
from actlens_jax._naming import places
from actlens_jax._played import NOT_PASSED_ON, Model, played
from actlens_jax._values import Shape

ATTRIBUTE = "to_nnx__actlens"
"""Where a module keeps what it sows during a call; behind it stands the number of the forward that listens.
nnx.bridge.ToNNX hands the attributes that do not begin with `to_nnx__` to the Linen module inside it."""

_REPLACED = "it was put there during the call; make all layers before it"
_MARK = "_actlens_wraps"
_NUMBER = itertools.count()
_LOCK = threading.RLock()  # classes belong to all threads: one call at a time is heard
_HEARD: dict[int, Hearing] = {}


class Sown(nnx.Intermediate[Any]):
    """The variable: slot → what each call of the module gave. `path` and `ears` say whose it is."""


class NNXEars:
    """Listens to an NNX module in one call of it."""

    def __init__(self, select: Selector) -> None:
        self._select = select
        self._memory = Memory(select)
        self._number = next(_NUMBER)
        self._attribute = f"{ATTRIBUTE}{self._number}"

    def call(
        self, model: nnx.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Activations]:
        """Call the model once; give its output, and what was captured."""
        here = _here(model)
        hearing = Hearing(self._memory)
        found = {place.path: place.module for place in places(here)}
        outside = {path: _shapes(module) for path, module in found.items()}
        try:
            output, sown, replaced = self._heard(here, hearing, found, args, kwargs)
        except (TypeError, ValueError) as error:
            if not hearing.sown_inside or _fails_alone(here, args, kwargs):
                raise
            raise UncapturableValue.of(hearing.sown_inside[-1], *NOT_PASSED_ON) from error
        if here is not model:
            _pass_on(here, model)
        model_here = Model(lambda path: outside.get(path, ()), _lost, self._expected(found, replaced))
        return output, played(self._select, hearing, sown, model_here)

    def _heard(
        self,
        model: Any,
        hearing: Hearing,
        found: Mapping[str, nnx.Module],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Any, dict[str, dict[Slot, Any]], list[str]]:
        """Call the model; give its output, what its modules sowed, and which were put there meanwhile."""
        nodes = {path: vars(module).get("_pytree__nodes") for path, module in found.items()}
        with _LOCK, _wrapped(found.values()), noted.over():
            _HEARD[self._number] = hearing
            try:
                for path, module in found.items():
                    setattr(module, self._attribute, Sown({}, ref=False, path=path, ears=self._number))
                output = model(*args, **kwargs)
                sown = {path: self._sown_by(module) for path, module in found.items()}
                new = [place.path for place in places(model) if found.get(place.path) is not place.module]
            finally:
                del _HEARD[self._number]
                for path, module in found.items():
                    _forget(module, self._attribute, nodes[path])
        return output, sown, new

    def _sown_by(self, module: nnx.Module) -> dict[Slot, Any]:
        # gone where another thread has put the model's state back
        variable = vars(module).get(self._attribute)
        return dict(variable.get_value()) if variable is not None else {}

    def _expected(self, found: Mapping[str, nnx.Module], replaced: Iterable[str]) -> dict[str, str]:
        names = itertools.chain(found, (path + INPUT for path in found))
        expected = {name: "" for name in names if self._memory.wants(name, inner=False)}
        put = {
            f"{path} (the new one)": _REPLACED for path in replaced if self._memory.wants(path, inner=False)
        }
        return expected | put


def _fails_alone(model: nnx.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether the model fails without a capture too: then it is its own error. A copy of it is called."""
    copy: Any = nnx.merge(*nnx.split(model))
    try:
        copy(*args, **kwargs)
    except (TypeError, ValueError):
        return True
    return False


@contextmanager
def _wrapped(found: Iterable[nnx.Module]) -> Iterator[None]:
    """Wrap the classes of modules, and give each back what it had."""
    undo: list[tuple[Any, Any]] = []
    try:
        for cls in {type(module) for module in found}:
            own = cls.__dict__.get("__call__")
            if not hasattr(own, _MARK):  # of a capture around this one
                undo.append((cls, own))
                _set(cls, _wrapper(cls))
        yield
    finally:
        for cls, own in undo:
            _set(cls, own)


def _set(cls: Any, call: Any) -> None:
    if call is None:
        del cls.__call__
    else:
        cls.__call__ = call


def _wrapper(cls: Any) -> Any:
    target = cls.__call__  # of the class itself, or inherited
    target = getattr(target, _MARK, target)  # a parent may be wrapped already

    @functools.wraps(target, updated=())
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self) is not cls:  # a subclass that calls super().__call__
            return target(self, *args, **kwargs)
        with ExitStack() as ears:  # several, where a forward runs inside of another
            heard = []
            for variable in [value for name, value in vars(self).items() if name.startswith(ATTRIBUTE)]:
                hearing = _HEARD.get(variable.ears)
                if hearing is not None and hearing.is_mine():
                    seen = Seen(Layer(variable.path, cls.__name__, axes_of(self, kwargs)), _shapes(self))
                    heard.append(ears.enter_context(hearing.call(seen, _sow(variable), args, kwargs)))
            output = target(self, *args, **kwargs)
            for returned in heard:
                returned.append(output)
        return output

    setattr(call, _MARK, target)
    return call


def _sow(variable: Any) -> Any:
    def sow(slot: Slot, payload: dict[str, Any]) -> bool:
        content = variable.get_value()
        try:
            variable.set_value({**content, slot: (*content.get(slot, ()), payload)})
        except TraceContextError:  # a copy that shares its variables with the model outside
            return False
        return True

    return sow


def _here(model: nnx.Module) -> nnx.Module:
    """Give the model itself, or its copy where a trace is under way that may not write on it."""
    state = getattr(model, "_pytree__state", None)
    if state is None or state.trace_state.is_valid():
        return model
    return nnx.merge(*nnx.split(model))


def _pass_on(copy: nnx.Module, model: nnx.Module) -> None:
    """Write back what a call changed; nnx refuses it where it would refuse the plain call."""
    before, after = (dict(nnx.to_flat_state(nnx.state(each))) for each in (model, copy))
    if any(after[path].get_value() is not before[path].get_value() for path in after):
        nnx.update(model, nnx.state(copy))


def _shapes(module: nnx.Module) -> tuple[Shape, ...]:
    held = vars(module)
    other = (nnx.RngState, nnx.Intermediate)
    params = (
        held[name]
        for name in sorted(held)
        if isinstance(held[name], nnx.Variable) and not isinstance(held[name], other)
    )
    return tuple(tuple(param.get_value().shape) for param in params if hasattr(param.get_value(), "shape"))


def _forget(module: nnx.Module, name: str, nodes: Any) -> None:
    """Take our name out of what a module remembers of its attributes."""
    vars(module).pop(name, None)
    now = vars(module).get("_pytree__nodes")
    if now is not None and nodes is not None and set(now) - set(nodes) == {name}:
        object.__setattr__(module, "_pytree__nodes", nodes)


def _lost(path: str) -> str:
    return (
        "it runs in a transformation that does not pass on what it gives; with nnx.scan and nnx.vmap, give "
        "nnx.Intermediate an axis (nnx.StateAxes({nnx.Intermediate: 0, ...: None}) instead of None); "
        "instead of nnx.merge inside jax.lax.scan, jax.vmap or jax.jit, use nnx.scan, nnx.vmap or nnx.jit "
        f"around {path!r}"
    )
