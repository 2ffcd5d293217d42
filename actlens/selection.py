"""From `layers=` to a Selector: which layers to listen to, which of their values to keep, how.

A pattern is a glob over a key (see actlens.activations): `*` matches within one part of a dotted path,
`**` across parts, `?` one character. `:2` picks the second call, `[0]` a leaf, `@input` what goes in; a
pattern without them takes every call and every leaf of the output. `!` in front excludes. Of several
patterns that match, the last one decides, so that the special case follows the general one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from actlens.activations import Axes
from actlens.errors import BadTransform, NoLayerMatches, SelectionError
from actlens.fingerprint import function_text
from actlens.keys import INPUT, indexed
from actlens.transforms import EinopsTransform

Layers = str | Sequence[str] | Mapping[str, Any] | Callable[[str], bool]
"""What `layers=` takes: a pattern, a list of them, a dict pattern → transform, or a predicate on paths."""

_KEY = re.compile(r"(?P<path>.*?)(?::(?P<call>\d+))?(?P<input>@input)?(?P<leaf>(?:\[[^\[\]]*\])*)", re.DOTALL)
_WILDCARDS = {"**": r".*", "*": r"[^.]*", "?": r"[^.]"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """A key, or a pattern, taken apart."""

    path: str
    call: int | None
    input: bool
    leaf: str

    @classmethod
    def of(cls, text: str) -> _Key:
        match = _KEY.fullmatch(text)
        assert match is not None  # noqa: S101 - the expression matches every text
        call = match["call"]
        return cls(match["path"], int(call) if call else None, bool(match["input"]), match["leaf"])


_NUMBER = re.compile(r"[0-9?*]*[0-9][0-9?*]*|\*")
_MOST_STACKED = 1024  # so many layers of a loop are tried against a function before anything has run


class Pattern:
    """One glob of `layers=`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.excludes = text.startswith("!")
        self._part = _Key.of(text.removeprefix("!"))
        self._path = _glob(self._part.path)
        self._leaf = _glob(self._part.leaf, suffix=r"(?:\[.*)?")

    def whole_layer(self) -> bool:
        """Say whether it names a layer with all its calls and leaves."""
        return self._part.call is None and not self._part.leaf

    def layer(self, name: str) -> bool:
        """Say whether something of `path` or `path@input` can match."""
        path = name.removesuffix(INPUT)
        return self._side(is_input=path != name) and self._path.fullmatch(path) is not None

    def _side(self, *, is_input: bool) -> bool:
        """Say whether outputs, or inputs, are meant; what excludes a layer excludes its input too."""
        return self._part.input == is_input or (self.excludes and self.whole_layer() and is_input)

    def key(self, key: str) -> bool:
        """Say whether this one value matches."""
        part = _Key.of(key)
        return (
            self._side(is_input=part.input)
            and self._part.call in {None, part.call or 1}
            and self._path.fullmatch(part.path) is not None
            and self._leaf.fullmatch(part.leaf) is not None
        )


class _Predicate:
    """A function of the path in the place of a pattern; it is never asked about inputs."""

    excludes = False
    text = "the function given as layers="

    def __init__(self, function: Callable[[str], bool]) -> None:
        self._function = function

    def whole_layer(self) -> bool:
        return True

    def layer(self, name: str) -> bool:
        return not name.endswith(INPUT) and bool(self._function(name))

    def key(self, key: str) -> bool:
        part = _Key.of(key)
        return not part.input and bool(self._function(part.path))


