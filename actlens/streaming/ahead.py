"""Read the next block while this one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """Give the same blocks, each read in a thread while the one before it is used: two blocks live.

    What the reading raises is raised here, at its block. A consumer that stops early stops the reading.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="actlens-read") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block
            del block
