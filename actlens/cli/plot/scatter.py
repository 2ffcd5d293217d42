"""`actlens plot scatter`: an embedding as points."""

from __future__ import annotations

from typing import Annotated

import typer

from actlens.cli.options import Color, EmbeddingFile, Force, PictureOut
from actlens.cli.plot.picture import check_picture, numbers, save


def scatter(
    embedding: EmbeddingFile,
    out: PictureOut,
    color: Color = None,
    components: Annotated[
        str | None, typer.Option("--components", metavar="I,J", help="Which two or three to draw, from 0.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw an embedding in two or three dimensions."""
    from actlens import plot
    from actlens.demo.picture_file import new_axes
    from actlens.reduce import Embedding

    check_picture(out, force=force)
    z = Embedding.load(embedding)
    chosen = numbers("--components", components) if components is not None else None
    three = (len(chosen) if chosen is not None else z.points.shape[1]) == 3
    save(plot.scatter(z, color=color, components=chosen, ax=new_axes(6.4, 4.8, three_d=three)), out)
