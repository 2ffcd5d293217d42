"""`actlens diff`: whether a port computes what the original does, layer by layer."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Where

_RunA = Annotated[str, typer.Argument(metavar="RUN_A", help="The original: a folder, or an address.")]
_RunB = Annotated[str, typer.Argument(metavar="RUN_B", help="The port.")]


def diff(
    run_a: _RunA,
    run_b: _RunB,
    *,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="A=B",
            help="A layer of RUN_A, or a pattern; A=B where RUN_B calls it otherwise. Repeat.",
        ),
    ] = None,
    rtol: Annotated[float, typer.Option("--rtol", help="Relative tolerance.")] = 1e-5,
    atol: Annotated[
        float, typer.Option("--atol", help="Absolute tolerance of the largest difference.")
    ] = 1e-5,
    where: Where = None,
) -> None:
    """Compare two recordings layer by layer. Exit code 0 if all agree, 1 if one differs, 2 if nothing can
    be said.
    """
    from actlens.cli.problems import or_no_verdict
    from actlens.cli.selecting import recording
    from actlens.compare.diff import diff as compared

    with or_no_verdict():
        found = compared(
            recording(run_a, where), recording(run_b, where), layers=_chosen(layer), rtol=rtol, atol=atol
        )
    typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(1)


def _chosen(given: list[str] | None) -> dict[str, str] | list[str] | None:
    """Read names and patterns; one A=B makes a mapping of all."""
    if not given:
        return None
    if not any("=" in each for each in given):
        return given
    pairs = (each.partition("=") for each in given)
    return {name: other or name for name, _, other in pairs}
