"""Embeddings that lie with their recording: the few lines that a reducer needs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actlens.derived import Kind, remembered
from actlens.reduce.embedding import Embedding
from actlens.reduce.embedding_file import FORMAT, KIND, packed, unpacked
from actlens.reduce.source import Framed

_STORED = Kind(KIND, FORMAT, write=packed, read=lambda bundle: unpacked(bundle, "the file"))


def kept(
    layer: Framed,
    method: str,
    *,
    compute: Callable[[], Embedding],
    parameters: Mapping[str, Any],
    packages: Sequence[str],
    repeatable: bool = True,
    cache: bool = True,
) -> Embedding:
    """Give what `compute()` gives, read from the recording of `layer` where it was computed before.

    `parameters` are those that the reducer was called with, `packages` what computes beside numpy; see
    `actlens.derived.remembered`.
    """
    return remembered(
        [layer],
        _STORED,
        compute=compute,
        parameters={"method": method, **parameters},
        packages=["numpy", *packages],
        repeatable=repeatable,
        cache=cache,
    )
