"""`actlens compare`: how alike the layers of two recordings are, or those of one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actlens.cli.options import Force, Patterns, Positions, RunA, Where
from actlens.cli.output import check, writing
from actlens.cli.problems import Misuse

if TYPE_CHECKING:
    from actlens.compare import Comparison
    from actlens.compare.significance import Significance

_SUFFIXES = (".safetensors",)


class Measure(StrEnum):
    """The measures, as in actlens.compare."""

    cka = "cka"
    procrustes = "procrustes"
    cca = "cca"
    svcca = "svcca"
    pwcca = "pwcca"
    linear_r2 = "linear_r2"
    ridge = "ridge"
    rsa = "rsa"
    mutual_knn = "mutual_knn"


def compare(  # noqa: PLR0913 - the options of a command
    run_a: RunA,
    run_b: Annotated[
        str | None, typer.Argument(metavar="RUN_B", help="The other one; left out, the first with itself.")
    ] = None,
    *,
    measure: Annotated[Measure, typer.Option("--measure", help="Of what kind.")] = Measure.cka,
    biased: Annotated[bool, typer.Option("--biased", help="Of cka: the biased estimate.")] = False,
    layers: Patterns = None,
    positions: Positions = None,
    where: Where = None,
    permutations: Annotated[
        int | None,
        typer.Option("--permutations", metavar="N", help="Also test, by so many shuffles of samples."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also keep it: a name in .safetensors.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute, even if it lies with the recording; keep nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Compare layers, each with each. Rows are joined by id."""
    from actlens import compare as comparing
    from actlens.cli.selecting import recording, steps_note

    if out is not None:
        check(out, _SUFFIXES, force=force)
    if biased and measure is not Measure.cka:
        raise Misuse.biased(measure.value)
    chosen = getattr(comparing, measure.value)
    a = recording(run_a, where)
    b = recording(run_b, where) if run_b is not None else None
    for side in (a, b) if b is not None else (a,):
        steps_note(side)
    found = comparing.matrix(
        a,
        b,
        measure=chosen.with_options(debiased=False) if biased else chosen,
        layers=layers or None,
        positions=positions.value if positions is not None else None,
        cache=not no_cache,
    )
    tested = found.pvalue(permutations) if permutations is not None else None
    if out is not None:
        with writing(out):
            found.save(out)
    typer.echo(f"{found}\n\n{_matches(found, tested)}")


def _matches(found: Comparison, tested: Significance | None) -> str:
    """Write the best match of each layer of a; after a test, with its p."""
    from actlens.table import text_table

    rows = []
    for match in found.best():
        row = [match.layer_a, match.layer_b, f"{match.value:.4f}"]
        if tested is not None:
            at = found.layers_a.index(match.layer_a), found.layers_b.index(match.layer_b)
            row.append(f"{tested.values[at]:.3g}")
        rows.append(row)
    header = ["layer", "best match", found.title]
    if tested is None:
        return text_table(header, rows)
    of = f"groups of rows ({tested.groups:,})" if tested.groups is not None else "rows"
    note = f"p: {tested.permutations:,} shuffles of {of}, against the best of all pairs in each"
    return f"{text_table([*header, 'p'], rows)}\n{note}"