class Selection:
    """The `Selector` that the core gives to an adapter."""

    def __init__(self, rules: Sequence[tuple[Pattern | _Predicate, Any]]) -> None:
        self._rules = rules
        self._decided: dict[str, tuple[Pattern | _Predicate, Any] | None] = {}

    @classmethod
    def of(cls, layers: Layers) -> Selection:
        """Read `layers=`; errors name what cannot be used."""
        if callable(layers):
            return cls([(_Predicate(layers), None)])
        if isinstance(layers, str):
            layers = [layers]
        if not isinstance(layers, Mapping):
            if not isinstance(layers, Iterable) or not all(isinstance(item, str) for item in layers):
                raise SelectionError.bad_type(layers)
            layers = dict.fromkeys(layers)
        rules = [(Pattern(text), _transform(text, given)) for text, given in layers.items()]
        if not rules:
            raise SelectionError.empty()
        if all(pattern.excludes for pattern, _ in rules):
            raise SelectionError.only_exclusions(pattern.text for pattern, _ in rules)
        return cls(rules)

    def layer(self, name: str) -> bool:
        """See Selector."""
        last = [
            rule for rule, _ in self._rules if (not rule.excludes or rule.whole_layer()) and rule.layer(name)
        ]
        return bool(last) and not last[-1].excludes

    def indices(self) -> Iterable[int]:
        """See Selector: those that the patterns name, one that a wildcard matches; many for a function."""
        if any(isinstance(rule, _Predicate) for rule, _ in self._rules):
            return range(_MOST_STACKED)
        named = (number for rule, _ in self._rules for number in _NUMBER.findall(rule.text))
        return sorted({0, *(int(number.replace("?", "0").replace("*", "0")) for number in named)})

    def wants(self, key: str) -> bool:
        """See Selector."""
        rule = self._deciding(key)
        return rule is not None and not rule[0].excludes

    def transform(self, key: str, array: Any) -> Any:
        """See Selector."""
        rule = self._deciding(key)
        function = rule[1] if rule else None
        if function is None:
            return array
        try:
            result = function(array)
        except Exception as error:
            raise BadTransform.failed(key, function, tuple(array.shape), error) from error
        left = isinstance(result, np.ndarray) and not isinstance(array, np.ndarray)  # of the framework
        if left or not hasattr(result, "shape") or not hasattr(result, "dtype"):
            raise BadTransform.not_an_array(key, function, result)
        return result

    def axes(self, key: str, axes: Axes | None) -> Axes | None:
        """See Selector: einops patterns name the axes, a function makes them unknown."""
        rule = self._deciding(key)
        function = rule[1] if rule else None
        if function is None:
            return axes
        return function.axes(axes) if isinstance(function, EinopsTransform) else None

    def describe(self) -> dict[str, str | None]:
        """Give pattern → transform as text, for the manifest."""
        return {rule.text: _text_of(given) for rule, given in self._rules}

    def check_names(self, model: str, names: Mapping[str, Iterable[str]], stacks: Iterable[str] = ()) -> None:
        """Refuse patterns that match none of the layers (name → its other names).

        `stacks` are layers that a call may split; a pattern that names a part of one is left to the call.
        """
        for rule, _ in self._rules:
            if not rule.excludes and not (
                _any(rule, names) or any(_any(rule, indexed(name, self.indices())) for name in stacks)
            ):
                if isinstance(rule, _Predicate):
                    raise NoLayerMatches.predicate(model, names)
                raise NoLayerMatches.of(model, rule.text, names, _alias_hint(rule, names))

    def check_keys(self, keys: Iterable[str], skipped: Iterable[str]) -> None:
        """Refuse patterns that match a layer, but none of the values that it gave."""
        keys = list(keys)
        for rule, _ in self._rules:
            if not rule.excludes and not any(rule.key(key) for key in keys):
                given = [key for key in [*skipped, *keys] if rule.layer(_layer_name(key))]
                raise NoLayerMatches.no_such_part(rule.text, given)

    def _deciding(self, key: str) -> tuple[Pattern | _Predicate, Any] | None:
        if key not in self._decided:  # asked several times for every value of every forward
            self._decided[key] = next((rule for rule in reversed(self._rules) if rule[0].key(key)), None)
        return self._decided[key]


def _any(rule: Pattern | _Predicate, names: Iterable[str]) -> bool:
    return any(rule.layer(name) or rule.layer(name + INPUT) for name in names)


def _layer_name(key: str) -> str:
    part = _Key.of(key)
    return part.path + (INPUT if part.input else "")


def _transform(text: str, given: Any) -> Any:
    if given is None or callable(given):
        return given
    if isinstance(given, str):
        return EinopsTransform(given)
    raise BadTransform.not_a_transform(text, given)


def _text_of(transform: Any) -> str | None:
    if transform is None or isinstance(transform, EinopsTransform):
        return None if transform is None else transform.pattern
    return function_text(transform)


def _alias_hint(rule: Pattern, names: Mapping[str, Iterable[str]]) -> str:
    for name, others in names.items():
        if any(rule.layer(other) for other in others):
            return (
                f"It is the same layer as {name!r}, whose calls are {name!r}, '{name}:2', …: use that name. "
            )
    return ""


def _glob(text: str, suffix: str = "") -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", text)
    return re.compile("".join(_WILDCARDS.get(part, re.escape(part)) for part in parts) + suffix, re.DOTALL)
