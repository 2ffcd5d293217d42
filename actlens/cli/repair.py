"""`actlens repair`: a recording made whole again, from what is left of it."""

from __future__ import annotations

import typer

from actlens.cli.options import Folder


def repair(run: Folder) -> None:
    """Set damaged shards aside and make the manifest anew. Nothing is deleted; says what is lost."""
    from actlens import upkeep

    typer.echo(str(upkeep.repair(run)))
