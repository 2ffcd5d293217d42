"""The k-th call fails, for every k until none fails: by functions put in place of those of os.

`traced.py` does the same at the border of the process, with strace.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from actlens.errors import ActlensError
from actlens.format import commit
from faults.checks import gone_on, leftovers, survivors
from faults.nursery import Job, Nursery
from faults.program import Run, Say, write
from faults.tally import Tally, Verdict, worst

CALLS = ("open", "pwritev", "fallocate", "fsync", "close", "rename", "mkdir", "link", "unlink")
CODES = ("EIO", "ENOSPC", "EDQUOT")
RETRIED = {"open", "pwritev", "fsync"}
"""Python itself goes on after EINTR from these: strace shows that, here it would be another Python."""


def memory() -> str | None:
    """Give a folder in memory where there is one: what a call is told matters here, not what a disk does."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


class Watched:
    """Stands before the named calls, counts them together, and does something at one of them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._stack = contextlib.ExitStack()
        self.count = 0
        self._k, self._action, self._after = -1, lambda: None, False
        self.instead: Callable[..., Any] | None = None

    def at(self, k: int, action: Callable[[], None], *, after: bool = False) -> None:
        """Call `action` before or after the k-th call."""
        self._k, self._action, self._after = k, action, after

    def __enter__(self) -> Watched:
        from unittest.mock import patch

        for name in self._names:
            if name == "fallocate":
                library = types.SimpleNamespace(**vars(ctypes))
                library.CDLL = lambda *_args, **_options: types.SimpleNamespace(fallocate=_Fallocate(self))
                self._stack.enter_context(patch.object(commit, "ctypes", library))
            else:
                self._stack.enter_context(patch.object(os, name, self._around(name, getattr(os, name))))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            return self.turn(name, real, *args, **options)

        return call

    def turn(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """One call has its turn."""
        number, self.count = self.count, self.count + 1
        if number == self._k and not self._after:
            self._action()
        try:
            return (self.instead or _as_it_is)(number, name, real, *args, **options)
        finally:
            if number == self._k and self._after:
                self._action()


def _as_it_is(_number: int, _name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return real(*args, **options)


class _Fallocate:
    """The function of the C library, watched; takes its argtypes like it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.argtypes: tuple[Any, ...] = ()

    def __call__(self, *args: int) -> int:
        real = ctypes.CDLL(None, use_errno=True).fallocate
        real.argtypes = self.argtypes
        try:
            return self._watched.turn("fallocate", real, *args)
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1


@dataclasses.dataclass(frozen=True)
class Fault:
    """A call fails with an error, or writes only a part ("short"): at its k-th turn, or from there on."""

    call: str
    code: str
    sticky: bool

    def instead(self, k: int) -> Callable[..., Any]:
        """Give what the call does in this fault."""

        def call(number: int, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if number < k or (number > k and not self.sticky):
                return real(*args, **options)
            if self.code == "short":
                fd, views, offset = args
                first = memoryview(views[0])
                return real(fd, [first[: max(1, len(first) // 3)]], offset)
            if name == "close":  # close(2) frees the descriptor even where it reports an error
                real(*args, **options)
            code = getattr(errno, self.code)
            raise OSError(code, os.strerror(code))

        return call


def faults(*, all_codes: bool) -> Iterator[tuple[Fault, ...]]:
    """Give the faults of each call; where not all codes are wanted, they take turns with k."""
    for call in CALLS:
        for sticky in (False, True):
            some = tuple(Fault(call, code, sticky) for code in CODES)
            yield from [(fault,) for fault in some] if all_codes else [some]
        if call not in RETRIED:
            yield (Fault(call, "EINTR", sticky=False),)
    yield (Fault("pwritev", "short", sticky=False),)
    yield (Fault("pwritev", "short", sticky=True),)


def every_turn(
    nursery: Nursery, *, all_codes: bool, weak: tuple[str, ...] = (), only: str = ""
) -> list[Tally]:
    """Give a tally for each call; two children at a time."""
    tallies = {call: Tally(f"{call} fails") for call in CALLS} | {"short": Tally("pwritev writes a part")}
    series = [some for some in faults(all_codes=all_codes) if only in {"", some[0].call}]
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory()) as folder:
        for pair in (series[at : at + 2] for at in range(0, len(series), 2)):
            jobs = [
                Job(
                    "faults.calls:series",
                    {"folder": folder, "some": [dataclasses.astuple(fault) for fault in some]},
                    weak=weak,
                )
                for some in pair
            ]
            for some, outcome in zip(pair, nursery.run(*jobs), strict=True):
                if outcome.error:
                    raise RuntimeError(outcome.error)
                tally = tallies["short" if some[0].code == "short" else some[0].call]
                for k, verdict in enumerate(outcome.result):
                    tally.add(Verdict(*verdict), f"{some[k % len(some)]}, k={k}")
    return [tally for tally in tallies.values() if tally.tried]


def series(_say: Say, *, folder: str, some: list[list[Any]]) -> list[Verdict]:
    """Try k = 0, 1, 2 … until the call has no k-th turn; in a child."""
    verdicts = []
    for k in range(1000):
        fault = Fault(*some[k % len(some)])
        run = Run(
            path=str(Path(folder, f"{fault.call}-{fault.code}-{fault.sticky}-{k}")), rows=30, flush_every=1
        )
        watched = Watched((fault.call,))
        watched.instead = fault.instead(k)
        verdict = _one(run, watched, unlinks=fault.call != "unlink")
        shutil.rmtree(run.path, ignore_errors=True)
        if watched.count <= k:
            return verdicts
        verdicts.append(verdict)
    raise RuntimeError("1000 turns and no end")


def _one(run: Run, watched: Watched, *, unlinks: bool) -> Verdict:
    said: list[str] = []
    verdicts = []
    try:
        with watched:
            write(said.append, **dataclasses.asdict(run))
    except ActlensError as error:
        verdicts.append(Verdict("detected", str(error)))
    except BaseException as error:
        verdicts.append(Verdict("other", f"an error without a type: {error!r}"))
    verdicts += after_a_failure(run, said, unlinks=unlinks)
    problem = ""
    try:
        write(said.append, **dataclasses.asdict(run))
    except ActlensError as error:
        problem = str(error)
    return worst([*verdicts, gone_on(run, problem)])


def after_a_failure(run: Run, said: list[str], *, unlinks: bool) -> list[Verdict]:
    """Judge what a program that lived has left."""
    left = survivors([run], [said])
    verdicts = [Verdict("harmless") if left.kind == "detected" else left]
    if unlinks and leftovers(run.path):
        verdicts.append(Verdict("other", f"left behind: {leftovers(run.path)}"))
    return verdicts
