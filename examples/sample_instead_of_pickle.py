"""Keep the activations of a tenth of a data set on disk, and read them again.

    python examples/sample_instead_of_pickle.py

`with_actlens` is the way here; `by_hand` is what it replaces: hooks, lists and a pickle.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from digits_net import loader, trained

import actlens


def with_actlens(model, batches, path):
    """Keep 10 % of the samples: the same ones in every run, epoch and framework, as their ids decide."""
    return actlens.record(model, batches, path, layers=["conv1", "fc1"], columns=["id", "label"], sample=0.1)


def by_hand(model, batches, path):
    """Do the same with what PyTorch and Python offer.

    What can go wrong: the whole data set is in memory before it is sampled; the sample depends on the order
    of the data; a layer that is called twice mixes its rows; an in-place ReLU after conv1 would change what
    was kept; the mode of the model is changed for good; a crash while writing leaves half a file; and
    opening a pickle runs whatever code is in it.
    """
    kept = {"conv1": [], "fc1": [], "id": [], "label": []}

    def hook_for(name):
        def hook(_module, _args, output):
            kept[name].append(output.detach().cpu().numpy())

        return hook

    handles = [
        module.register_forward_hook(hook_for(name)) for name, module in model.named_modules() if name in kept
    ]
    model.eval()
    try:
        with torch.no_grad():
            for images, ids, labels in batches:
                model(images)
                kept["id"].append(ids.numpy())
                kept["label"].append(labels.numpy())
    finally:
        for handle in handles:
            handle.remove()
    arrays = {name: np.concatenate(parts) for name, parts in kept.items()}
    rows = np.random.default_rng(0).permutation(len(arrays["id"]))[: len(arrays["id"]) // 10]
    with open(path, "wb") as file:
        pickle.dump({name: array[rows] for name, array in arrays.items()}, file)
    with open(path, "rb") as file:
        return pickle.load(file)


def main(out_dir):
    """Do it both ways and say what came out."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    model = trained()

    run = with_actlens(model, loader(), out / "tenth")
    print(run)
    print("ids:", *run.ids[:6], "…  labels:", *run.columns["label"][:6], "…")
    print("fc1 of the first three, read from the disk:", run["fc1"][:3].shape)

    again = actlens.open(out / "tenth")  # another day, another program; PyTorch is not needed
    print("mean of conv1 over positions:", again["conv1"].mean("height", "width")[:].shape)

    kept = by_hand(model, loader(), out / "tenth.pickle")
    print("by hand:", {name: array.shape for name, array in kept.items()})
    return run


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples_out")
