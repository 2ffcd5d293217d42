"""`actlens stats`: figures of every layer of a recording, and what looks broken."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Run, Where


def stats(
    run: Run,
    layers: Annotated[
        list[str] | None, typer.Argument(metavar="[LAYER]...", help="Layers, or patterns; all if left out.")
    ] = None,
    *,
    by: Annotated[
        str | None, typer.Option("--by", metavar="COLUMN", help="One line for each value, as of step.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="COLUMN", help="Classes: adds selectivity and η².")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit", metavar="AXIS", help="The axis of the units, or value for every value of a row."
        ),
    ] = None,
    where: Where = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute, even if it lies with the recording; keep nothing.")
    ] = False,
) -> None:
    """Show statistics of all layers. And what looks broken: NaN, dead units, saturation, lost dimensions."""
    from actlens.cli.selecting import recording
    from actlens.statistics.measuring import stats as measured

    selected = recording(run, where)
    found = measured(selected, layers or None, by=by, labels=labels, unit=unit, cache=not no_cache)
    steps = selected.columns.get("step", ())
    if by is None and len(set(steps)) > 1:
        typer.echo(f"note: rows of {len(set(steps))} steps together; --by step takes them apart", err=True)
    typer.echo(str(found))
