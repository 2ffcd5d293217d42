"""`actlens plot heatmap`: activations as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Color, Flatten, Force, Ident, Layer, Mean, PictureOut, Run, Tokens, Where
from actlens.cli.plot.picture import check_picture, save
from actlens.cli.plot.picture import rows as rows_of
from actlens.cli.problems import Misuse


def heatmap(  # noqa: PLR0913 - the options of a command
    run: Run,
    layer: Layer,
    *,
    out: PictureOut,
    where: Where = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="N or A:B", help="One sample by number, or a range.")
    ] = None,
    ident: Ident = None,
    color: Color = None,
    sort: Annotated[bool, typer.Option("--sort", help="Order the samples by --color.")] = False,
    flatten: Flatten = False,
    mean: Mean = False,
    tokens: Tokens = False,
    force: Force = False,
) -> None:
    """Draw samples × units. With --rows N or --id, one sample of a layer of any shape."""
    from actlens import plot
    from actlens.cli.selecting import layer_of, recording, row_with_id
    from actlens.demo.picture_file import new_axes

    check_picture(out, force=force)
    if rows is not None and ident is not None:
        raise Misuse.both("--rows", "--id")
    chosen = rows_of(rows) if rows is not None else None
    selected = recording(run, where)
    activations = layer_of(selected, layer, flatten=flatten, mean=mean, tokens=tokens)
    if ident is not None:
        chosen = row_with_id(activations, ident)
    save(plot.heatmap(activations, rows=chosen, color=color, sort=sort, ax=new_axes(7.2, 5.4)), out)
