"""Pictures with matplotlib: `scatter`, `trajectory`, `heatmap`, `feature_maps`, `scree`, `matrix`, `diff`.

    ax = actlens.plot.scatter(z, color="label")
    ax.figure.savefig("fc1.png")

Every function takes `ax=` (or `figure=` for a grid) and returns matplotlib Axes; none shows a window.
Importing this does not import matplotlib.
"""

# As in actlens.reduce: functions named like their modules, imported here so that the functions remain.
from actlens.plot.diff import diff as diff
from actlens.plot.feature_maps import feature_maps as feature_maps
from actlens.plot.heatmap import heatmap as heatmap
from actlens.plot.matrix import matrix as matrix
from actlens.plot.scatter import scatter as scatter
from actlens.plot.scree import scree as scree
from actlens.plot.trajectory import trajectory as trajectory

__all__ = ["diff", "feature_maps", "heatmap", "matrix", "scatter", "scree", "trajectory"]
