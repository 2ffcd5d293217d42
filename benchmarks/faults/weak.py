"""actlens made weaker on purpose: a tool that finds nothing in these finds nothing at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from actlens import shard_set
from actlens.format import commit, local, reader, stock
from actlens.format.place import Place
from actlens.recorder import Recorder
from actlens.writing import claim


def no_digests(stack: contextlib.ExitStack) -> None:
    """Data is not compared with its digests."""

    def believed(_self: reader.Shard, *args: Any, **_options: Any) -> None:
        for _ in args[3]:  # read all the same
            pass

    stack.enter_context(patch.object(reader.Shard, "_check", believed))


def no_header_digests(stack: contextlib.ExitStack) -> None:
    """Headers are believed."""
    from actlens.format import header

    stack.enter_context(
        patch.object(header, "header_digest", lambda raw: raw[header.DIGEST].decode("latin1"))
    )


def early_acknowledgement(stack: contextlib.ExitStack) -> None:
    """flush() does not wait for the commit."""

    def flush(self: Recorder) -> None:
        self._commit_rest(last=False)

    stack.enter_context(patch.object(Recorder, "flush", flush))


def no_fsync(stack: contextlib.ExitStack) -> None:
    """Nothing is made durable."""
    stack.enter_context(patch.object(os, "fsync", lambda _fd: None))


def no_folder_fsync(stack: contextlib.ExitStack) -> None:
    """Names are not made durable."""
    for module in (commit, local):
        stack.enter_context(patch.object(module, "sync_folder", lambda _folder: None))


def no_rename(stack: contextlib.ExitStack) -> None:
    """Files are written under their final names, where a reader sees them grow."""

    @contextlib.contextmanager
    def in_place(folder: Path, name: str, _size: int, **_options: Any) -> Iterator[commit.OpenFile]:
        fd = os.open(folder / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
        try:
            yield commit.OpenFile(fd)
            os.fsync(fd)
        finally:
            os.close(fd)

    for module in (commit, local):
        stack.enter_context(patch.object(module, "committed", in_place))


def short_writes(stack: contextlib.ExitStack) -> None:
    """A short write is taken for a whole one."""

    def write_at(self: commit.OpenFile, pieces: Any, offset: int) -> None:
        for piece in pieces:
            os.pwritev(self._fd, [piece], offset)
            offset += memoryview(piece).nbytes

    stack.enter_context(patch.object(commit.OpenFile, "write_at", write_at))


def no_clearing_up(stack: contextlib.ExitStack) -> None:
    """What a failure leaves behind stays."""

    def unlink(*_args: Any, **_options: Any) -> None:
        return None

    stack.enter_context(patch.object(os, "unlink", unlink))


def no_chain(stack: contextlib.ExitStack) -> None:
    """Shards are taken as they come: no sequence, no chain."""

    def as_they_come(
        place: Place, paths: Any, *, verify: reader.Verify = "stream", **_options: Any
    ) -> list[reader.Shard]:
        return [reader.Shard(place.blob(path), verify=verify) for path in paths]

    for module in (stock, shard_set, claim):
        stack.enter_context(patch.object(module, "open_shards", as_they_come))
    stack.enter_context(patch.object(stock, "gaps", lambda *_args: []))


WEAK: dict[str, Callable[[contextlib.ExitStack], None]] = {
    "no-digests": no_digests,
    "no-header-digests": no_header_digests,
    "early-acknowledgement": early_acknowledgement,
    "no-fsync": no_fsync,
    "no-folder-fsync": no_folder_fsync,
    "no-rename": no_rename,
    "short-writes": short_writes,
    "no-clearing-up": no_clearing_up,
    "no-chain": no_chain,
}
