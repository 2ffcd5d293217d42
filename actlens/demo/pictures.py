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
    """What the pictures are made of. `image` (8, 8) is the input of the sample in row `row` of `late`."""

    run: Recording
    late: Recording
    layers: Sequence[str]
    embeddings: dict[str, Embedding]
    image: npt.NDArray[np.float32]
    row: int

    @property
    def first(self) -> LayerArray:
        """The first convolution at the last epoch."""
        return self.late[self.layers[0]]

    @property
    def last(self) -> LayerArray:
        """The last hidden layer at the last epoch."""
        return self.late[self.layers[-1]]


def scatter(method: str) -> Callable[[Material], Figure]:
    """Give the picture of one embedding, coloured by digit."""

    def picture(material: Material) -> Figure:
        axes = new_axes(6.4, 4.8)
        plot.scatter(material.embeddings[method], color="label", ax=axes)
        return figure_of(axes)

    return picture


def epochs(material: Material) -> Figure:
    """Draw the last hidden layer at several epochs, all in the axes of the last epoch's PCA."""
    axes_of_last = material.embeddings["pca"]
    steps = spread(np.unique(material.run.columns["step"]), _PANELS)
    frames = [axes_of_last.transform(material.run.sel(step=step)[material.layers[-1]]) for step in steps]
    columns = -(-len(frames) // (2 if len(frames) > 3 else 1))
    rows = -(-len(frames) // columns)
    figure = new_figure(3.0 * columns + 0.6, 3.0 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = limits([frame.points for frame in frames])
    for panel, frame, step in zip(panels, frames, steps, strict=False):
        at_edge = panel is panels[columns - 1]  # one legend, beside the first row
        plot.scatter(frame, color="label", ax=panel, legend=at_edge, title=f"epoch {step}", size=9)
        panel.set_aspect("equal", adjustable="box")
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for panel in panels[len(frames) :]:
        panel.set_axis_off()
    figure.suptitle(
        f"{material.layers[-1]} while training, in the axes of one PCA (of epoch {steps[-1]})", fontsize=10
    )
    return figure


def scree(material: Material) -> Figure:
    """Draw the variance that the components explain."""
    axes = new_axes(6.4, 4.0)
    plot.scree(material.embeddings["scree"], ax=axes)
    return figure_of(axes)


def heatmap(material: Material) -> Figure:
    """Draw samples × units of the last hidden layer, digit by digit."""
    axes = new_axes(7.2, 6.4)
    order = np.argsort(material.late.columns["label"], kind="stable")
    plot.heatmap(material.late.take(order)[material.layers[-1]], color="label", ax=axes)
    return figure_of(axes)


def one_sample(material: Material) -> Figure:
    """Draw one layer for one sample."""
    axes = new_axes(7.2, 4.8)
    plot.heatmap(material.late[material.layers[1]], rows=material.row, ax=axes)
    return figure_of(axes)


def feature_maps(material: Material) -> Figure:
    """Draw the channels of the first convolution for one sample, its image beside them."""
    figure = new_figure(7.2, 5.2)
    plot.feature_maps(material.first, row=material.row, image=material.image, figure=figure)
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


def spread(steps: npt.NDArray[np.int64], count: int) -> list[int]:
    """Pick at most `count` steps: more of the early ones, where most happens, and always the last.

    >>> spread(np.arange(11), 6)
    [0, 1, 2, 3, 6, 10]
    """
    last = len(steps) - 1
    picked = {round(last * (at / max(1, count - 1)) ** 1.6) for at in range(count)}
    fill = [at for at in range(last + 1) if at not in picked]
    while len(picked) < min(count, last + 1):  # short trainings round to the same epoch
        picked.add(fill.pop(0))
    return [int(steps[at]) for at in sorted(picked)]


def limits(
    frames: Sequence[npt.NDArray[np.float32]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Give the corners (2,) and (2,) of one square around all points (samples, 2)."""
    points = np.concatenate(frames)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = (points.max(axis=0) - points.min(axis=0)).max() / 2 * 1.05
    return middle - half, middle + half
