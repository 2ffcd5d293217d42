"""Einops patterns as transforms: applied to the framework's own array, and naming its axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import einops

from actlens.activations import Axes
from actlens.errors import BadTransform

_TOKEN = re.compile(r"\([^()]*\)|[^\s()]+|[()]")
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)
_ELLIPSIS = "..."


class EinopsTransform:
    """`"b c h w -> b c"`: rearranges, and averages over the axes that the right side leaves out.

    >>> EinopsTransform("b c h w -> b c").axes(("sample", "channel", "height", "width"))
    ('sample', 'channel')
    >>> EinopsTransform("b c h w -> b (c h w)").axes(("sample", "channel", "height", "width"))
    ('sample', 'channel*height*width')
    """

    def __init__(self, pattern: str) -> None:
        sides = pattern.split("->")
        if len(sides) != 2:
            raise BadTransform.bad_pattern(pattern, "it needs one '->'")
        self.pattern = pattern
        self._left, self._right = (_tokens(pattern, side) for side in sides)
        unknown = [name for name in _names(self._right) if name not in _names(self._left)]
        if unknown:
            raise BadTransform.bad_pattern(pattern, f"{unknown[0]!r} is on the right side only")

    def __call__(self, array: Any) -> Any:
        """Apply it; what is left out is averaged."""
        return einops.reduce(array, self.pattern, "mean")

    def __repr__(self) -> str:
        return self.pattern

    def axes(self, axes: Axes | None) -> Axes | None:
        """Name the axes of the result, from the names of the array's axes where they are known.

        Where they are not, the pattern's own letters are the names, and the first axis is the sample.
        """
        known = self._known(axes)
        result: list[str] = []
        for token in self._right:
            if token == _ELLIPSIS:
                if axes is None:
                    return None
                result.extend(known.get(_ELLIPSIS, ()))
            else:
                names = [known.get(name, (name,))[0] for name in _NAME.findall(token)]
                result.append("*".join(names) or f"axis{len(result)}")
        if axes is None and result:
            result[0] = "sample"
        return tuple(result) if len(set(result)) == len(result) else None

    def _known(self, axes: Axes | None) -> dict[str, Axes]:
        """Map the letters of the left side to the array's axes, from both ends of an ellipsis."""
        if axes is None or any(token.startswith("(") for token in self._left):
            return {}
        if _ELLIPSIS not in self._left:
            return {token: (name,) for token, name in zip(self._left, axes, strict=False)}
        before = self._left.index(_ELLIPSIS)
        after = len(self._left) - before - 1
        middle = axes[before : len(axes) - after]
        ends = [*zip(self._left[:before], axes, strict=False)]
        ends += [*zip(self._left[before + 1 :], axes[len(axes) - after :], strict=False)]
        return {_ELLIPSIS: middle, **{token: (name,) for token, name in ends}}


def _tokens(pattern: str, side: str) -> list[str]:
    tokens = _TOKEN.findall(side)
    for token in tokens:
        inner = token.strip("()").split() if token.startswith("(") else [token]
        if token in {"(", ")"} or not all(
            _NAME.fullmatch(name) or name in {_ELLIPSIS, "1"} for name in inner
        ):
            raise BadTransform.bad_pattern(pattern, f"{token!r} is not an axis")
    if not tokens:
        raise BadTransform.bad_pattern(pattern, "a side is empty")
    return tokens


def _names(tokens: Sequence[str]) -> list[str]:
    return _NAME.findall(" ".join(tokens))
