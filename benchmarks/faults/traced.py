"""The k-th system call fails at the border of the process: by strace, below Python and its libraries."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults import strace
from faults.calls import CALLS, CODES, after_a_failure, memory
from faults.checks import gone_on, survivors
from faults.nursery import Nursery
from faults.program import Run
from faults.tally import Tally, Verdict, worst

_NUMBERED = {"open": "openat", "pwritev": "pwritev,pwritev2"}
_KILL = "SIGKILL"


@dataclasses.dataclass(frozen=True)
class Injection:
    """A call and what becomes of it, at its k-th turn in each thread (`sticky`: from there on)."""

    call: str
    what: str
    k: int
    sticky: bool

    def arguments(self, log: Path) -> tuple[str, ...]:
        """The arguments of strace."""
        call = _NUMBERED.get(self.call, self.call)
        what = f"signal={_KILL}" if self.what == _KILL else f"error={self.what}"
        when = f"{self.k}{'+' if self.sticky else ''}"
        return ("-y", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={when}")


def every_turn(nursery: Nursery, *, all_turns: bool, weak: tuple[str, ...] = ()) -> list[Tally]:
    """Break each call at each turn, or at one turn for each error; a signal in its place is a kill."""
    tallies = {call: Tally(f"{call} fails (strace)") for call in CALLS}
    tallies[_KILL] = Tally("kill -9 in each call (strace)")
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory()) as folder:
        if reason := strace.reason_not_to(nursery, Path(folder)):
            tallies[_KILL].not_run = f"not run: {reason}"
            return [tallies[_KILL]]
        for number, (call, what, sticky) in enumerate(_series()):
            for k in range(1, 1000) if all_turns else [1 + number % 5]:
                verdict = _one(nursery, Path(folder), Injection(call, what, k, sticky), weak)
                if verdict is None:
                    break
                tallies[_KILL if what == _KILL else call].add(verdict, f"{call} {what} k={k} sticky={sticky}")
    return [tally for tally in tallies.values() if tally.tried]


def _series() -> Iterator[tuple[str, str, bool]]:
    for call in CALLS:
        yield from ((call, code, sticky) for code in CODES for sticky in (False, True))
        yield call, "EINTR", False
        yield call, _KILL, False


def _one(nursery: Nursery, folder: Path, injection: Injection, weak: tuple[str, ...]) -> Verdict | None:
    """Give None where the call has no k-th turn."""
    run, log = Run(path=str(folder / "run"), rows=30, flush_every=1), folder / "log"
    try:
        (outcome,) = nursery.run(run.job(strace=injection.arguments(log), weak=weak))
        if not any(call.injected for call in strace.parse(log)) and outcome.status >= 0:
            return None
        if injection.what == _KILL:
            verdicts = [survivors([run], [outcome.said])]
        else:
            verdicts = after_a_failure(run, outcome.said, unlinks=injection.call != "unlink")
            if outcome.error:
                verdicts.append(Verdict("detected" if outcome.typed else "other", outcome.error))
            elif outcome.status:
                verdicts.append(Verdict("other", f"ended with status {outcome.status}"))
        (second,) = nursery.run(run.job())
        return worst([*verdicts, gone_on(run, second.error)])
    finally:
        shutil.rmtree(run.path, ignore_errors=True)
