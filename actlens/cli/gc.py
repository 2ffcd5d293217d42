"""`actlens gc`: what writers left that died is cleared away, and results of what is there no more."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from actlens.cli.options import Folder


def gc(
    run: Folder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="HOURS", help="Leave alone what is younger.")
    ] = 24.0,
) -> None:
    """Remove what dead writers left, and stale or damaged results."""
    from actlens import upkeep
    from actlens.cli.problems import Misuse

    if not 0 <= older_than < math.inf:
        raise Misuse.hours(older_than)
    typer.echo(str(upkeep.gc(run, older_than * 3600, dry_run=dry_run)))
