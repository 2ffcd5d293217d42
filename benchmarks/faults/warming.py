"""Everything that a child will need, imported and used once before the first fork."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import actlens
from actlens.errors import ActlensError
from faults import calls, flips, kills, order, pieces, weak  # noqa: F401 - so that children need not import them
from faults.checks import survivors
from faults.program import Run, write


def up() -> None:
    """Write, read and fail once; the threads that this starts have ended when it returns."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(path=f"{folder}/run", rows=40)
        write(lambda _line: None, path=run.path, rows=run.rows)
        survivors([run], [[]])
        for wrong in ("absent", "file/below"):
            Path(folder, "file").touch()
            with contextlib.suppress(ActlensError, OSError):
                actlens.open(Path(folder, wrong))
            with contextlib.suppress(ActlensError, OSError):
                actlens.Recorder(Path(folder, "file"), durability="rename")
