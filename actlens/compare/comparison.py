"""Comparison: the values of a measure for all pairs of layers, and all that is needed to read them."""

from __future__ import annotations

import dataclasses
import importlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actlens.errors import CompareError, MissingDependency
from actlens.table import printable, text_table

if TYPE_CHECKING:
    from actlens.compare.cells import Cells
    from actlens.compare.intervals import Intervals
    from actlens.compare.joining import Joined
    from actlens.compare.measure import Measure
    from actlens.compare.plan import Plan
    from actlens.compare.significance import Significance

Array = npt.NDArray[Any]

_SHOWN = 16  # layers of a side in the printed table


class Match(NamedTuple):
    """A layer of a, the layer of b that is most alike, and the value."""

    layer_a: str
    layer_b: str
    value: float


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare.matrix` gives; print it for a table.

    Attributes
    ----------
    values
        (layers_a, layers_b), float64, as computed: never clipped. NaN where it cannot be said.
    layers_a, layers_b
        The names, in the order of the forward.
    measure, options, title
        Which measure, with which options, and what a picture calls it.
    similarity, symmetric, signed
        Whether more is more alike; whether a and b can be exchanged; whether values below 0 mean something.
    same
        Whether the layers of a were compared with each other.
    rows, samples
        How many rows were used, and how many samples they are of: fewer where rows are positions.
    only_a, only_b
        The ids that were left out, because the other side has not got them.
    positions
        What was made of layers of more than two axes.
    path, why
        How it was computed, and why in this way: by "gram" tiles, in one pass of "moments", or with all
        "rows".
    reasons
        (layer of a, layer of b) → why there is no value.
    name_a, name_b
        The path of each recording.
    """

    values: Array
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    measure: str
    options: dict[str, Any]
    title: str
    similarity: bool
    symmetric: bool
    signed: bool
    same: bool
    rows: int
    samples: int
    only_a: Array
    only_b: Array
    positions: str | None
    path: str
    why: str
    reasons: dict[tuple[str, str], str]
    name_a: str = "a"
    name_b: str = "b"
    joined: Joined | None = dataclasses.field(default=None, repr=False)
    definition: Measure | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(cls, joined: Joined, measure: Measure, cells: Cells, plan: Plan) -> Comparison:
        """Put the values of a measure together with where they came from."""
        layers_a, layers_b = (tuple(layer.name for layer in side) for side in (joined.a, joined.b))
        return cls(
            values=cells.values,
            layers_a=layers_a,
            layers_b=layers_b,
            rows=joined.rows,
            samples=len(np.unique(joined.samples)),
            same=joined.same,
            only_a=joined.only_a,
            only_b=joined.only_b,
            positions=joined.positions,
            path=plan.path,
            why=plan.why,
            reasons={(layers_a[i], layers_b[j]): why for (i, j), why in cells.reasons.items()},
            **described(measure),
        )

    @property
    def z(self) -> Array:
        """How many standard deviations debiased CKA is from what unrelated layers give: (layers_a, layers_b).

        If the samples of one side are shuffled, its mean is 0 and its variance 2 / (n (n − 3)), exactly and
        for any data. It is a screening number: a few strong directions make it skewed, and `pvalue` says
        more.

        Raises
        ------
        CompareError
            For another measure; where rows are positions of samples, which are not exchangeable.
        """
        if self.measure != "cka" or not self.options.get("debiased"):
            raise CompareError.no_z(self.title)
        if self.samples < self.rows:
            raise CompareError.z_of_positions(self.rows, self.samples)
        return np.asarray(self.values * np.sqrt(self.rows * (self.rows - 3) / 2))

    def pvalue(
        self, permutations: int = 1000, *, groups: str | npt.ArrayLike | None = None, random_state: int = 0
    ) -> Significance:
        """Test whether layers are more alike than with the samples of b shuffled; see `Significance`.

        Parameters
        ----------
        permutations
            How many; the smallest p is 1 / (permutations + 1).
        groups
            Rows that belong together and are shuffled as one: a column of a, or (rows,) values. Where rows
            are positions, the samples they are of, if left out.
        random_state
            The seed.
        """
        from actlens.compare.significance import significance

        return significance(self, permutations, groups=groups, random_state=random_state)

    def bootstrap(
        self,
        resamples: int = 1000,
        *,
        groups: str | npt.ArrayLike | None = None,
        level: float = 0.95,
        random_state: int = 0,
    ) -> Intervals:
        """Say how much the values would change with other samples of the same kind; see `Intervals`."""
        from actlens.compare.intervals import intervals

        return intervals(self, resamples, groups=groups, level=level, random_state=random_state)

    def best(self) -> list[Match]:
        """Give, for each layer of a, the layer of b that is most alike; none where there is no value.

        A layer that is compared with its own side is not matched with itself.
        """
        values = self.values.copy()
        if self.same:
            np.fill_diagonal(values, np.nan)
        found = []
        for name, row in zip(self.layers_a, values, strict=True):
            if np.isfinite(row).any():
                column = int(np.nanargmax(row) if self.similarity else np.nanargmin(row))
                found.append(Match(name, self.layers_b[column], float(row[column])))
        return found

    def to_pandas(self) -> Any:
        """Give the values as a DataFrame: layers of a as its index, layers of b as its columns.

        Raises MissingDependency where pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingDependency.for_pandas("Comparison.to_pandas") from error
        return pandas.DataFrame(self.values, index=list(self.layers_a), columns=list(self.layers_b))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into one safetensors file.

        Raises CompareError where the path cannot be written.
        """
        from actlens.compare.comparison_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read what `save` wrote: all but the activations, so that `pvalue` and `bootstrap` need `matrix`
        again.

        Raises CompareError for a file that is none, or damaged.
        """
        from actlens.compare.comparison_file import load

        return load(path)

    def __repr__(self) -> str:
        shape = f"{len(self.layers_a)} × {len(self.layers_b)} layers"
        return f"<Comparison {printable(self.title)}: {shape}, {self.rows:,} rows, by {self.path}>"

    def __str__(self) -> str:
        a, b = self.layers_a[:_SHOWN], self.layers_b[:_SHOWN]
        rows = [
            [name, *(f"{value:.4f}" for value in row)]
            for name, row in zip(a, self.values[:, : len(b)].tolist(), strict=False)
        ]
        return "\n".join([text_table([self.title, *b], rows), *self._notes()])

    def _notes(self) -> list[str]:
        """Say below the table what it is of."""
        of = f" of {self.samples:,} samples" if self.samples < self.rows else ""
        notes = [f"{self.rows:,} rows{of}, joined by id; computed by {self.path}: {self.why}"]
        if self.positions is not None:
            notes.append(f"positions: {self.positions}")
        if len(self.only_a) or len(self.only_b):
            notes.append(f"left out: {len(self.only_a):,} ids only in a, {len(self.only_b):,} only in b")
        hidden = max(len(self.layers_a), len(self.layers_b)) > _SHOWN
        if hidden:
            notes.append(f"{len(self.layers_a)} × {len(self.layers_b)} layers; to_pandas() has all")
        for (a, b), why in list(self.reasons.items())[:5]:
            notes.append(f"{printable(a)}, {printable(b)}: {why}")
        if len(self.reasons) > 5:
            notes.append(f"… and {len(self.reasons) - 5} more pairs without a value; see .reasons")
        return notes


def described(measure: Measure) -> dict[str, Any]:
    """Give the fields of a Comparison that come from its measure."""
    return {
        "measure": measure.name,
        "options": measure.options(),
        "title": measure.title,
        "similarity": measure.similarity,
        "symmetric": measure.symmetric,
        "signed": measure.signed,
    }
