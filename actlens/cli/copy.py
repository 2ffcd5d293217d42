"""`actlens copy`: a verified copy of a recording."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The folder of a recording, or an address as s3://bucket/run.")
]
Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A path that does not exist yet, or an empty folder.")
]


def copy(source: Source, target: Target) -> None:
    """Copy a recording, verified. The copy appears whole, or not at all."""
    from actlens import upkeep

    typer.echo(repr(upkeep.copy(source, target)))
