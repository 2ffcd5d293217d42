"""t-SNE of a hidden layer as a scatter plot, coloured by label.

    python examples/tsne_scatter.py

`with_actlens` is the way here; `by_hand` is what it replaces.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # pictures go to files: no display is needed

import matplotlib.pyplot as plt
import numpy as np
from digits_net import loader, trained

import actlens
from actlens import plot, reduce


def with_actlens(model, batches, out):
    """Record, reduce, draw; ids and labels stay with their rows all the way."""
    run = actlens.record(model, batches, out / "run", layers="fc1", columns=["id", "label"])
    z = reduce.tsne(run["fc1"], random_state=0)
    z.save(out / "tsne.safetensors")  # with ids, labels, every parameter and the versions
    ax = plot.scatter(z, color="label")
    ax.figure.savefig(out / "tsne.png", dpi=150)
    plt.close(ax.figure)
    return z


def by_hand(model, batches, out):
    """Do the same with hooks, scikit-learn and matplotlib.

    What can go wrong: activations and labels are two lists that nothing holds together; the picture says
    neither the layer nor the parameters; its axes look as if they had units; the points are drawn in the
    order of the data, so that the last of a crowd hides the others; and tomorrow the points are gone.
    """
    import torch
    from sklearn.manifold import TSNE

    activations, labels = [], []
    handle = model.fc1.register_forward_hook(lambda _module, _args, output: activations.append(output))
    model.eval()
    with torch.no_grad():
        for images, _, y in batches:
            model(images)
            labels.append(y)
    handle.remove()
    points = TSNE(random_state=0).fit_transform(torch.cat(activations).numpy())
    figure, ax = plt.subplots()
    shown = ax.scatter(points[:, 0], points[:, 1], c=np.concatenate(labels), cmap="tab10", s=5)
    figure.colorbar(shown)
    figure.savefig(out / "tsne_by_hand.png", dpi=150)
    plt.close(figure)


def main(out_dir):
    """Do it both ways."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    model = trained()
    z = with_actlens(model, loader(), out)
    print(z)
    by_hand(model, loader(), out)
    print("wrote", out / "tsne.png", "and", out / "tsne_by_hand.png")
    return z


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples_out")
