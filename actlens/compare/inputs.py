"""What goes into a layer, as far as it was recorded: under its own name, or as what was computed before
it.
"""

from __future__ import annotations

from collections.abc import Iterable

from actlens.keys import INPUT

_BEFORE = 3  # layers before it that may be its input: branches run one after the other


def inputs_of(name: str, differs: dict[str, bool]) -> list[str] | None:
    """Name the layers that may be what goes into a layer, the likeliest first; none of them differs.

    `differs` says it of each layer before this one, in the order of the forward. None where something that
    goes in
    differs, or may: then the layer itself may be right. Of the first that differs nothing before it does.

    >>> inputs_of("fc", {"conv": False, "relu": False}), inputs_of("fc", {"relu": False, "fc@input": False})
    (['relu', 'conv'], ['fc@input'])
    >>> inputs_of("fc", {"relu": True}), inputs_of("fc", {"relu": True, "fc@input": False})
    (None, ['fc@input'])
    """
    own = _own(name, differs)
    if own:
        return None if any(differs[key] for key in own) else own
    if differs and differs[next(reversed(differs))]:
        return None
    return [key for key in reversed(differs) if not differs[key]][:_BEFORE]


def _own(name: str, keys: Iterable[str]) -> list[str]:
    key = name.partition("[")[0] + INPUT
    return [each for each in keys if each == key or each.startswith(key + "[")]
