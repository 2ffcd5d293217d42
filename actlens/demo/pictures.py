"""The demo's pictures: each from the recording and the embeddings, in one function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from actlens import plot
from actlens.demo.picture_file import new_axes, new_figure
from actlens.layer_array import LayerArray
from actlens.recording import Recording
from actlens.reduce import Embedding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """What the pictures are made of: the recording, and its rows of the last epoch.

    `accuracies` maps epoch → share named rightly; `image` (8, 8) is the input of the first row of `late`.
    """

    run: Recording
    late: Recording
    layers: Sequence[str]
    embeddings: dict[str, Embedding]
    accuracies: dict[int, float]
    image: npt.NDArray[np.float32]

    @property
    def first(self) -> LayerArray:
        """The first convolution at the last epoch."""
        layer: LayerArray = self.late[self.layers[0]]
        return layer

    @property
    def last(self) -> LayerArray:
        """The last hidden layer at the last epoch."""
        layer: LayerArray = self.late[self.layers[-1]]
        return layer


def scatter(method: str) -> Callable[[Material], Figure]:
    """Give the picture of one embedding, coloured by digit."""

    def picture(material: Material) -> Figure:
        axes = new_axes(6.4, 4.8)
        plot.scatter(material.embeddings[method], color="label", ax=axes)
        return figure_of(axes)

    return picture


def epochs(material: Material) -> Figure:
    """Draw the last hidden layer at several epochs, all in the axes of the last epoch's PCA."""
    layer, fitted = material.layers[-1], material.embeddings["pca"]
    steps = spread(sorted(material.accuracies), _PANELS)
    frames = {step: fitted.transform(material.run.sel(step=step)[layer]) for step in steps}
    low, high = limits([frame.points for frame in frames.values()])
    columns = min(3, len(steps))
    rows = -(-len(steps) // columns)
    figure = new_figure(3.2 * columns + 0.8, 3.2 * rows * (high - low)[1] / (high - low)[0] + 0.9)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, (step, frame) in zip(panels, frames.items(), strict=False):
        title = f"epoch {step} · {100 * material.accuracies[step]:.0f} % right"
        legend = panel is panels[columns - 1]  # one for all, at the end of the first row
        plot.scatter(frame, color="label", ax=panel, legend=legend, title=title, size=9)
        panel.set_aspect("equal", adjustable="box")
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        panel.label_outer()
    for panel in panels[len(frames) :]:
        panel.set_axis_off()
    figure.suptitle(f"{layer} while it learns, in the axes of one PCA (of epoch {steps[-1]})", fontsize=10)
    return figure


def scree(material: Material) -> Figure:
    """Draw the variance that the components explain."""
    axes = new_axes(6.4, 4.0)
    plot.scree(material.embeddings["scree"], ax=axes)
    return figure_of(axes)


def heatmap(material: Material) -> Figure:
    """Draw samples × units of the last hidden layer, digit by digit."""
    axes = new_axes(7.2, 6.4)
    plot.heatmap(material.last, color="label", sort=True, ax=axes)
    return figure_of(axes)


def one_sample(material: Material) -> Figure:
    """Draw one layer for one sample."""
    axes = new_axes(7.2, 4.8)
    plot.heatmap(material.late[material.layers[1]], rows=0, ax=axes)
    return figure_of(axes)


def feature_maps(material: Material) -> Figure:
    """Draw the channels of the first convolution for one sample, its image beside them."""
    figure = new_figure(7.2, 5.2)
    plot.feature_maps(material.first, row=0, image=material.image, figure=figure)
    return figure


PICTURES: dict[str, Callable[[Material], Figure]] = {  # the names are explained in actlens.demo.folder
    "pca.png": scatter("pca"),
    "tsne.png": scatter("tsne"),
    "umap.png": scatter("umap"),
    "epochs.png": epochs,
    "scree.png": scree,
    "heatmap.png": heatmap,
    "one_sample.png": one_sample,
    "feature_maps.png": feature_maps,
}


def figure_of(axes: object) -> Figure:
    """Give the figure that an Axes is in."""
    figure: Figure = axes.figure  # type: ignore[attr-defined]
    return figure


def spread(steps: Sequence[int], count: int) -> list[int]:
    """Pick at most `count` steps: more of the early ones, where most happens, and always the last.

    >>> spread(range(11), 6)
    [0, 1, 2, 4, 7, 10]
    >>> spread(range(3), 6)
    [0, 1, 2]
    """
    last = len(steps) - 1
    picked = {round(last * (at / (count - 1)) ** 1.6) for at in range(count)}
    missing = [at for at in range(last + 1) if at not in picked]
    short = min(count, last + 1) - len(picked)  # of a short training, several round to the same epoch
    return [steps[at] for at in sorted(picked.union(missing[:short]))]


def limits(
    frames: Sequence[npt.NDArray[np.float32]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Give two corners (2,) of a box around all points (samples, 2), with a margin."""
    points = np.concatenate(frames)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * float((high - low).max())
    return low - margin, high + margin
