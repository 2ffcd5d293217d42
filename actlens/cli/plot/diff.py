"""`actlens plot diff`: where two recordings of the same samples part."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Force, Patterns, PictureOut, RunA, RunB, Where
from actlens.cli.plot.picture import check_picture, save_sized


def diff(
    run_a: RunA,
    run_b: RunB,
    *,
    out: PictureOut,
    layers: Patterns = None,
    where: Where = None,
    rtol: Annotated[
        float | None, typer.Option("--rtol", help="Relative error that is no difference.")
    ] = None,
    atol: Annotated[float | None, typer.Option("--atol", help="Absolute error that is none.")] = None,
    force: Force = False,
) -> None:
    """Draw the errors of a port by depth. The first layer that differs is marked."""
    from actlens import compare, plot
    from actlens.cli.selecting import recording, steps_note

    check_picture(out, force=force)
    a, b = (recording(run, where) for run in (run_a, run_b))
    for side in (a, b):
        steps_note(side)
    given = {name: value for name, value in (("rtol", rtol), ("atol", atol)) if value is not None}
    save_sized(plot.diff(compare.diff(a, b, layers=layers or None, **given)), out)
