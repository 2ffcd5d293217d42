"""`actlens plot trajectory`: an aligned embedding, one picture a step."""

from __future__ import annotations

from actlens.cli.options import Color, EmbeddingFile, Force, PictureOut
from actlens.cli.plot.picture import check_picture, save


def trajectory(embedding: EmbeddingFile, out: PictureOut, color: Color = None, force: Force = False) -> None:
    """Draw an embedding of many steps. One picture for each, with the same axes."""
    from actlens import plot
    from actlens.reduce import Embedding

    check_picture(out, force=force)
    z = Embedding.load(embedding)
    save(plot.trajectory(z, color=color)[0], out)
