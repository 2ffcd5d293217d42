"""What a verification found."""

from __future__ import annotations

import dataclasses
from typing import Literal

from actlens.table import bytes_text, text_table

Kind = Literal["damaged", "missing", "foreign", "conflict", "unreadable", "newer"]
"""damaged: bytes are not what was written. missing: not there. foreign: of another recording, or renamed.
conflict: whole, and not together with the others. unreadable: the system refused, the file may be whole.
newer: of a later version of the format."""

_SHOWN = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: relative to the recording, with '/'.
        what: what is wrong.
        tensor: the tensor whose bytes are damaged, such as "act:fc"; None where it is the file as a whole.
        block: the number of the damaged block of 1 MiB, counted from the start of the data; None where the
            block sums cannot tell.
        span: where the damaged bytes lie in the file, [begin, end); None where that is not known.
        kind: the class of the problem.
    """

    file: str
    what: str
    tensor: str | None = None
    block: int | None = None
    span: tuple[int, int] | None = None
    kind: Kind = "damaged"

    def __str__(self) -> str:
        block = "" if self.block is None else f", block {self.block}"
        span = "" if self.span is None else f" (bytes {self.span[0]} to {self.span[1] - 1}{block})"
        return f"{self.file}: {self.what}{span}"


@dataclasses.dataclass(frozen=True, slots=True)
class Orphan:
    """A temporary file that no living writer is at."""

    file: str
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found; `str()` of it is a table.

    Attributes:
        path: the recording.
        problems: everything that is wrong, in the order of the files; empty where all is well.
        shards: how many shards there are.
        rows: the rows of whole shards without duplicates: what `open()` gives where all is well.
        bytes: the bytes that were read.
        duplicates: rows that several writers committed, and of which an earlier one counts.
        differing: how many of those are not bit for bit the row that counts.
        sealed: whether the manifest lists all shards, and every writer ended well.
        orphans: temporary files that a writer left which died; `gc` removes them.
        notes: what is worth knowing and no damage.
        derived: results in `derived/` that are damaged or cannot be read. They are no part of the recording,
            and `ok` does not ask for them: what is damaged is computed again.
    """

    path: str
    problems: tuple[Problem, ...]
    shards: int
    rows: int
    bytes: int
    duplicates: int = 0
    differing: int = 0
    sealed: bool = False
    orphans: tuple[Orphan, ...] = ()
    notes: tuple[str, ...] = ()
    derived: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        count = len(self.problems)
        verdict = "ok" if self.ok else "1 problem" if count == 1 else f"{count} problems"
        shards = "1 shard" if self.shards == 1 else f"{self.shards} shards"
        sizes = f"{shards}, {self.rows:,} rows, {bytes_text(self.bytes)} read"
        lines = [f"{self.path}: {verdict} ({sizes})"]
        if self.problems:
            rows = [
                (
                    problem.file,
                    problem.tensor or "",
                    "" if problem.block is None else problem.block,
                    "" if problem.span is None else f"{problem.span[0]}–{problem.span[1] - 1}",
                    problem.what,
                )
                for problem in self.problems[:_SHOWN]
            ]
            lines += ["", text_table(["file", "tensor", "block", "bytes", "what is wrong"], rows)]
            if count > _SHOWN:
                lines.append(f"… and {count - _SHOWN} more")
        about = [("note", note) for note in self.notes]
        if self.duplicates:
            about.insert(
                0,
                (
                    "duplicates",
                    f"{self.duplicates:,} rows of samples that an earlier writer has, "
                    f"{self.differing:,} of them with other values",
                ),
            )
        about += [("derived", f"{one}; no part of the recording, computed again") for one in self.derived]
        about += [("orphan", f"{one.file} ({bytes_text(one.bytes)})") for one in self.orphans]
        if about:
            width = max(len(name) for name, _ in about)
            lines += ["", *(f"{name.ljust(width)}  {text}" for name, text in about)]
        return "\n".join(lines)
