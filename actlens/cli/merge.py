"""`actlens merge`: several recordings into one."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.copy import Target

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Recordings, in the order that their rows shall have.")
]


def merge(sources: Sources, target: Target) -> None:
    """Join recordings of the same layers and columns. Sources first, the target last, as in copy.

    The sources are not changed. A target that holds anything is refused, so that a word in the wrong place
    does no harm.
    """
    from actlens import upkeep

    typer.echo(repr(upkeep.merge(sources, target)))
