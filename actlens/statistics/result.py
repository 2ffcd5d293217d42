"""Stats: the statistics of all layers, as a mapping; its table, its problems, and how two are merged."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from actlens.errors import MissingDependency, NotFound, StatisticsError
from actlens.statistics.columns import Columns, ensure_alike, kind_of, kind_of_groups
from actlens.statistics.layer_stats import LayerStats
from actlens.statistics.problems import problems_of
from actlens.statistics.state import LayerState
from actlens.statistics.table import line_of, table_of
from actlens.table import printable

Measured = Mapping[str, tuple[LayerStats, dict[Any, LayerStats]]]


class Stats(Mapping[str, LayerStats]):
    """Layer → LayerStats, as `actlens.stats` gives it. Print it for a table and the problems.

    >>> s = actlens.stats(run, by="label")
    >>> s, list(s), s["fc1"].rows
    (<Stats of 2 layers, 10 groups by value>, ['conv1', 'fc1'], 120)
    >>> s.groups[3]["fc1"].rows
    12
    """

    def __init__(
        self,
        layers: Mapping[str, LayerStats],
        groups: Mapping[Any, Stats] | None = None,
        *,
        columns: Columns | None = None,
    ) -> None:
        self._columns = columns or Columns()
        self._layers = dict(layers)
        self._groups = dict(groups or {})

    @classmethod
    def _of(cls, measured: Measured, columns: Columns) -> Stats:
        """Put together what was measured of each layer, and of each group of its rows."""
        groups: dict[Any, dict[str, LayerStats]] = {}
        for name, (_, parts) in measured.items():
            for value, layer in parts.items():
                groups.setdefault(value, {})[name] = layer
        return cls(
            {name: whole for name, (whole, _) in measured.items()},
            {value: cls(groups[value], columns=Columns(None, columns.labels)) for value in sorted(groups)},
            columns=columns,
        )

    def __getitem__(self, key: str) -> LayerStats:
        if key not in self._layers:
            raise NotFound.statistics(key, self._layers)
        return self._layers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def groups(self) -> Mapping[Any, Stats]:
        """Value of `by=` → the Stats of the rows that have it; empty without `by=`."""
        return MappingProxyType(self._groups)

    @property
    def problems(self) -> list[str]:
        """Sentences on what looks broken, layer after layer; empty where all is well.

        NaN and inf; dead and constant units; more than 25 % of the values at a bound; more than half of the
        variance in one of 16 or more units; a kurtosis over 1000; two units with |r| ≥ 0.9999; an effective
        rank below 5 % of the units.
        """
        return [text for layer in self.values() for text in problems_of(layer)]

    def summary(self) -> str:
        """Give the problems as lines, those of each group after those of all rows."""
        lines = list(self.problems)
        for value, group in self._groups.items():
            lines += [f"[{printable(value)}] {text}" for text in group.problems]
        return "\n".join(lines) or "nothing looks broken"

    def table(self) -> str:
        """Give one line a layer; with `by=`, one line a layer and value."""
        if not self._groups:
            return table_of([("", layer) for layer in self.values()])
        return table_of(
            [
                (str(value), group[name])
                for name in self
                for value, group in self._groups.items()
                if name in group
            ]
        )

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame: one row a layer, or a group and layer; columns as in the table.

        Raises:
            MissingDependency: pandas is not installed.
        """
        try:
            pd = importlib.import_module("pandas")
        except ModuleNotFoundError as error:
            raise MissingDependency.for_pandas("Stats.to_pandas") from error
        sets = self._groups.items() if self._groups else [(None, self)]
        lines = [{"by": value, **line_of(layer)} for value, group in sets for layer in group.values()]
        frame = pd.DataFrame(lines)
        return frame if self._groups else frame.drop(columns="by")

    def merge(self, other: Stats) -> Stats:
        """Put the statistics of other rows of the same layers together with these: shards, ranks, steps.

        Counts, extremes, top samples and histograms are exact, moments as of one pass over all rows. Of equal
        activations, the samples of this one come first.

        Raises:
            StatisticsError: other layers, other units, other parameters.

        >>> a, b = actlens.stats(run.take(slice(0, 50))), actlens.stats(run.take(slice(50, None)))
        >>> a.merge(b)["fc1"].rows
        120
        """
        if not isinstance(other, Stats):
            raise StatisticsError.not_stats(other)
        if set(self) != set(other):
            raise StatisticsError.other_layers(self, other)
        mine, others = self._columns, other._columns
        ensure_alike(
            "by", (mine.by, kind_of_groups(self._groups)), (others.by, kind_of_groups(other._groups))
        )
        layers = {
            name: _merged(layer, other[name], mine.labels, others.labels) for name, layer in self.items()
        }
        groups = dict(self._groups)
        for value, group in other._groups.items():
            groups[value] = groups[value].merge(group) if value in groups else group
        return Stats(layers, {value: groups[value] for value in sorted(groups)}, columns=mine.merge(others))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file; it can be loaded, and merged with others, in another program.

        Raises:
            StatisticsError: no file can be made there; ids that are objects. Nothing was written.
            OSError: the disk is full or broken; an older file is as it was.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/fc.safetensors"
        >>> actlens.stats(run, by="label").save(path)
        >>> actlens.statistics.Stats.load(path).groups[3]["fc1"].rows
        12
        """
        from actlens.statistics.stats_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Stats:
        """Read what `save` wrote: the same numbers, to the bit. Nothing in the file is run.

        Raises:
            StatisticsError: no such file, another one, a damaged one, or one of a later version.
        """
        from actlens.statistics.stats_file import load

        return load(path)

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.summary()}"

    def __repr__(self) -> str:
        groups = f", {len(self._groups)} groups by value" if self._groups else ""
        return f"<Stats of {len(self)} layer{'s' * (len(self) != 1)}{groups}>"


def _merged(a: LayerStats, b: LayerStats, labels: str | None, other_labels: str | None) -> LayerStats:
    mine, other = a._state.plan, b._state.plan
    for what, left, right in (
        ("unit", mine.units, other.units),
        ("row", a.row, b.row),
        ("top", mine.top, other.top),
        ("bounds", mine.ranges, other.ranges),
        ("tolerance", mine.tolerance, other.tolerance),
        ("correlation", mine.shift is not None, other.shift is not None),
        ("labels", mine.classes is not None, other.classes is not None),
    ):
        if left != right:
            raise StatisticsError.other_plan(a.name, what, _shown(left), _shown(right))
    if mine.classes is not None and other.classes is not None:
        ensure_alike("labels", (labels, kind_of(mine.classes)), (other_labels, kind_of(other.classes)))
    return LayerStats(a.name, a.row, LayerState.merge(a._state, b._state, follows=True))


def _shown(value: Any) -> str:
    text = getattr(value, "text", None)
    return f"{value.count} × {text()}" if text is not None else str(value)
