"""What one layer computes for one data point, as a heat map.

    python examples/heatmap_one_sample.py

`with_actlens` is the way here; `by_hand` is what it replaces.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # pictures go to files: no display is needed

import matplotlib.pyplot as plt
from digits_net import digits, trained

import actlens
from actlens import plot

SAMPLE = 42


def with_actlens(model, out):
    """Capture one forward; the names of the axes come along, so the picture can say what it shows."""
    images, _ = digits()
    forward = actlens.capture(model, ["conv1", "fc1"])
    _, acts = forward(images[SAMPLE : SAMPLE + 1])
    with actlens.Recorder(out / "one") as rec:
        rec.write(acts, id=[SAMPLE])
    run = actlens.open(out / "one")

    ax = plot.heatmap(run["conv1"], rows=0)
    ax.figure.savefig(out / "conv1.png", dpi=150)
    maps = plot.feature_maps(run["conv1"], image=images[SAMPLE])
    maps[0].figure.savefig(out / "conv1_maps.png", dpi=150)
    plt.close("all")
    return run


def by_hand(model, out):
    """Do the same with a hook and imshow.

    What can go wrong: whether 0 is in the middle of the colours depends on the values; an outlier takes all
    the colours; and the axes are numbers, of which nobody remembers whether they were channels or rows.
    """
    images, _ = digits()
    kept = {}
    handle = model.conv1.register_forward_hook(lambda _module, _args, output: kept.update(conv1=output))
    model(images[SAMPLE : SAMPLE + 1])
    handle.remove()
    figure, ax = plt.subplots()
    shown = ax.imshow(kept["conv1"].detach()[0].reshape(16, -1), aspect="auto")
    figure.colorbar(shown)
    figure.savefig(out / "conv1_by_hand.png", dpi=150)
    plt.close(figure)


def main(out_dir):
    """Do it both ways."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    model = trained(epochs=1)
    run = with_actlens(model, out)
    print(run)
    by_hand(model, out)
    print("wrote", *(out / name for name in ("conv1.png", "conv1_maps.png", "conv1_by_hand.png")))
    return run


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples_out")
