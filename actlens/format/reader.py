"""One shard: read and verified here.

What is checked when (docs/format.md, "What is checked"): the header always; a whole tensor against its
digest; of a part, the blocks that lie in it, and with "all" every block that it touches, read whole.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from actlens.errors import CorruptRecording, ReadFailed, UnsupportedFormat
from actlens.format import header
from actlens.format.digests import BLOCK, block_count, block_spans, block_sum, hex128
from actlens.format.schema import ACT, BLOCKS, COL, IDX, KNOWN_REQUIREMENTS, STRING, VERSION, ShardMeta
from actlens.format.text import decode_text

Verify = Literal["stream", "all", "none"]
VERIFY: tuple[Verify, ...] = ("stream", "all", "none")


class Shard:
    """A committed shard, its header parsed and checked; data is read on demand, by pread.

    A file that was cut short under us is an error of a short read, never a SIGBUS.
    """

    def __init__(self, path: Path, *, verify: Verify = "stream") -> None:
        self.path = path
        self._verify = verify
        with self._opened() as fd:
            self.size = os.fstat(fd).st_size
            self._start = header.header_length(os.pread(fd, 8, 0), self.size, path)
            raw = os.pread(fd, self._start, 0)
        self.digest, text, self.tensors = header.parse(raw, self.size, path)
        self.meta = _meta(text, path)
        if set(self.meta.digests) != set(self.tensors):
            raise CorruptRecording.shard(path, "its digests do not name its tensors")
        self._check_schema()

    def _check_schema(self) -> None:
        """Hold the tensors to the schema that the shard carries."""
        wanted: dict[str, tuple[str, tuple[int, ...]]] = {
            ACT + layer.key: (layer.dtype, (self.meta.rows, *layer.shape))
            for layer in self.meta.schema.layers
        }
        for column in self.meta.schema.columns:
            if column.dtype == STRING:
                wanted[IDX + COL + column.name] = ("I64", (self.meta.rows + 1,))
            else:
                wanted[COL + column.name] = (column.dtype, (self.meta.rows,))
        for name, (code, shape) in wanted.items():
            tensor = self.tensors.get(name)
            if tensor is None or (tensor.code, tensor.shape) != (code, shape):
                raise CorruptRecording.shard(self.path, f"{name!r} is not as its schema says")

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise CorruptRecording.shard(self.path, "it is a symbolic link, not a file") from error
            raise ReadFailed.of(self.path, error) from error
        try:
            yield fd
        except OSError as error:
            raise ReadFailed.of(self.path, error) from error
        finally:
            os.close(fd)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Read a whole tensor into a new array."""
        tensor = self.tensors[name]
        out = np.empty(tensor.shape, dtype=tensor.dtype)
        self.read_into(name, 0, out)
        return out

    def read_into(self, name: str, first: int, out: npt.NDArray[Any], *, scan: bool = False) -> None:
        """Read rows from `first` on into `out`, a C-contiguous array of the tensor's dtype.

        `scan` says that the read is a part of a pass over the whole tensor: edges are then checked too.
        """
        with self._opened() as fd:
            self._read_into(fd, self.tensors[name], first, out, scan=scan)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Read a column: (rows,) values, text decoded."""
        values = self.read(COL + name)
        if IDX + COL + name not in self.tensors:
            return values
        try:
            return decode_text(values, self.read(IDX + COL + name))
        except ValueError as error:
            raise CorruptRecording.shard(self.path, f"column {name!r}: {error}") from error

    def gather(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Read single rows, given in ascending order, into `out`; neighbours in one read."""
        tensor = self.tensors[name]
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        with self._opened() as fd:
            for run in np.split(np.arange(len(rows)), breaks):
                if len(run):
                    self._read_into(fd, tensor, int(rows[run[0]]), out[run[0] : run[-1] + 1], scan=False)

    def map(self, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """Give rows [first, last) as a read-only view of the mapped file; verified like a read."""
        tensor = self.tensors[name]
        if tensor.begin == tensor.end:
            return np.empty((last - first, *tensor.shape[1:]), dtype=tensor.dtype)
        mapped = np.memmap(self.path, np.uint8, "r", self._start + tensor.begin, (tensor.end - tensor.begin,))
        begin, end = first * tensor.row_bytes, last * tensor.row_bytes
        part = mapped[begin:end]
        with self._opened() as fd:
            self._check(fd, tensor, tensor.begin + begin, part.data, edges=self._verify == "all")
        return np.asarray(part).view(tensor.dtype).reshape(last - first, *tensor.shape[1:])

    def _read_into(
        self, fd: int, tensor: header.Tensor, first: int, out: npt.NDArray[Any], *, scan: bool
    ) -> None:
        view = out.reshape(-1).view(np.uint8).data
        begin = tensor.begin + first * tensor.row_bytes
        self._pread(fd, begin, view)
        self._check(fd, tensor, begin, view, edges=scan or self._verify == "all")

    def _pread(self, fd: int, begin: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(fd, [view[done:]], self._start + begin + done)
            if count == 0:
                raise CorruptRecording.shard(self.path, "it ends before its data; it was cut short")
            done += count

    def _check(self, fd: int, tensor: header.Tensor, begin: int, view: memoryview, *, edges: bool) -> None:
        """Compare what was read with the digests that cover it."""
        if self._verify == "none" or not len(view):
            return
        end = begin + len(view)
        if (begin, end) == (tensor.begin, tensor.end):
            if hex128(view) != self.meta.digests[tensor.name]:
                raise CorruptRecording.shard(
                    self.path, f"the data of {tensor.name!r} does not match its digest"
                )
            return
        payload = self.tensors[BLOCKS].begin
        for block, lo, hi in block_spans(begin, end):
            whole_lo, whole_hi = block * BLOCK, min(payload, (block + 1) * BLOCK)
            if (lo, hi) == (whole_lo, whole_hi):
                self._check_block(block, view[lo - begin : hi - begin], tensor)
            elif edges:
                content = memoryview(bytearray(whole_hi - whole_lo))
                self._pread(fd, whole_lo, content)
                content[lo - whole_lo : hi - whole_lo] = view[lo - begin : hi - begin]
                self._check_block(block, content, tensor)

    def _check_block(self, block: int, content: memoryview, tensor: header.Tensor) -> None:
        if block_sum(content) != int(self._sums[block]):
            raise CorruptRecording.shard(
                self.path, f"the data of {tensor.name!r} does not match its digest (block {block} of 1 MiB)"
            )

    @cached_property
    def _sums(self) -> npt.NDArray[np.uint64]:
        tensor = self.tensors[BLOCKS]
        if tensor.code != "U64" or tensor.shape != (block_count(tensor.begin),):
            raise CorruptRecording.shard(self.path, "its block sums do not cover its data")
        sums = self.read(BLOCKS)
        if hex128(sums.view(np.uint8).data) != self.meta.digests[BLOCKS]:
            raise CorruptRecording.shard(self.path, "its block sums do not match their digest")
        return sums


def _meta(text: str, path: Path) -> ShardMeta:
    try:
        version = msgspec.json.decode(text, type=_Version)
        check_version(path, version.version, version.requires)
        return msgspec.json.decode(text, type=ShardMeta)
    except (msgspec.MsgspecError, TypeError) as error:
        raise CorruptRecording.shard(path, f"its metadata breaks the format: {error}") from error


class _Version(msgspec.Struct):
    version: tuple[int, int]
    requires: tuple[str, ...] = ()


def check_version(path: Path, version: tuple[int, int], requires: tuple[str, ...]) -> None:
    """Refuse a major version or a feature that this program does not know."""
    if version[0] != VERSION[0]:
        raise UnsupportedFormat.version(path, ".".join(map(str, version)), f"{VERSION[0]}.x")
    unknown = sorted(set(requires) - KNOWN_REQUIREMENTS)
    if unknown:
        raise UnsupportedFormat.requires(path, unknown)
