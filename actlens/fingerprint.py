"""Fingerprints, by which a recording that is gone on with knows another model or another function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from actlens.backend import Backend, backend_of

_SIMPLE = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
_DEEPEST = 12  # how far one value is followed into another
_LIBRARIES = re.compile(r"^<frozen|[/\\]lib[/\\]python3|[/\\](site|dist)-packages[/\\]")
_PASSING = re.compile("^__|^training$|hook|^_buffers$")  # attributes that training or a capture changes
_ARRAYS = {"ndarray", "Tensor", "ArrayImpl", "EagerTensor"}
_LONGEST = 1000
_Inner = Callable[[Any], str]


def weights_fingerprint(backend: Backend, model: Any) -> str | None:
    """Give a digest of a few values of each parameter: 16 hex digits; None where the adapter gives none."""
    sample: Callable[[Any], Iterable[npt.NDArray[Any]]] | None = getattr(backend, "weights", None)
    arrays = list(sample(model)) if sample is not None else []
    if not arrays:
        return None
    state = xxhash.xxh3_64()
    for array in arrays:
        state.update(f"{array.dtype.name} {array.shape} ".encode())
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def function_fingerprint(function: Any) -> str:
    """Give a digest of what a function does, as far as can be told without running it.

    Of a function that is its code, defaults, and the values that it takes from around it; of a partial, a
    method or a callable object also what it is bound to; of what is compiled, its name. Functions are
    followed, arrays count by their values, other objects by their attributes.

    >>> a, b = function_fingerprint(lambda x: x + 1), function_fingerprint(lambda x: x + 2)
    >>> len(a), a == b
    (8, False)
    """
    return xxhash.xxh3_64_hexdigest(_text(function, ()).encode(errors="surrogatepass"))[:8]


def function_text(function: Any) -> str:
    """Name a function for the manifest, with its fingerprint."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"function {name} ({function_fingerprint(function)})"


def _text(value: Any, above: tuple[int, ...]) -> str:
    """Say what a value is, the same in every process. `above`: the objects that it was found in."""
    if isinstance(value, _SIMPLE):
        return repr(value)
    if id(value) in above or len(above) > _DEEPEST:
        return _name(value)

    def inner(part: Any) -> str:
        return _text(part, (*above, id(value)))

    for kinds, say in _SAYS:
        if isinstance(value, kinds):
            return say(value, inner)
    return _array_text(value) or _object_text(value, inner)


def _set_text(values: Iterable[Any], inner: _Inner) -> str:
    return f"set({', '.join(sorted(map(inner, values)))})"


def _mapping_text(values: Mapping[Any, Any], inner: _Inner) -> str:
    return f"{type(values).__name__}({', '.join(f'{inner(key)}: {inner(values[key])}' for key in values)})"


def _code_text(code: CodeType, inner: _Inner) -> str:
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {[inner(one) for one in code.co_consts]}"


def _function_text(function: FunctionType, inner: _Inner) -> str:
    compiled = getattr(function, "_torchdynamo_orig_callable", None)  # by torch.compile
    if compiled is not None:
        return inner(compiled)
    if _LIBRARIES.search(function.__code__.co_filename):
        return _name(function)
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    used = {
        name: inner(function.__globals__[name])
        for name in sorted(_names(function.__code__))
        if name in function.__globals__
    }
    around = [function.__defaults__, function.__kwdefaults__, cells]
    return f"{inner(function.__code__)} {[inner(part) for part in around]} {used}"


def _names(code: CodeType) -> set[str]:
    inside = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inside)


def _array_text(value: Any) -> str:
    """Give dtype, shape and a digest of an array; nothing of what is none."""
    if not (hasattr(value, "dtype") and hasattr(value, "shape")) or isinstance(value, type):
        return ""
    text = f"{type(value).__name__} {value.dtype} {tuple(value.shape)}"
    if type(value).__name__ not in _ARRAYS:  # a parameter, which training changes
        return text
    try:
        array = value if isinstance(value, np.ndarray) else backend_of(value).fetch({"": value})()[""]
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return f"{text} {xxhash.xxh3_64_hexdigest(raw.data)}"
    except Exception:  # traced, on no device, of objects: its kind must do
        return text


def _object_text(value: Any, inner: _Inner) -> str:
    """Name what is compiled, a class or a module; of an object give its class and attributes."""
    if isinstance(value, ModuleType):
        return value.__name__
    compiled = getattr(value, "_orig_mod", None)  # by torch.compile
    if compiled is not None:
        return inner(compiled)
    state = getattr(value, "__dict__", None)
    if not callable(value):
        text = repr(value)
        return _name(value) if " at 0x" in text or len(text) > _LONGEST else text
    if isinstance(value, type) or not isinstance(state, dict):
        return _name(value)
    wrapped = getattr(value, "__wrapped__", None)  # of what a decorator such as jax.jit made
    methods = [inner(part) for part in vars(type(value)).values() if isinstance(part, FunctionType)]
    plain = {name: inner(part) for name, part in sorted(state.items()) if not _PASSING.search(name)}
    return f"{_name(value)} {methods} {inner(wrapped)} {plain}"


def _name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return f"{kind.__module__}.{kind.__qualname__} {name}"


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


_SAYS: tuple[tuple[Any, Callable[[Any, _Inner], str]], ...] = (
    ((tuple, list), lambda value, inner: f"{type(value).__name__}({', '.join(map(inner, value))})"),
    ((set, frozenset), _set_text),
    (Mapping, _mapping_text),
    (CodeType, _code_text),
    (FunctionType, _function_text),
    (MethodType, lambda value, inner: f"{inner(value.__func__)} of {inner(value.__self__)}"),
    (partial, lambda value, inner: f"partial {inner([value.func, value.args, value.keywords])}"),
)
