"""The digits demo trained in PyTorch, Flax and Keras: are the three networks alike, layer by layer?

python examples/three_frameworks.py compared.png      # needs the extras torch, jax, tf and look
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import actlens
from actlens import compare, plot
from actlens.demo.digits import load, split
from actlens.demo.protocol import framework

FRAMEWORKS = {"torch": "PyTorch", "flax": "Flax", "keras": "Keras"}
LAYERS = ["conv1", "conv2", "fc1", "fc2"]
EPOCHS = 10


def trained_and_recorded(name, folder):
    """Train one framework's network and record its layers on images that it has not seen."""
    demo, (training, others) = framework(name), split(load(), seed=0)
    *_, (_, model) = demo.train(training.images, training.labels, epochs=EPOCHS, seed=0)
    batches = [(demo.layout(others.images), others.ids, others.labels)]
    return actlens.record(model, batches, Path(folder, name), layers=LAYERS, columns=["id", "label"])


def main(out):
    """Draw each pair of frameworks beside the others."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: trained_and_recorded(name, folder) for name in FRAMEWORKS}
        figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
        pairs = [("torch", "flax"), ("torch", "keras"), ("flax", "keras")]
        for ax, (a, b) in zip(axes, pairs, strict=True):
            found = compare.matrix(runs[a], runs[b], positions="flatten")
            plot.matrix(found, ax=ax, title=f"{FRAMEWORKS[a]} and {FRAMEWORKS[b]}: debiased CKA")
            ax.set(xlabel=f"layers of {FRAMEWORKS[b]}", ylabel=f"layers of {FRAMEWORKS[a]}")
            print(a, b, found.pvalue(99).values.max(), np.round(found.values, 2).tolist())
        figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
