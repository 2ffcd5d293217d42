"""`Embedding`: where a reducer put the samples, and everything needed to know how."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actlens.errors import ReduceError
from actlens.reduce.aligning.alignment import Alignment
from actlens.reduce.components.axes import Solution
from actlens.reduce.source import LayerLike, Rows
from actlens.table import printable

if TYPE_CHECKING:
    from actlens.reduce.quality import Quality

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """Samples in few dimensions, with their ids and columns, and how they got there.

    >>> z = actlens.reduce.pca(run["fc1"], n_components=2)
    >>> z
    Embedding(fc1 · pca · 120 samples × 2 · columns: label)
    >>> threes = z.points[z.columns["label"] == 3]          # a numpy array
    >>> z.save("fc1-pca.safetensors")

    Attributes
    ----------
    points
        (samples, n_components), float32.
    ids, columns
        (samples,) and column → (samples,): as in the recording; 0, 1, 2 … and none for a plain array.
    layer
        The layer's key; "" for a plain array.
    method, parameters, versions
        Provenance: "pca", every parameter in scikit-learn's names, and package → version.
    explained_variance, explained_variance_ratio
        (n_components,), float64; reduce.pca only, else None.
    components, mean
        (n_components, features) and (features,), float64; reduce.pca only, else None.
    solution
        How the components were found, and their estimated error; reduce.pca only, else None.
    alignment
        An Alignment where `by=` and `align=` were given: the frames, and how much of the motion is real.
    fitted, rows
        The fitted model, for `transform`, and the activations, for `quality`. In memory only: both are None
        after `load`.
    quality_
        What `quality` gave last, or None.
    """

    points: Array
    ids: Array
    columns: dict[str, Array]
    layer: str
    method: str
    parameters: dict[str, Any]
    versions: dict[str, str]
    explained_variance: Array | None = None
    explained_variance_ratio: Array | None = None
    components: Array | None = None
    mean: Array | None = None
    solution: Solution | None = None
    alignment: Alignment | None = None
    fitted: Any = None
    rows: Rows | None = None
    quality_: Quality | None = dataclasses.field(default=None, init=False)  # not of a changed copy

    def __post_init__(self) -> None:
        if self.points.ndim != 2:
            raise ReduceError.wrong_points("points", self.points.shape, "(samples, n_components)")
        if self.ids.shape != (len(self.points),):
            raise ReduceError.wrong_points("ids", self.ids.shape, f"({len(self.points)},)")
        for name, column in self.columns.items():
            if column.ndim != 1:
                raise ReduceError.bad_column(name, f"has shape {column.shape}; it takes one value a sample")
            if len(column) != len(self.points):
                raise ReduceError.bad_column(name, f"has {len(column)} values for {len(self.points)} samples")
        self._check_axes()

    def _check_axes(self) -> None:
        k = self.points.shape[1]
        for name in ("explained_variance", "explained_variance_ratio"):
            given = getattr(self, name)
            if given is not None and given.shape != (k,):
                raise ReduceError.wrong_points(name, given.shape, f"({k},), one for each component of points")
        if self.components is not None and (self.components.ndim != 2 or len(self.components) != k):
            raise ReduceError.wrong_points("components", self.components.shape, f"({k}, features)")
        features = None if self.components is None else self.components.shape[1]
        if self.mean is not None and (self.mean.ndim != 1 or features not in (None, len(self.mean))):
            expected = "(features,)" if features is None else f"({features},)"
            raise ReduceError.wrong_points("mean", self.mean.shape, expected)

    def __len__(self) -> int:
        return len(self.points)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.points, dtype=dtype) if copy else np.asarray(self.points, dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        """To another process go the points: a model and open files stay in this one."""
        return self.__dict__ | {"fitted": None, "rows": None}

    def __repr__(self) -> str:
        samples, k = self.points.shape
        parts = [self.layer, self.method, f"{samples:,} samples × {k}"]
        columns = [name for name in self.columns if name != "id"]
        if columns:
            parts.append(f"columns: {', '.join(columns)}")
        return f"Embedding({' · '.join(printable(part) for part in parts if part)})"

    @property
    def step(self) -> Any:
        """The one training step that all rows are of; None where they carry none or several."""
        steps = self.columns.get("step")
        if steps is None or not len(steps) or not (steps == steps[0]).all():
            return None
        return steps[0].item() if isinstance(steps[0], np.generic) else steps[0]

    def transform(self, layer: LayerLike) -> Embedding:
        """Map new rows (samples, features) into the same picture.

        >>> z = actlens.reduce.tsne(run["fc1"][:100], random_state=0)
        >>> z.transform(run["fc1"][100:])
        Embedding(tsne · 20 samples × 2)

        By pca exactly. By tsne (openTSNE), umap, pacmap, and what reduce.fit was given where it has one,
        through the fitted model, which is in memory only.

        Raises ReduceError for an embedding by one of these that was loaded from a file, for a method without
        it, and for another number of features.
        """
        from actlens.reduce.fitted import transform

        return transform(self, layer)

    def quality(
        self,
        layer: LayerLike | None = None,
        *,
        k: int = 10,
        samples: int = 2_000,
        random_state: int = 0,
    ) -> Quality:
        """Measure how much of the layer the picture keeps; each number beside that of a PCA of 2 components.

        >>> z = actlens.reduce.pca(run["fc1"])
        >>> z.quality(run["fc1"], k=5)
        Quality(5-NN recall ... · trustworthiness ... · distance correlation ... · 120 of 120 samples)

        Parameters
        ----------
        layer
            (samples, features): what was reduced. None: the rows that this process reduced. Rows are joined
            by id, so the layer may have more of them.
        k
            Neighbours; below half of the samples.
        samples
            How many of the rows are asked; their neighbours are looked for among all.
        random_state
            Which of the rows.

        Raises
        ------
        ReduceError
            No layer for an embedding that was loaded; ids that it lacks; another k.
        MissingDependency
            scikit-learn is not installed.

        See `Quality` for the measures. The last one is kept in `quality_`, and plot.scatter writes it.
        """
        from actlens.reduce.quality import measure

        found = measure(self, layer, k=k, samples=samples, random_state=random_state)
        object.__setattr__(self, "quality_", found)  # a note beside the points, which stay as they are
        return found

    def inverse(self, points: npt.ArrayLike) -> Array:
        """Map points (samples, n_components) back to activations (samples, features), float64. PCA only.

        What the components do not hold is lost: with all of them, this is the input again.
        Raises ReduceError for another method, or another number of components.
        """
        from actlens.reduce.pca import inverse

        return inverse(self, points)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole or not at all.

        What it holds is in docs/format.md, "Bundles". Raises ReduceError for a column of objects, and for a
        path where no file can be made.
        """
        from actlens.reduce.embedding_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Embedding:
        """Read what `save` wrote. Raises ReduceError for anything else."""
        from actlens.reduce.embedding_file import load

        return load(path)

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame: ids as index, the columns, then pca1, pca2 and so on."""
        try:
            import pandas as pd  # type: ignore[import-untyped,unused-ignore]
        except ImportError as error:
            raise ReduceError.no_pandas() from error
        names = [f"{self.method}{k + 1}" for k in range(self.points.shape[1])]
        frame = pd.DataFrame(self.points, columns=names, index=pd.Index(self.ids, name="id"))
        columns = {name: column for name, column in self.columns.items() if name != "id"}
        for position, (name, column) in enumerate(columns.items()):
            frame.insert(position, name, column, allow_duplicates=True)
        return frame


def versions_of(*packages: str) -> dict[str, str]:
    """Give package → installed version, and actlens's own, for provenance."""
    from actlens._version import __version__

    return {"actlens": __version__} | {name: importlib.metadata.version(name) for name in packages}


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters as what JSON can hold; an array or an object becomes a short text."""
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return plain({str(key): item for key, item in value.items()})
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    return getattr(value, "__name__", None) or repr(value)[:200]
