"""What a result is of: by which its file is found, and what the file says of itself."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
import numpy as np

from actlens._version import __version__
from actlens.format.digests import hex128
from actlens.format.dtypes import code_of
from actlens.format.local import LocalPlace
from actlens.format.place import DERIVED

if TYPE_CHECKING:
    from actlens.layer_array import LayerArray


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result comes from; the JSON `derived` in its file, field for field.

    `inputs` are the fingerprints of the layers, `recordings` those of all the shards of their recordings; the
    file lies with the first.
    """

    key: str
    kind: str
    format: int
    layers: tuple[str, ...]
    inputs: tuple[str, ...]
    recordings: tuple[str, ...]
    parameters: dict[str, Any]
    versions: dict[str, str]
    created: str = ""
    bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where a result lies, or would: a file in the folder `derived` of a local recording.

    `checked` says whether what it is computed from is compared with its digests: what is not, may be wrong,
    and must not be believed by those who ask for checks.
    """

    folder: Path
    source: Provenance
    checked: bool

    @property
    def file(self) -> Path:
        """The file."""
        return self.folder / f"{self.source.kind}-{self.source.key}.safetensors"


class _Unnamed(Exception):
    """A value that no text tells from all others."""


def target_of(
    layers: Sequence[object],
    kind: str,
    *,
    version_of_kind: int,
    parameters: Mapping[str, Any],
    packages: Sequence[str],
) -> Target | None:
    """Say where the result of these inputs lies.

    None where it lies nowhere: an input is no layer of a recording; the first of them is not in a local
    folder; a parameter is an object of which nothing tells whether it is the same again; a package is
    missing.
    """
    recorded = [layer for layer in layers if _is_recorded(layer)]
    if not recorded or len(recorded) < len(layers):
        return None
    place = recorded[0].recorded.place
    if not isinstance(place, LocalPlace):
        return None
    try:
        told = _named(parameters)
        versions = {"actlens": __version__} | {name: version(name) for name in sorted(packages)}
    except (_Unnamed, ImportError):  # PackageNotFoundError: the caller says it in better words
        return None
    inputs = tuple(layer.fingerprint() for layer in recorded)
    parts = {
        "inputs": inputs,
        "kind": kind,
        "format": version_of_kind,
        "parameters": told,
        "versions": versions,
    }
    source = Provenance(
        key=hex128(json.dumps(parts, sort_keys=True, allow_nan=False).encode()),
        kind=kind,
        format=version_of_kind,
        layers=tuple(layer.name for layer in recorded),
        inputs=inputs,
        recordings=tuple(layer.recorded.fingerprint() for layer in recorded),
        parameters=told,
        versions=versions,
    )
    return Target(place.folder / DERIVED, source, all(layer.recorded.checked for layer in recorded))


def _is_recorded(layer: object) -> TypeGuard[LayerArray]:
    return all(hasattr(type(layer), name) for name in ("recorded", "fingerprint"))


def _named(value: Any) -> Any:
    """Give a value as JSON that no other value has; an array by its digest."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and (value.dtype.kind == "U" or code_of(value.dtype) is not None):
        plain = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        name = code_of(value.dtype) or plain.dtype.str
        return {"$array": [name, list(value.shape), hex128(plain.reshape(-1).view(np.uint8).data)]}
    raise _Unnamed
