"""Diff: what a port check found, as a table with the first layer that differs below it."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actlens.compare.layer_diff import LayerDiff
from actlens.errors import MissingDependency, NotFound
from actlens.errors._base import listed
from actlens.table import printable, text_table

Array = npt.NDArray[Any]

_HEADER = (
    "layer", "in b", "by", "values", "max |Δ|", "relative", "cosine", "1 − dCKA", "finite", "mean a",
    "mean b", "var b/a", "",
)  # fmt: skip
_EXAMPLES = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Diff:
    """What compare.diff found: one LayerDiff a pair of layers, in the order of a's forward. Print it.

    Attributes:
        layers: the figures of each pair.
        rtol, atol: the tolerances.
        rows: samples that were compared.
        only_a, only_b: (ids,) samples that the other side has not.
        unmatched_a, unmatched_b: layers that nothing goes with; they were not compared.

    >>> from actlens.compare.diff import diff
    >>> found = diff(run, run)
    >>> found.ok, found.first, found["fc1"].max_abs, found["fc1"].cka_gap < 1e-30
    (True, None, 0.0, True)
    """

    layers: tuple[LayerDiff, ...]
    rtol: float
    atol: float
    rows: int
    only_a: Array
    only_b: Array
    unmatched_a: tuple[str, ...]
    unmatched_b: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every layer that was compared is within the tolerance."""
        return self.first is None

    @property
    def first(self) -> str | None:
        """The name in a of the first layer that diverges, in the order of a's forward."""
        return next((layer.name_a for layer in self.layers if layer.diverges), None)

    @property
    def diagnosis(self) -> str | None:
        """What is wrong with that layer; None where no known mistake fits."""
        return next((layer.diagnosis or None for layer in self.layers if layer.diverges), None)

    def __getitem__(self, name: str) -> LayerDiff:
        """Give the figures of a layer, by its name in a.

        Raises:
            NotFound: it was not compared.
        """
        for layer in self.layers:
            if layer.name_a == name:
                return layer
        raise NotFound.compared(name, [layer.name_a for layer in self.layers])

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame: one row a pair of layers, with all the figures.

        Raises:
            MissingDependency: pandas is not installed.
        """
        try:
            pd = importlib.import_module("pandas")
        except ModuleNotFoundError as error:
            raise MissingDependency.for_pandas("Diff.to_pandas") from error
        return pd.DataFrame(
            [{**dataclasses.asdict(layer), "diverges": layer.diverges} for layer in self.layers]
        )

    def table(self) -> str:
        """Give one line a pair of layers."""
        renamed = any(layer.name_a != layer.name_b for layer in self.layers)
        return text_table(_HEADER, [_cells(layer, renamed=renamed) for layer in self.layers])

    def summary(self) -> str:
        """Say which layer diverges first and why, and what was compared."""
        return "\n".join([*self._verdict(), *self._counts()])

    def _verdict(self) -> list[str]:
        bounds = f"rtol={self.rtol:g}, atol={self.atol:g}"
        bad = [layer for layer in self.layers if layer.diverges]
        if not bad:
            count = len(self.layers)
            return [
                f"{'all ' if count > 1 else ''}{count} layer{'s agree' if count > 1 else ' agrees'} "
                f"({bounds})"
            ]
        first = bad[0]
        lines = [
            f"first layer that diverges: {printable(first.name_a)} ({first.reason}); {len(bad)} of "
            f"{len(self.layers)} diverge ({bounds})"
        ]
        if first.worst is not None:
            what = "first of them" if first.elsewhere else "largest |Δ| there"
            lines.append(f"{what}: in id {first.worst!r}")
        lines.append(
            f"diagnosis: {printable(first.diagnosis) if first.diagnosis else self._undiagnosed(first)}"
        )
        lines += [
            f"diagnosis of {printable(layer.name_a)}: {printable(layer.diagnosis)}"
            for layer in bad[1:]
            if layer.diagnosis
        ]
        return lines

    def _undiagnosed(self, first: LayerDiff) -> str:
        own = f"{first.name_a.partition('[')[0]}@input"
        if "@input" in first.name_a or any(layer.name_a.startswith(own) for layer in self.layers):
            return "none; no known mistake fits"
        return (
            "none; no known mistake fits. More can be tried with the layer's input: record the pattern "
            f"{own!r} on both sides"
        )

    def _counts(self) -> list[str]:
        lines = [f"{self.rows:,} sample{'s' * (self.rows != 1)} compared"]
        for side, ids in (("a", self.only_a), ("b", self.only_b)):
            if len(ids):
                examples = listed(ids[:_EXAMPLES].tolist())
                lines[0] += f"; {len(ids):,} id{'s' * (len(ids) != 1)} only in {side} (e.g. {examples})"
        lines += [
            f"{printable(layer.name_a)}: {printable(layer.note)}" for layer in self.layers if layer.note
        ]
        if any(_sampled(layer) for layer in self.layers):
            lines.append("≈: from some of the rows, evenly chosen; all other figures are of all rows")
        for side, names in (("a", self.unmatched_a), ("b", self.unmatched_b)):
            if names:
                lines.append(f"not compared, only in {side}: {listed(names)}")
        return lines

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.summary()}"

    def __repr__(self) -> str:
        verdict = "all agree" if self.ok else f"first that diverges: {printable(self.first)}"
        return f"<Diff of {len(self.layers)} layer{'s' * (len(self.layers) != 1)}: {verdict}>"


def _cells(layer: LayerDiff, *, renamed: bool) -> list[str]:
    shown = (layer.max_abs, layer.relative)
    finite = "all"
    if (layer.finite_a, layer.finite_b) != (layer.values, layer.values):
        finite = f"{layer.finite_a:,} | {layer.finite_b:,}"
    return [
        layer.name_a,
        layer.name_b if renamed else "",
        "" if layer.matched == "name" else layer.matched.replace("cka", "CKA"),
        f"{layer.values:,}",
        *(_number(value, "2.1e") for value in shown),
        _number(layer.cosine, ".6f"),
        f"{'≈' if _sampled(layer) else ''}{_number(layer.cka_gap, '.1e')}",
        finite if layer.values else "–",
        _number(layer.mean_a, ".4g"),
        _number(layer.mean_b, ".4g"),
        _number(layer.variance_ratio, ".5g"),
        "DIVERGES" if layer.diverges else "",
    ]


def _sampled(layer: LayerDiff) -> bool:
    return layer.cka_rows < layer.rows and not math.isnan(layer.cka_gap)


def _number(value: float, form: str) -> str:
    if np.isnan(value):
        return "–"
    return "0" if value == 0 and "e" in form else f"{value:{form}}"
