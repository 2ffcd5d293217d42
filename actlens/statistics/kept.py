"""Stats that lie with their recording: when, and by what they are found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from actlens.derived import Kind, remembered
from actlens.statistics.layers import Source
from actlens.statistics.packing import FORMAT, KIND, packed, unpacked
from actlens.statistics.result import Stats

_STORED = Kind(KIND, FORMAT, write=packed, read=lambda bundle: unpacked(bundle, "the file"))
_COLUMNS = ("by", "labels")


def kept(
    found: Sequence[Source], compute: Callable[[], Stats], *, parameters: Mapping[str, Any], cache: bool
) -> Stats:
    """Give what `compute()` gives, read from the recording of all these layers where it was computed before.

    Names of columns need no more than that: what is in them is in the fingerprints of the layers. `ragged`
    are the layers whose rows are tokens of samples, as other ids and rows come of their tokens alone.
    """
    layers = [source.layer for source in found]
    names = {
        "layers": [source.name for source in found],
        "ragged": [source.name for source in found if source.ragged is not None],
    }
    return remembered(
        layers,
        _STORED,
        compute=compute,
        parameters={name: _plain(name, value) for name, value in parameters.items()} | names,
        packages=["numpy"],
        cache=cache and _of_one_recording(layers),
    )


def _of_one_recording(layers: Sequence[Any]) -> bool:
    if not all(hasattr(type(layer), "recorded") for layer in layers):
        return False
    first = layers[0].recorded
    others = [layer.recorded for layer in layers if layer.recorded is not first]
    return not others or {each.fingerprint() for each in others} == {first.fingerprint()}


def _plain(name: str, value: Any) -> Any:
    """Give what a list of values says as an array; what is none is refused by whoever computes."""
    if name not in _COLUMNS or value is None or isinstance(value, str):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        return object()
