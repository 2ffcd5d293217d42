"""Bring activations to few dimensions: `pca`, `tsne`, `umap`, `densmap`, `pacmap`, or any estimator by `fit`.

    z = actlens.reduce.umap(run["layer4"], n_components=2, random_state=0)      # an Embedding
    actlens.plot.scatter(z, color="label")

Importing this loads numpy only; scikit-learn, openTSNE and umap-learn are imported by what needs them.
"""

# The functions are named like the modules they live in: importing them here, after their modules, leaves the
# functions as attributes. Python sets a submodule as an attribute only when it first imports it, that is now.
from actlens.reduce.aligning.alignment import Alignment as Alignment
from actlens.reduce.densmap import densmap as densmap
from actlens.reduce.embedding import Embedding as Embedding
from actlens.reduce.estimator import fit as fit
from actlens.reduce.pacmap import pacmap as pacmap
from actlens.reduce.pca import pca as pca
from actlens.reduce.quality import Quality as Quality
from actlens.reduce.tsne import tsne as tsne
from actlens.reduce.umap import umap as umap

__all__ = ["Alignment", "Embedding", "Quality", "densmap", "fit", "pacmap", "pca", "tsne", "umap"]
