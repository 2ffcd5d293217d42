"""Record, reduce, look at and compare the hidden-layer activations of neural networks.

    import actlens
    run = actlens.record(model, loader, "runs/resnet", layers=["layer*", "fc"], columns=["label"])
    run["fc"]                      # lazy; a numpy array when indexed

Importing this package loads no framework, no matplotlib, no scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actlens import compare as compare
    from actlens import plot as plot
    from actlens import reduce as reduce
    from actlens._capture import capture as capture
    from actlens._capture import layers as layers
    from actlens._record import record as record
    from actlens._version import __version__ as __version__
    from actlens.errors import ActlensError as ActlensError
    from actlens.recorder import Recorder as Recorder
    from actlens.recording import Recording as Recording
    from actlens.recording import open as open
    from actlens.statistics.measuring import stats as stats

_HOMES = {
    "ActlensError": "actlens.errors",
    "Recorder": "actlens.recorder",
    "Recording": "actlens.recording",
    "__version__": "actlens._version",
    "capture": "actlens._capture",
    "compare": "",
    "layers": "actlens._capture",
    "open": "actlens.recording",
    "plot": "",
    "record": "actlens._record",
    "reduce": "",
    "stats": "actlens.statistics.measuring",
}

__all__ = [
    "ActlensError",
    "Recorder",
    "Recording",
    "__version__",
    "capture",
    "compare",
    "layers",
    "open",
    "plot",
    "record",
    "reduce",
    "stats",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'actlens' has no attribute {name!r}. It has: {', '.join(__all__)}")
    value = (
        getattr(importlib.import_module(home), name) if home else importlib.import_module(f"actlens.{name}")
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
