"""Comparisons that lie with the recording of a: when, and by what they are found again."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from actlens.compare.comparison import Comparison
from actlens.compare.comparison_file import FORMAT, KIND, packed, unpacked
from actlens.compare.joining import Joined
from actlens.compare.measure import Measure
from actlens.derived import Kind, remembered

_STORED = Kind(KIND, FORMAT, write=packed, read=lambda bundle: unpacked(bundle, "the file"))


def kept(joined: Joined, measure: Measure, compute: Callable[[], Comparison], *, cache: bool) -> Comparison:
    """Give what `compute()` gives, read from the recording of a where it was computed before.

    Neither the executor nor the way plays a part: they move the last digits at most.
    """
    others = [package for package in ("scikit-learn", "scipy") if find_spec(_MODULES[package]) is not None]
    return remembered(
        [layer.values for layer in joined.layers],
        _STORED,
        compute=compute,
        parameters={
            "measure": measure.name,
            **measure.options(),
            "positions": joined.positions,
            "a": [layer.name for layer in joined.a],
            "b": None if joined.same else [layer.name for layer in joined.b],
        },
        packages=["numpy", *(others if measure.needs == "rows" else [])],
        cache=cache,
    )


_MODULES = {"scikit-learn": "sklearn", "scipy": "scipy"}
