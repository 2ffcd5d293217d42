"""Flax Linen: modules are heard by an interceptor, values leave in the 'intermediates' collection.

The collection is the one that lifted transformations already know (`variable_axes={'intermediates': 0}`);
the names in it are our own, and are taken out again before anything is returned.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import flax.errors
import jax
from flax import linen as nn
from flax.core import scope as scopes

from actlens.activations import Activations, Layer, Selector
from actlens.errors import CaptureError, UncapturableValue, UnsupportedModel
from actlens_jax._apart import each_part_for_itself
from actlens_jax._around import noted
from actlens_jax._axes import axes_of
from actlens_jax._hearing import Hearing
from actlens_jax._memory import IN, INNER, MARK, OUT, Memory, Seen, Slot
from actlens_jax._played import NOT_PASSED_ON, Model, played
from actlens_jax._values import Shape

COLLECTION = "intermediates"

_SLOTS = frozenset({OUT, IN, OUT + INNER, IN + INNER, MARK})
_FIT = (
    flax.errors.ScopeParamNotFoundError,
    flax.errors.ScopeParamShapeError,
    flax.errors.ScopeCollectionNotFound,
)
_NUMBER = itertools.count()


class LinenEars:
    """Listens to a Linen module in one call of `apply`."""

    def __init__(self, select: Selector) -> None:
        self._select = select
        self._memory = Memory(select)
        # A part in nn.jit is compiled for what is mutable around it: a name of our own keeps it apart from
        # what was compiled for another selection, or for none.
        self._own = f"actlens-{next(_NUMBER)}"

    def apply(
        self,
        module: nn.Module,
        variables: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        rngs: Any = None,
    ) -> tuple[Any, Activations]:
        """Call `module.apply` once; give what it gives, and what was captured."""
        hearing = Hearing(self._memory)
        mutable = kwargs.get("mutable", False)
        if kwargs.get("capture_intermediates", False):
            mutable = scopes.union_filters(mutable, COLLECTION)
        wide = scopes.union_filters(mutable, [COLLECTION, self._own])
        given = {"rngs": rngs, **kwargs}
        try:
            with nn.intercept_methods(_Interceptor(hearing)), each_part_for_itself(self._own), noted.over():
                output, state = module.apply(variables, *args, **{**given, "mutable": wide})
        except _FIT as error:
            raise CaptureError.bad_variables(type(module).__name__, error) from error
        except (TypeError, ValueError) as error:
            if not hearing.sown or _fails_alone(module, variables, args, given):
                raise
            raise UncapturableValue.of(hearing.sown[-1], *NOT_PASSED_ON) from error
        sown: dict[str, dict[Slot, Any]] = defaultdict(dict)
        rest = _taken(state.get(COLLECTION, {}), "", sown)
        acts = played(self._select, hearing, sown, Model(_shapes_in(variables), _lost, {}))
        if mutable is False:
            return output, acts
        updates = {name: value for name, value in state.items() if name not in {COLLECTION, self._own}}
        if scopes.in_filter(mutable, COLLECTION) and (rest or COLLECTION in variables):
            updates[COLLECTION] = rest
        return (output, updates), acts


def _fails_alone(
    module: nn.Module, variables: Mapping[str, Any], args: tuple[Any, ...], given: dict[str, Any]
) -> bool:
    """Say whether the model fails without a capture too: then it is its own error."""
    try:
        module.apply(variables, *args, **given)
    except (TypeError, ValueError):
        return True
    return False


class _Interceptor:
    """Hears every `__call__` in one apply, but those of another apply that the model makes inside."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._under_way: list[nn.Module] = []
        self._root: nn.Module | None = None

    def __call__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if not module.path:
            return self._of_root(module, function, args, kwargs)
        path = ".".join(module.path)
        if module.scope is None or self._root is None:
            return function(*args, **kwargs)
        if context.method_name != "__call__":
            if context.method_name != "setup":
                self._hearing.other_method(path, context.method_name)
            return function(*args, **kwargs)
        if self._is_parents(module, context.orig_method):
            return function(*args, **kwargs)
        seen = Seen(Layer(path, type(module).__name__, axes_of(module, kwargs)), _shapes(module))
        self._under_way.append(module)
        try:
            with self._hearing.call(seen, _sow(module), args, kwargs) as returned:
                output = function(*args, **kwargs)
                returned.append(output)
        finally:
            self._under_way.pop()
        return output

    def _of_root(self, module: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model itself; a root in a root is another model, whose layers are not this one's."""
        before = self._root
        self._root = module if before is None or _is_same(module, before) else None
        try:
            return function(*args, **kwargs)
        finally:
            self._root = before

    def _is_parents(self, module: nn.Module, method: Any) -> bool:
        """Say whether this is `super().__call__` in a call of the same module."""
        own = getattr(type(module).__call__, "__qualname__", "")
        called = getattr(getattr(method, "func", method), "__qualname__", own)  # flax gives a partial
        return own != called and any(module.scope is other.scope for other in self._under_way)


def _is_same(module: nn.Module, root: nn.Module) -> bool:
    """Say whether two modules are the model itself: inside a transformation it is a clone of its class."""
    return module is root or type(module) is type(root)


def _sow(module: nn.Module) -> Callable[[Slot, dict[str, Any]], bool]:
    return lambda slot, payload: bool(module.sow(COLLECTION, slot, payload))


def _shapes(module: nn.Module) -> tuple[Shape, ...]:
    """Give the shapes of a module's own parameters, those of its children left out."""
    assert module.scope is not None  # noqa: S101 - an intercepted module is bound
    return _own_shapes(module.scope.variables().get("params", {}))


def _own_shapes(params: Mapping[str, Any]) -> tuple[Shape, ...]:
    return tuple(tuple(params[name].shape) for name in sorted(params) if hasattr(params[name], "shape"))


def _shapes_in(variables: Mapping[str, Any]) -> Callable[[str], tuple[Shape, ...]]:
    def shapes(path: str) -> tuple[Shape, ...]:
        params: Any = variables.get("params", {})
        for part in path.split("."):
            params = params.get(part, {}) if isinstance(params, Mapping) else {}
        return _own_shapes(params)

    return shapes


def _taken(state: Mapping[str, Any], path: str, sown: dict[str, dict[Slot, Any]]) -> dict[str, Any]:
    """Move what is ours from a collection to `sown`; give what is left."""
    rest = {}
    for name, value in state.items():
        if name in _SLOTS and isinstance(value, tuple):  # a layer may have such a name
            sown[path][name] = value
        elif isinstance(value, Mapping):
            below = f"{path}.{name}" if path else name
            if below in sown:  # a layer named "a.b", and the layer b in a
                raise CaptureError.same_key(below)
            inner = _taken(value, below, sown)
            if inner or not value:
                rest[name] = inner
        else:
            rest[name] = value
    return rest


def _lost(path: str) -> str:
    return (
        "it runs inside a transformation that drops what it was not told of; if that is nn.scan, nn.vmap or "
        f"nn.RNN, add variable_axes={{'{COLLECTION}': 0}} to it "
        f"(nn.scan(…, variable_axes={{'params': 0, '{COLLECTION}': 0}}), "
        f"nn.RNN(…, variable_axes={{'{COLLECTION}': 0}})); otherwise capture the layer around {path!r}"
    )


def is_bound(module: nn.Module) -> bool:
    """Say whether a module has its variables."""
    return module.scope is not None


def unbound(module: nn.Module) -> tuple[nn.Module, Any, dict[str, jax.Array]]:
    """Take a bound module apart: the module, its variables, its random number keys.

    Raises:
        UnsupportedModel: a call would change the bound variables, which a capture could not pass on.
    """
    assert module.scope is not None  # noqa: S101 - asked before
    if module.scope.mutable not in (False, [], ()):
        raise UnsupportedModel.hidden(
            f"this {type(module).__name__}",
            f"is bound with mutable={module.scope.mutable!r}: its calls change its variables",
            "Capture the module itself: capture(module, layers)(variables, x, mutable=[…]).",
        )
    rngs = {name: rng.as_jax_rng() for name, rng in module.scope.rngs.items()}
    plain, variables = module.unbind()
    return plain, variables, rngs
