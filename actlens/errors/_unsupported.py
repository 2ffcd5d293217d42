"""Errors of recordings that a later version has written."""

from __future__ import annotations

from collections.abc import Iterable

from actlens.errors._base import brief, listed
from actlens.errors._recording import RecordingError


class UnsupportedFormat(RecordingError):
    """A recording of a later format."""

    @classmethod
    def version(cls, path: object, found: object, known: object) -> UnsupportedFormat:
        """A major version that this program does not know."""
        return cls(
            f"{path} has format version {brief(found)}; this actlens reads {known}. Upgrade: pip install -U actlens"
        )

    @classmethod
    def requires(cls, path: object, names: Iterable[str]) -> UnsupportedFormat:
        """A feature that this program does not know."""
        return cls(
            f"{path} requires {listed(names)}, which this actlens does not know. Upgrade: pip install -U actlens"
        )
