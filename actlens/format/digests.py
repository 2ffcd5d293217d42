"""xxh3 over what is stored: 128 bits a tensor and a header, 64 bits a block of 1 MiB.

These digests find damage, not forgery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import xxhash

BLOCK = 1 << 20


def hex128(*parts: bytes | memoryview) -> str:
    """Give xxh3-128 of bytes, as 32 hex digits.

    >>> hex128(b"")
    '99aa06d3014798d86001c324468d497f'
    """
    return hex128_of(parts)


def hex128_of(parts: Iterable[bytes | memoryview]) -> str:
    """Give xxh3-128 of parts that come one after the other, each hashed before the next is asked for."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def block_count(size: int) -> int:
    """Give the number of blocks that cover `size` bytes."""
    return -(-size // BLOCK)


def block_sum(*parts: bytes | memoryview) -> int:
    """Give xxh3-64 of one block, in one part or more."""
    if len(parts) == 1:
        return xxhash.xxh3_64_intdigest(parts[0])
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


def block_spans(begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Cut [begin, end) at the borders of blocks; give (block, begin, end) of each piece.

    >>> list(block_spans(BLOCK - 2, BLOCK + 3))
    [(0, 1048574, 1048576), (1, 1048576, 1048579)]
    """
    while begin < end:
        block = begin // BLOCK
        stop = min(end, (block + 1) * BLOCK)
        yield block, begin, stop
        begin = stop


class RunningDigests:
    """Digests of a payload that is given piece by piece, no piece across a block's or a tensor's border."""

    def __init__(self) -> None:
        self.tensors: dict[str, str] = {}
        self._sums: list[int] = []
        self._tensor = xxhash.xxh3_128()
        self._block = xxhash.xxh3_64()

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._tensor.update(piece)
        self._block.update(piece)

    def end_block(self) -> None:
        """Close a block."""
        self._sums.append(self._block.intdigest())
        self._block.reset()

    def end_tensor(self, name: str) -> None:
        """Close a tensor."""
        self.tensors[name] = self._tensor.hexdigest()
        self._tensor.reset()

    def sums(self) -> npt.NDArray[np.uint64]:
        """Give the sums of all closed blocks."""
        return np.array(self._sums, dtype="<u8")
