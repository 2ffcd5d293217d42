"""`actlens plot matrix`: a comparison, layer × layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actlens.cli.options import Force, PictureOut
from actlens.cli.plot.picture import check_picture, save_sized


def matrix(
    comparison: Annotated[
        Path,
        typer.Argument(
            metavar="COMPARISON", help="A file that `actlens compare --out` or Comparison.save wrote."
        ),
    ],
    out: PictureOut,
    z: Annotated[
        float | None,
        typer.Option("--z", metavar="Z", help="Hatch what is within Z deviations of chance."),
    ] = None,
    no_best: Annotated[bool, typer.Option("--no-best", help="No line of best matches.")] = False,
    force: Force = False,
) -> None:
    """Draw how alike layers are. One row for each layer of the first recording."""
    from actlens import plot
    from actlens.compare import Comparison

    check_picture(out, force=force)
    save_sized(plot.matrix(Comparison.load(comparison), z=z, best=not no_best), out)
