"""A recording to be damaged, and everything that can be read of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

import actlens
from actlens.errors import ActlensError
from actlens.format.place import MANIFEST
from actlens.recorder import Recorder
from actlens.recording import Recording
from faults.rows import row_bytes, rows_of, same
from faults.tally import Verdict, worst

State = Literal["sealed", "not sealed", "no manifest"]
STATES: tuple[State, ...] = ("sealed", "not sealed", "no manifest")


class Specimen:
    """A recording of shards of the given numbers of rows, each attempt in a folder of its own.

    Removed when the block ends.
    """

    def __init__(self, attempts: list[list[int]], *, width: int, state: State, folder: str | None) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="faults-", dir=folder))
        self.path = self._home / "run"
        self.width, self.state = width, state
        self.ids = np.arange(sum(map(sum, attempts)))
        at = 0
        for counts in attempts:
            self._attempt(at, counts)
            at += sum(counts)
        if state == "no manifest":
            self.manifest.unlink()
        acts, columns = rows_of(self.ids, width)
        self._truth: dict[str, np.ndarray] = {f"layer {key}": value for key, value in acts.items()}
        self._truth |= {f"column {name}": value for name, value in columns.items()}
        self._truth["column id"] = self.ids
        run = actlens.open(self.path)
        self._about = (run.info, run.layers, run.rows, list(run.columns))
        some = np.random.default_rng(0).integers(0, len(self.ids), 4)
        starts = np.cumsum([0, *(count for counts in attempts for count in counts)])[:-1]
        self._some = np.concatenate([some, starts + 1])  # so that every shard is read in part

    def _attempt(self, at: int, counts: list[int]) -> None:
        largest = 2 * max(counts) * row_bytes(self.width)
        rec = Recorder(self.path, shard_bytes=largest, durability="rename", resume=at > 0)
        if at:  # what is there already is left out
            acts, columns = rows_of(self.ids[:at], self.width)
            rec.write(acts, **columns)
        for count in counts:
            acts, columns = rows_of(self.ids[at : at + count], self.width)
            rec.write(acts, **columns)
            rec.flush()
            at += count
        if self.state == "not sealed":
            rec.abandon()
        else:
            rec.close()

    def __enter__(self) -> Specimen:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def shards(self) -> list[Path]:
        """The shards, in order; those without rows too."""
        return sorted(self.path.glob("shards/*/*.safetensors"))

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.path / MANIFEST

    def verdict(self, *, may_be_unsealed: bool = False) -> Verdict:
        """Read it in every way, and say the worst that came of it.

        With `may_be_unsealed`, other rows than were written count as detected where the recording says
        that it is not sealed, and each is right for its id: without an index, nobody knows how many shards
        there were, or which was the last.
        """
        return worst(self._read(way, verify, may_be_unsealed=may_be_unsealed) for way, verify in WAYS)

    def _read(self, way: Callable, verify: str, *, may_be_unsealed: bool) -> Verdict:
        try:
            run = actlens.open(self.path, mmap=way is _mapped, verify=verify)
            if may_be_unsealed and not run.info["sealed"]:
                return self._others(run)
            rows = self._some if way is _some_rows else slice(None)
            for name, value in way(
                run, self._some
            ):  # judged as it comes: an error after it would be too late
                if not same(value, self._truth[name][rows]):
                    return Verdict("silent", f"{name} is wrong, read by {way.__name__} with verify={verify}")
            about = (run.info, run.layers, run.rows, list(run.columns))
        except ActlensError as error:
            return Verdict("detected", str(error))
        except Exception as error:
            return Verdict("other", f"{way.__name__}: an error without a type: {error!r}")
        if about != self._about:
            return Verdict("silent", f"information is wrong: {about} instead of {self._about}")
        return Verdict("harmless")

    def _others(self, run: Recording) -> Verdict:
        """Hold the rows that are there to their ids."""
        acts, columns = rows_of(run.ids, self.width)
        right = all(same(run[key][:], value) for key, value in acts.items())
        right &= all(same(run.columns[name], value) for name, value in columns.items())
        return Verdict("detected", "it is not sealed") if right else Verdict("silent", "rows are wrong")


Found = Iterator[tuple[str, np.ndarray]]


def _whole(run: Recording, _some: np.ndarray) -> Found:
    yield from ((f"layer {key}", run[key][:]) for key in run)
    yield from ((f"column {name}", run.columns[name]) for name in run.columns)


def _chunks(run: Recording, _some: np.ndarray) -> Found:
    yield from ((f"layer {key}", np.concatenate(list(run[key].chunks(150)))) for key in run)


def _some_rows(run: Recording, some: np.ndarray) -> Found:
    yield from ((f"layer {key}", run[key][some]) for key in run)


def _mapped(run: Recording, _some: np.ndarray) -> Found:
    yield from ((f"layer {key}", np.concatenate(list(run[key].chunks(150)))) for key in run)


WAYS = (
    (_whole, "all"),
    (_chunks, "all"),
    (_some_rows, "all"),
    (_mapped, "all"),
    (_whole, "stream"),
    (_chunks, "stream"),
)
"""What promises that no wrong byte is given: all with verify="all", and all but single rows by default."""
