"""Packages that only some functions need: imported when they are used, and missed with the right words."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from actlens.errors import MissingDependency


def need(module: str, *, feature: str, package: str, extra: str) -> Any:
    """Import `module`, or say what to do: install an extra, or mend a package that does not import.

    Raises MissingDependency. `module` may be a submodule ("sklearn.manifold"); `package` is its name for pip.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if _absent(module):
            raise MissingDependency.for_feature(feature, package, extra) from error
        raise MissingDependency.broken(feature, package, error) from error
    except (OSError, AttributeError) as error:  # a library of the system, or a name that numpy dropped
        raise MissingDependency.broken(feature, package, error) from error


def has(module: str) -> bool:
    """Say whether the package of `module` is installed, without importing it."""
    return not _absent(module)


def _absent(module: str) -> bool:
    root = module.partition(".")[0]
    try:
        return importlib.util.find_spec(root) is None
    except ValueError:  # a stand-in in sys.modules without a spec: it is there
        return False
