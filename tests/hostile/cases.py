"""What a case is, and the list of them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Case:
    """A bad file or folder.

    name: what it is called. make: turns a good recording in a folder into it.
    refused: what one of the errors must say; "" where it must open and give right values.
    several: made from a recording of several shards, not of one.
    relisted: tried twice, with a manifest that agrees with the changed shard, and without a manifest.
    meanwhile: done between the opening and the reading.
    other: a recording of other values, which may open.
    slow: making it takes long.
    """

    name: str
    make: Callable[[Path], object]
    refused: str
    several: bool = False
    relisted: bool = False
    meanwhile: Callable[[Path], object] | None = None
    other: bool = False
    slow: bool = False


def nothing(folder):
    """Leave a good recording as it is."""


def all_cases():
    from hostile import (
        corpus,
        corpus_columns,
        corpus_fields,
        corpus_folders,
        corpus_headers,
        corpus_manifest,
        corpus_open,
    )

    rooms = (
        corpus,
        corpus_headers,
        corpus_fields,
        corpus_columns,
        corpus_manifest,
        corpus_folders,
        corpus_open,
    )
    cases = [case for room in rooms for case in room.CASES]
    by_name = {case.name: case for case in cases}
    twice = sorted({case.name for case in cases if by_name[case.name] is not case})
    assert not twice, f"two cases of one name: {twice}"
    return by_name
