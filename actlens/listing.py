"""layers() with an example: one line for each captured key, then those of the layers that gave none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from actlens.activations import Axes, LayerInfo, Report
from actlens.keys import INPUT


class Everything:
    """The selector of `layers()`: what every layer returns, but for those that cannot be heard."""

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        self._hidden = hidden

    def layer(self, name: str) -> bool:
        """See Selector."""
        return not name.endswith(INPUT) and not any(_is_part(name, path) for path in self._hidden)

    def indices(self) -> Iterable[int]:
        """See Selector."""
        return (0,)

    def wants(self, key: str) -> bool:
        """See Selector."""
        return bool(key)

    def transform(self, key: str, array: Any) -> Any:
        """See Selector."""
        del key
        return array

    def axes(self, key: str, axes: Axes | None) -> Axes | None:
        """See Selector."""
        del key
        return axes


def _is_part(name: str, path: str) -> bool:
    """Say whether a name is a layer's, or that of one of the layers which it may be split into.

    >>> _is_part("layers.2.fc", "layers.fc"), _is_part("layers.fc", "layers.fc"), _is_part("fc", "layers.fc")
    (True, True, False)
    """
    wanted = path.split(".")
    for part in name.split("."):
        if wanted and part == wanted[0]:
            del wanted[0]
        elif not part.isdigit():
            return False
    return not wanted


def listing(
    report: Report, known: Mapping[str, LayerInfo], *, why_not: Mapping[str, str], nothing: str = "array"
) -> dict[str, LayerInfo]:
    """Give key → LayerInfo of one forward.

    `known` has the type, aliases and note of each layer that is known without a forward; `why_not` says of a
    layer that was not called why, where the report does not; `nothing` is the framework's word for an array.
    """
    infos = {key: _known(info, known.get(_path(key))) for key, info in report.layers.items()}
    for path in dict.fromkeys([*known, *report.never_fired, *report.calls]):
        here = known.get(path, LayerInfo(""))
        if path not in report.calls:
            why = report.never_fired.get(path) or why_not.get(path, "")
            why = why.partition(";")[0]  # the cure is in the error
            infos[path] = dataclasses.replace(here, note=f"never called: {why}" if why else "never called")
        elif not any(_path(key) == path for key in infos):
            infos[path] = dataclasses.replace(here, note=f"returned no {nothing}")
    return {key: dataclasses.replace(info, may_be_stack=False) for key, info in infos.items()}


def _known(info: LayerInfo, known: LayerInfo | None) -> LayerInfo:
    return dataclasses.replace(info, note=known.note, aliases=known.aliases) if known else info


def _path(key: str) -> str:
    return re.split(r"[:\[]", key)[0]
