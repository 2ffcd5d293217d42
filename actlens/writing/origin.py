"""Where the numbers come from: what the manifest says of program, framework and model."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from typing import Any

from actlens._version import __version__
from actlens.backend import backend_of, root_of
from actlens.format.schema import Origin


def make_origin(choices: Mapping[str, Any], provenance: Mapping[str, Any]) -> Origin:
    """Describe this moment, this program, and what is known of the model."""
    return Origin(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        actlens=__version__,
        python=platform.python_version(),
        platform=f"{platform.system().lower()}-{platform.machine()}",
        **{"ids": "unknown", **choices, **provenance},
    )


def framework_of(acts: Mapping[str, Any]) -> dict[str, str]:
    """Name the framework of a batch of activations, and its version; nothing for plain numpy."""
    array = next((array for array in acts.values() if root_of(type(array)) is not None), None)
    if array is None:
        return {}
    backend = backend_of(array)
    return {"framework": backend.name, "framework_version": backend.version()}
