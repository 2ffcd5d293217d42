"""Try cases, each in a forked child of its own, and print what came of each: one line of JSON a case.

`python -m hostile.worker FOLDER [NAME…]`. A program of its own, so that the parent of the forks is warm and
small and has one thread. What a child does, it cannot hide: a signal is its exit status, and its memory is
what the kernel says.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from itertools import islice
from pathlib import Path

import numpy as np

import actlens
from actlens.errors import ActlensError
from hostile import forge
from hostile.cases import all_cases

ENOUGH = 0.1  # seconds
VERIFY = ("stream", "all", "none")
LIMIT_S = 15  # a hang ends by SIGALRM, and is a failure


def main(folder, names):
    folder = Path(folder)
    goods = {False: forge.good(folder / "one"), True: forge.good(folder / "several", shard_bytes=2000)}
    for run in goods.values():  # warm: all that is imported or cached at first use
        passes(run, "all", None)
    cases = all_cases()
    for name in names or cases:
        print(json.dumps(tried(cases[name], goods[cases[name].several], folder / "case")), flush=True)


def tried(case, good, place):
    """Make the case, and try it: all ways to verify, one after the other, in one child."""
    tries = []
    for variant in ("relisted", "alone") if case.relisted else ("",):
        for verify in [[each] for each in VERIFY] if case.meanwhile else [VERIFY]:
            for warm in (False, True) if case.meanwhile else (False,):
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(good, place / "run")
                status = in_child(lambda write, variant=variant: make(case, variant, place / "run"))["status"]
                done = in_child(
                    lambda write, verify=verify, warm=warm: write(
                        [passes(place / "run", each, case.meanwhile, warm=warm) for each in verify]
                    )
                )
                tries.append({"variant": variant, "warm": warm, "made": status, **done})
    shutil.rmtree(place, ignore_errors=True)
    return {"name": case.name, "refused": case.refused, "other": case.other, "tries": tries}


def make(case, variant, folder):
    case.make(folder)
    if variant == "relisted":
        forge.relist(folder)
    elif variant == "alone":
        (folder / "manifest.json").unlink()


def in_child(work):
    """Do work in a forked child; give its exit status, and what it wrote."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(LIMIT_S)
        with os.fdopen(writing, "w") as file:
            work(lambda result: file.write(json.dumps(result)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status), "passes": json.loads(text) if text else []}


def peak():
    """Peak memory of this process in KiB; a child begins with what it shares with its parent."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def passes(path, verify, meanwhile, *, warm=False):
    """Open, and read in every way there is."""
    tally = {"errors": [], "wrong": [], "bare": [], "slowest": 0}
    before = peak()
    run = attempted(tally, lambda: actlens.open(path, verify=verify))
    if run is not None:
        if warm:
            attempted(tally, lambda: run["fc"][0])
        if meanwhile:
            meanwhile(path)
        for name, read, expected in reads(run):
            if tally["errors"] and tally["slowest"] > ENOUGH:
                break  # it would take as long each time
            got = attempted(tally, read)
            if got is not None and not same(got, expected):
                tally["wrong"].append(name)
    return tally | {"verify": verify, "kib": peak() - before}


def attempted(tally, work):
    started = time.process_time()
    try:
        return work()
    except ActlensError as error:
        tally["errors"].append(f"{type(error).__name__}: {error}")
    except BaseException as error:
        tally["bare"].append(f"{type(error).__name__}: {error}"[:300])
    finally:
        tally["slowest"] = max(tally["slowest"], time.process_time() - started)
    return None


def reads(run):
    """Every way to read; with what it must give."""
    layers, columns = forge.truth(0)
    rows = np.array([5, 0, 3])
    for key, value in layers.items():
        yield f"{key}[:]", lambda key=key: run[key][:], value
        yield f"{key}[3]", lambda key=key: run[key][3], value[3]
        yield f"{key}[2:9]", lambda key=key: run[key][2:9], value[2:9]
        yield f"{key}[rows]", lambda key=key: run[key][rows], value[rows]
        yield f"{key}.chunks", lambda key=key: np.concatenate(list(islice(run[key].chunks(3), 9))), value
        yield f"{key}.mean", lambda key=key: run[key].flatten()[:1].shape, (1, value[0].size)
    for name, value in columns.items():
        yield f"columns[{name}]", lambda name=name: run.columns[name], value
    yield "sel", lambda: run.sel(id=[3, 4])["fc"][:], layers["fc"][3:5]
    yield "repr", lambda: bool(repr(run) and repr(run.info) and repr(run.layers)), True
    for key in list(run):  # and what was never recorded
        if key not in layers:
            yield key, lambda key=key: run[key][:2] is None, False
    for name in list(run.columns):
        if name not in columns:
            yield name, lambda name=name: run.columns[name] is None, False


def same(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    return got.shape == expected.shape and bool((got == expected).all())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
