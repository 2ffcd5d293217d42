"""Moments: sums of two sets of layers, batch by batch; measures follow from them without the activations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.cells import Cells
from actlens.compare.comparison import Comparison, described
from actlens.compare.folds import folds_of
from actlens.compare.given import layers_of
from actlens.compare.joining import LEAST_ROWS
from actlens.compare.measure import Measure
from actlens.compare.measures import MEASURES, cka
from actlens.compare.shifting import about
from actlens.compare.sums import Adder, Shape, Sums
from actlens.errors import CompareError

Array = npt.NDArray[Any]

_FEATURE = "Moments.update"
_NOTHING = np.empty(0, np.int64)


class Moments:
    """First and second moments of two sets of layers, summed in one pass over batches of the same rows.

    >>> import numpy as np
    >>> from actlens import compare
    >>> x = np.random.default_rng(0).normal(size=(60, 5))
    >>> m = compare.Moments()
    >>> for batch in np.split(x, 3):
    ...     _ = m.update({"fc1": batch}, {"fc1": batch @ np.ones((5, 2))})
    >>> m.rows, m.matrix(compare.linear_r2).values.round(6).tolist()
    (60, [[1.0]])

    It is exact: from the same sums follow biased and debiased linear CKA, Procrustes, CCA, SVCCA, PWCCA,
    linear R², RSA of squared distances, and with `folds` ridge regression. Memory is 8 bytes for each pair of
    features, whatever the rows. Sums of several programs are merged.

    Parameters
    ----------
    folds
        How many folds `compare.ridge` will have; they go by the ids, which `update` then needs.
    precision
        "float64"; or "float32" for products of single precision, about twice as fast: enough for CKA and RSA.
    """

    def __init__(self, *, folds: int = 1, precision: str = "float64") -> None:
        if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 1:
            raise CompareError.option("Moments", "folds", folds, "a whole number of at least 1")
        if precision not in ("float64", "float32"):
            raise CompareError.option("Moments", "precision", precision, "'float64' or 'float32'")
        self.folds = int(folds)
        self.precision = precision
        self.layers_a: tuple[str, ...] = ()
        self.layers_b: tuple[str, ...] = ()
        self.sums: Sums | None = None

    @property
    def rows(self) -> int:
        """How many rows were summed up."""
        return 0 if self.sums is None else int(self.sums.count.sum())

    @property
    def same(self) -> bool:
        """Whether the layers of a are compared with each other."""
        return self.sums is not None and self.sums.shape.same

    def update(
        self,
        a: Mapping[str, npt.ArrayLike],
        b: Mapping[str, npt.ArrayLike] | None = None,
        *,
        ids: npt.ArrayLike | None = None,
    ) -> Moments:
        """Add a batch: layer → (rows, features) of a and of b, the same rows in both; gives itself back.

        A batch that is refused changes nothing.

        Parameters
        ----------
        a, b
            The same layers in every batch. Without b, the layers of a are compared with each other.
        ids
            (rows,) of the samples; needed for folds.

        Raises
        ------
        CompareError
            Other layers, features or rows than before; NaN or inf; no ids where there are folds.
        """
        sides = [layers_of(side, name, _FEATURE) for name, side in (("a", a), ("b", b)) if side is not None]
        blocks = [given.values for side in sides for given in side]
        names = [tuple(given.name for given in side) for side in sides]
        self._check(blocks, names)
        codes = self._codes(ids, len(blocks[0]))
        sums = self.sums or self._begun(blocks, names)
        Adder(sums, np.dtype(self.precision)).add(blocks, codes)
        self.sums, self.layers_a, self.layers_b = sums, names[0], names[-1]
        return self

    def _begun(self, blocks: list[Array], names: list[tuple[str, ...]]) -> Sums:
        """Begin with the mean of the first batch as the shift."""
        widths = [block.shape[1] for block in blocks]
        split = len(names[0])
        shape = Shape(tuple(widths[:split]), tuple(widths[split:]), self.folds)
        means = [block.astype(np.float64).mean(axis=0) for block in blocks]
        return Sums.zero(shape, np.concatenate(means))

    def _check(self, blocks: list[Array], names: list[tuple[str, ...]]) -> None:
        flat = [name for side in names for name in side]
        for name, block in zip(flat, blocks, strict=True):
            if not isinstance(block, np.ndarray) or block.ndim != 2:
                raise CompareError.batch_axes(_FEATURE, name, tuple(block.shape))
            if len(block) != len(blocks[0]) or not len(block):
                counts = {name: len(each) for name, each in zip(flat, blocks, strict=True)}
                raise CompareError.batch_rows(_FEATURE, counts)
            bad = np.flatnonzero(~np.isfinite(block.astype(np.float64)).all(axis=1))
            if len(bad):
                raise CompareError.batch_not_finite(_FEATURE, name, bad[:12].tolist(), len(bad))
        if self.sums is not None:
            widths = tuple(block.shape[1] for block in blocks)
            before = dict(zip(self._flat(), self.sums.shape.widths, strict=True))
            now = dict(zip(self._flat(names), widths, strict=True))
            if before != now or list(before) != list(now):
                raise CompareError.other_layers(_FEATURE, before, now)

    def _flat(self, names: list[tuple[str, ...]] | None = None) -> list[str]:
        if names is None:
            names = [self.layers_a] if self.same else [self.layers_a, self.layers_b]
        return [f"{side}'s {name}" for side, own in zip("ab", names, strict=False) for name in own]

    def _codes(self, ids: npt.ArrayLike | None, rows: int) -> Array | None:
        if self.folds == 1:
            return None
        given = None if ids is None else np.asarray(ids)
        if given is None or given.shape != (rows,):
            raise CompareError.fold_ids(_FEATURE, None if given is None else given.shape, rows)
        return folds_of(given, self.folds)

    def merge(self, other: Moments) -> Moments:
        """Add the sums of another pass over other rows of the same layers; gives itself back.

        Raises
        ------
        CompareError
            Other layers, features or folds.
        """
        if not isinstance(other, Moments):
            raise CompareError.not_moments(other)
        if other.sums is None:
            return self
        if self.sums is None:
            self.sums = about(other.sums, other.sums.shift)  # a copy
            self.layers_a, self.layers_b = other.layers_a, other.layers_b
            self.folds, self.precision = other.folds, other.precision
            return self
        mine, theirs = (
            (each.layers_a, each.layers_b, each.sums.shape if each.sums else None) for each in (self, other)
        )
        if mine != theirs:
            raise CompareError.other_moments(mine, theirs)
        self.sums.add(about(other.sums, self.sums.shift))
        return self

    def matrix(self, measure: Measure = cka) -> Comparison:
        """Give the values of a measure for all pairs of layers.

        Raises
        ------
        CompareError
            Fewer than 4 rows; a measure that is no sum over rows; folds that are not those of the measure.
        """
        if not isinstance(measure, Measure):
            raise CompareError.not_a_measure("Moments.matrix", measure, MEASURES)
        if self.sums is None or self.rows < LEAST_ROWS:
            raise CompareError.few_rows("Moments.matrix", self.rows, LEAST_ROWS, "")
        if measure.needs == "rows":
            raise CompareError.needs_rows(measure.title)
        folds = getattr(measure, "folds", 1)
        if folds not in (1, self.folds):
            raise CompareError.other_folds(folds, self.folds)
        return self._comparison(measure, measure.of_moments(self.sums))

    def _comparison(self, measure: Measure, cells: Cells) -> Comparison:
        reasons = {(self.layers_a[i], self.layers_b[j]): why for (i, j), why in cells.reasons.items()}
        return Comparison(
            values=cells.values,
            layers_a=self.layers_a,
            layers_b=self.layers_b,
            same=self.same,
            rows=self.rows,
            samples=self.rows,
            only_a=_NOTHING,
            only_b=_NOTHING,
            positions=None,
            path="moments",
            why="the batches were summed up as they came",
            reasons=reasons,
            **described(measure),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sums into one safetensors file. Raises CompareError where the path cannot be written."""
        from actlens.compare.moments_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Moments:
        """Read what `save` wrote. Raises CompareError for a file that is none, or damaged."""
        from actlens.compare.moments_file import load

        return load(path)

    def __repr__(self) -> str:
        b = "themselves" if self.same else f"{len(self.layers_b)} layers"
        return f"<Moments of {self.rows:,} rows: {len(self.layers_a)} layers with {b}>"
