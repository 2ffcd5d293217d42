"""Processes that may die: forked from one that has imported everything and has no threads.

A new interpreter with numpy and actlens takes a third of a second, a fork a few milliseconds. The program
that tests may have threads, and must not fork; hence a server of its own, spoken to in lines of JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds without a word after which a child hangs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A function `say, **arguments` to be run in a child; `where` is module:name.

    It is killed `delay` seconds after it has said `after`; strace is attached to it before it starts.
    """

    where: str
    arguments: dict[str, Any]
    after: str | None = None
    delay: float = 0.0
    strace: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()


@dataclasses.dataclass
class Outcome:
    """What a child said, gave back or raised; `status` is negative where a signal ended it."""

    said: list[str]
    status: int
    result: Any = None
    error: str = ""
    typed: bool = True


class Nursery:
    """The server, as seen by the program that tests."""

    def __enter__(self) -> Nursery:
        paths = [str(Path(__file__).parents[1]), *(path or os.getcwd() for path in sys.path)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._server as server:  # closes the pipes: the server ends by itself
            assert server.stdin is not None
            server.stdin.close()

    def run(self, *jobs: Job) -> list[Outcome]:
        """Run jobs at the same time; wait for all."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([dataclasses.asdict(job) for job in jobs]) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the nursery has died")
        return [Outcome(**outcome) for outcome in json.loads(answer)]


class _Child:
    """A job that runs; in the server."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.out, to_server = os.pipe()
        self._text = b""
        self._kill_at: float | None = None
        self._hangs_at = time.monotonic() + PATIENCE
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.out)
            _live(job, to_server)
        os.close(to_server)
        command = ["strace", "-f", "-q", "-p", str(self.pid), *job.strace]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE) if job.strace else None

    def patience(self) -> float:
        """Seconds until something is due."""
        return max(0.0, min(self._kill_at or self._hangs_at, self._hangs_at) - time.monotonic())

    def tick(self) -> None:
        """Kill the child if it is time."""
        now = time.monotonic()
        if now >= self._hangs_at or (self._kill_at is not None and now >= self._kill_at):
            os.kill(self.pid, signal.SIGKILL)
            self._kill_at, self._hangs_at = None, now + PATIENCE

    def read(self) -> bool:
        """Take what the child says; False when it is gone."""
        piece = os.read(self.out, 1 << 16)
        self._text += piece
        self._hangs_at = time.monotonic() + PATIENCE
        if self._job.after is not None and self._job.after in self._text.decode().splitlines():
            self._kill_at, self._job = (
                time.monotonic() + self._job.delay,
                dataclasses.replace(self._job, after=None),
            )
        return bool(piece)

    def end(self) -> dict[str, Any]:
        """Wait for the child and tell its story."""
        os.close(self.out)
        _, status = os.waitpid(self.pid, 0)
        if self._strace is not None:
            self._strace.communicate()
        *said, _rest = self._text.decode().split("\n")  # a line that a kill cut short was not said
        story = {"said": said, "status": os.waitstatus_to_exitcode(status)}
        if said and said[-1].startswith("{"):
            story |= json.loads(said.pop())
        return story


def _live(job: Job, to_server: int) -> None:
    """Be the child: run the function, say how it ended, end without clearing up."""
    code = 1
    try:
        os.dup2(2, 1)  # what a child prints is no answer of the server's
        story = _story(job, to_server)
        try:
            text = json.dumps(story)
        except TypeError as error:
            text = json.dumps({"error": f"the result is no JSON: {error}", "typed": False})
        os.write(to_server, f"{text}\n".encode())
        code = 0 if "error" not in story else 1
    finally:
        os._exit(code)


def _story(job: Job, to_server: int) -> dict[str, Any]:
    from actlens.errors import ActlensError
    from faults import weak

    module, name = job.where.split(":")
    try:
        function = getattr(importlib.import_module(module), name)
        for weakness in job.weak:
            weak.WEAK[weakness](contextlib.ExitStack())
        if job.strace:
            _wait_for_a_tracer()
        return {"result": function(lambda line: os.write(to_server, f"{line}\n".encode()), **job.arguments)}
    except ActlensError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    except BaseException:
        return {"error": traceback.format_exc(), "typed": False}


def _wait_for_a_tracer() -> None:
    """Wait for strace, by calls that it is never asked to break."""
    import ctypes

    any_process, set_ptracer = -1, 0x59616D61  # where Yama lets only parents trace
    ctypes.CDLL(None).prctl(set_ptracer, any_process, 0, 0, 0)
    status = os.open("/proc/self/status", os.O_RDONLY)
    for _ in range(5000):
        if b"TracerPid:\t0\n" not in os.pread(status, 1 << 14, 0):
            return
        time.sleep(0.001)
    raise TimeoutError("strace was not attached in time")


def _raise_all(jobs: list[Job]) -> list[dict[str, Any]]:
    children = [_Child(job) for job in jobs]
    alive = {child.out: child for child in children}
    while alive:
        patience = min(child.patience() for child in alive.values())
        for out in select.select(list(alive), [], [], patience)[0]:
            if not alive[out].read():
                del alive[out]
        for child in alive.values():
            child.tick()
    return [child.end() for child in children]


def _requests() -> Iterator[list[Job]]:
    for line in sys.stdin:
        yield [Job(**job) for job in json.loads(line)]


def _serve() -> None:
    from faults import warming

    warming.up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for jobs in _requests():
        answers.write(json.dumps(_raise_all(jobs)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
