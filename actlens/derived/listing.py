"""Which results lie with a recording, and whether they are of it as it is now."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from actlens.derived.key import Provenance
from actlens.errors import CorruptBundle, ReadFailed, UnsupportedFormat, seen_in_bundle, what_was_seen
from actlens.format.bundle import check_bundle, read_head
from actlens.format.place import DERIVED, RESULT

_TELLING = ("method", "n_components", "by", "align", "labels", "random_state")
_SHORT = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Derived:
    """One result that lies with a recording.

    Attributes:
        file: relative to the recording, with '/'.
        kind: "embedding", "stats" and so on.
        layers: the keys of the layers that it is of.
        parameters: what it was computed with; arrays by their digest.
        created: when, in UTC (ISO 8601).
        bytes: the size of the file.
        current: whether the recording has the same shards still; where not, or where that cannot be known,
            it is read no more, and `gc` removes it.
        problem: what is wrong with the file; "" where nothing is.
        readable: whether the system gave the file, and this version knows it.
    """

    file: str
    kind: str
    layers: tuple[str, ...] = ()
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    created: str = ""
    bytes: int = 0
    current: bool = False
    problem: str = ""
    readable: bool = True

    @property
    def state(self) -> str:
        """'current', 'stale', or what is wrong."""
        return self.problem or ("current" if self.current else "stale")

    @property
    def summary(self) -> str:
        """The parameters in one short line."""
        # What is mostly given comes first: the line is cut, and defaults tell results apart last.
        given = sorted(self.parameters, key=lambda name: name not in _TELLING)
        known = {name: self.parameters[name] for name in given if self.parameters[name] is not None}
        said = ", ".join(f"{name}={value}" for name, value in known.items())
        return said if len(said) <= _SHORT else f"{said[: _SHORT - 1]}…"


def listed(folder: Path, recording: str | None, *, whole: bool = False) -> tuple[Derived, ...]:
    """List the results in a recording's folder; other names, and links, are none.

    Args:
        folder: the recording.
        recording: the fingerprint of its shards; None where that is not known.
        whole: compare all their bytes with their digests, not the headers alone.
    """
    return tuple(
        _described(folder, name, recording, whole=whole)
        for name in result_names(folder)
        if RESULT.fullmatch(name)
    )


def result_names(folder: Path) -> list[str]:
    """Name all that lies in `derived/`, where that is a folder and no link."""
    root = folder / DERIVED
    try:
        if not stat.S_ISDIR(os.lstat(root).st_mode):
            return []
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []


def _described(folder: Path, name: str, recording: str | None, *, whole: bool) -> Derived:
    path = folder / DERIVED / name
    blank = Derived(f"{DERIVED}/{name}", name[: -len("-.safetensors") - 32], bytes=_size(path))
    try:
        head = check_bundle(path) if whole else read_head(path)
        source = msgspec.convert(head.about.get("derived"), Provenance)
        if name != f"{source.kind}-{source.key}.safetensors" or head.kind != source.kind:
            raise CorruptBundle.of(path, "it was renamed")
    except ReadFailed as error:
        return dataclasses.replace(blank, problem=what_was_seen(error), readable=False)
    except UnsupportedFormat as error:
        return dataclasses.replace(blank, problem=what_was_seen(error), readable=False)
    except CorruptBundle as error:
        return dataclasses.replace(blank, problem=f"damaged: {seen_in_bundle(error)}")
    except msgspec.MsgspecError as error:
        return dataclasses.replace(blank, problem=f"damaged: it does not say what it is of ({error})")
    return dataclasses.replace(
        blank,
        layers=source.layers,
        parameters=source.parameters,
        created=source.created,
        current=recording is not None and source.recordings[:1] == (recording,),
    )


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
