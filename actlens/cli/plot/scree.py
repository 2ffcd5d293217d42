"""`actlens plot scree`: what the components of a PCA explain."""

from __future__ import annotations

from actlens.cli.options import EmbeddingFile, Force, PictureOut
from actlens.cli.plot.picture import check_picture, save


def scree(embedding: EmbeddingFile, out: PictureOut, force: Force = False) -> None:
    """Draw what the components of a PCA explain."""
    from actlens import plot
    from actlens.demo.picture_file import new_axes
    from actlens.reduce import Embedding

    check_picture(out, force=force)
    save(plot.scree(Embedding.load(embedding), ax=new_axes(6.4, 4.0)), out)
