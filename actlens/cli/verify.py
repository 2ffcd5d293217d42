"""`actlens verify`: whether a recording is whole."""

from __future__ import annotations

import typer

from actlens.cli.options import Run


def verify(run: Run) -> None:
    """Read every byte of a recording and say what is damaged. Exit code 0 if nothing is, 1 otherwise."""
    from actlens import upkeep

    found = upkeep.verify(run)
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(1)
