"""`actlens plot feature-maps`: the channels of a convolution for one sample."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Force, Ident, Layer, PictureOut, Run, Where
from actlens.cli.plot.picture import check_picture, save
from actlens.cli.problems import Misuse


def feature_maps(
    run: Run,
    layer: Layer,
    *,
    out: PictureOut,
    where: Where = None,
    row: Annotated[int | None, typer.Option("--row", help="The sample, by row number.")] = None,
    ident: Ident = None,
    channels: Annotated[int, typer.Option("--channels", help="How many, from the first.")] = 16,
    force: Force = False,
) -> None:
    """Draw the channels of a convolution. One sample, each channel a small image."""
    from actlens import plot
    from actlens.cli.selecting import layer_of, recording, row_with_id
    from actlens.demo.picture_file import new_figure

    check_picture(out, force=force)
    if row is not None and ident is not None:
        raise Misuse.both("--row", "--id")
    activations = layer_of(recording(run, where), layer)
    number = row_with_id(activations, ident) if ident is not None else row or 0
    side = 1.4 * max(4, min(channels, activations.shape[1])) ** 0.5 + 1.2
    maps = plot.feature_maps(activations, row=number, channels=channels, figure=new_figure(side + 1.2, side))
    save(maps[0], out)
